"""What a live message lacks and who depends on it; state that nothing created; upstream calls."""

import base64
import json
import math

import pytest
from tapes import BEGIN_NS, Fields, Tape, request_of, response_of

from wiretape.exchange.v1.exchange_pb2 import HttpRequest, HttpResponse
from wiretape.replayer.carried import Lacking, plan
from wiretape.replayer.values import Correlation

ORDER = "9d18e059-ea22-4a34-b185-206b1ed9eef8"
CHARGE = "3f0c2f0e-6d0a-4f5e-9d59-0d9bd6a0f4c1"
LIVE = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
BEGIN_S = BEGIN_NS // 10**9
YEAR_S = 365 * 86_400
CHARGES = "10.0.0.3:80"


def jwt(**claims: object) -> str:
    parts = [{"alg": "HS256"}, claims]
    coded = [base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts]
    return ".".join([*coded, "c2lnbmF0dXJl"])


def get(target: str, fields: Fields | None = None) -> HttpRequest:
    return request_of("GET", target, fields=fields)


def post(target: str, content: object, fields: Fields | None = None) -> HttpRequest:
    named = {"Content-Type": "application/json", **(fields or {})}
    return request_of("POST", target, json.dumps(content).encode(), named)


@pytest.mark.parametrize(
    ("recorded", "place"),
    [
        (response_of(201, {"id": ORDER}), "$.id"),
        (response_of(201, {"a": [{"b c": ORDER}]}), '$.a[0]["b c"]'),
        (response_of(201, b"", {"Location": f"/orders/{ORDER}"}), "location"),
        (response_of(201, b"", {"Set-Cookie": f"o={ORDER}"}), "set-cookie: o"),
        (response_of(201, b"", {"Link": f"<?o={ORDER}>; rel=x"}), "link"),
    ],
)
@pytest.mark.parametrize("live", [response_of(500, {"error": "x"}), None])
def test_what_is_lacking_is_named_at_its_place(
    tape: Tape, recorded: HttpResponse, place: str, live: HttpResponse | None
) -> None:
    tape.inbound(post("/orders", {}), recorded)
    then = tape.inbound(get(f"/orders/{ORDER}"), response_of(200, {}))
    carried = plan(tape.exchanges)
    lacking = [Lacking(0, place, ORDER)]
    assert carried.answered(0, live) == lacking
    made, problems = carried.request(1, then.http.request, Correlation())
    assert (made.target, problems) == (then.http.request.target, lacking)
    assert carried.explain(1) == lacking


def test_a_part_of_base64_is_not_lacking(tape: Tape) -> None:
    """A signature that somebody changed is sent as it is, and no part of it is missed."""
    signature = "icu7DycZeU2K72eEeC32zI3lkpYMPw%2Fj4qpPIkk6nm8%3D"
    tape.inbound(post("/links", {}), response_of(201, {"url": f"/d?sig={signature}"}))
    changed = signature.replace("k6nm8", "AAAAA")
    then = tape.inbound(get(f"/d?sig={changed}"), response_of(403, {}))
    carried = plan(tape.exchanges)
    live = response_of(201, {"url": "/d?sig=FHTrKvdrWZ9Vv5YmB6C793i4QlArdIGvijxn%2BeozHqM%3D"})
    assert carried.answered(0, live) == []
    made, problems = carried.request(1, then.http.request, Correlation())
    assert (made.target, problems) == (then.http.request.target, [])


def test_consequences_lead_to_the_first_cause(tape: Tape) -> None:
    first = {"next": "cGFnZS0yLW9mLTM0"}
    second = {"next": "cGFnZS0zLW9mLTM0"}
    tape.inbound(get("/items"), response_of(200, first))
    tape.inbound(get(f"/items?cursor={first['next']}"), response_of(200, second))
    tape.inbound(get(f"/items?cursor={second['next']}"), response_of(200, {}))
    tape.inbound(get("/hello"), response_of(200, {}))
    carried = plan(tape.exchanges)
    for position, exchange in enumerate(tape.exchanges):
        carried.request(position, exchange.http.request, Correlation())
        carried.answered(position, response_of(200, {"items": []}))
    root = [Lacking(0, "$.next", first["next"])]
    assert [carried.explain(position) for position in range(4)] == [[], root, root, []]
    assert [carried.needs(position) for position in range(4)] == [[], [0], [1], []]


def test_another_place_of_the_same_response_serves_as_well(tape: Tape) -> None:
    fields = {"Location": f"/orders/{ORDER}"}
    tape.inbound(post("/orders", {}), response_of(201, {"id": ORDER}, fields))
    then = tape.inbound(get(f"/orders/{ORDER}"), response_of(200, {}))
    carried = plan(tape.exchanges)
    assert carried.answered(0, response_of(201, {"id": LIVE})) == []
    made, problems = carried.request(1, then.http.request, Correlation())
    assert (made.target, problems) == (f"/orders/{LIVE}".encode(), [])


def test_a_cookie_that_is_not_set_again_stays(tape: Tape) -> None:
    cookie = response_of(200, b"", {"Set-Cookie": f"sid={ORDER}"})
    tape.inbound(get("/"), cookie)
    tape.inbound(get("/a", {"Cookie": f"sid={ORDER}"}), cookie)
    then = tape.inbound(get("/b", {"Cookie": f"sid={ORDER}"}), cookie)
    carried = plan(tape.exchanges)
    carried.answered(0, response_of(200, b"", {"Set-Cookie": f"sid={LIVE}"}))
    assert carried.answered(1, response_of(200)) == []
    made, _ = carried.request(2, then.http.request, Correlation())
    assert made.fields[1].value == f"sid={LIVE}".encode()


@pytest.mark.parametrize(
    ("request_", "recorded", "status", "named"),
    [
        (get("/orders/17"), 200, 404, ("path", "17")),
        (get(f"/orders/{ORDER}/items"), 200, 404, ("path", ORDER)),
        (request_of("DELETE", "/orders/17"), 204, 410, ("path", "17")),
        (get("/orders/17"), 200, 500, None),
        (get("/orders/17"), 200, 200, None),
        (get("/orders/17"), 404, 404, None),
        (get("/orders"), 200, 404, None),
        (get("/api/v2/orders"), 200, 404, None),
        (get("/orders?page=2"), 200, 404, None),
        (request_of("PUT", "/orders/17", b"x"), 201, 404, None),
        (request_of("PUT", "/orders/17", b"x"), 204, 404, ("path", "17")),
        (get("/me", {"Cookie": f"a=1; sid={ORDER}"}), 200, 401, ("credential", ORDER)),
        (get("/me", {"Authorization": f"Bearer {ORDER}"}), 200, 403, ("credential", ORDER)),
        (get("/me", {"Cookie": "a=1"}), 200, 401, None),
        (get("/me", {"X-Trace": ORDER}), 200, 401, None),
        (get("/me", {"X-Trace": ORDER}), 200, 404, None),
    ],
)
def test_state_that_the_recording_never_created(
    tape: Tape, request_: HttpRequest, recorded: int, status: int, named: tuple[str, str] | None
) -> None:
    tape.inbound(request_, response_of(recorded))
    found = plan(tape.exchanges).uncreated(0, status)
    assert (found and (found.kind, found.value)) == named


@pytest.mark.parametrize(
    "creation",
    [
        (post("/orders", {}), response_of(201, {"id": 17})),
        (get("/orders"), response_of(200, [{"id": 17}])),
        (request_of("PUT", "/orders/17", b"x"), response_of(201)),
        (post("/orders", {"order_id": "17"}), response_of(200)),
    ],
)
def test_what_the_recording_created_is_no_unknown_state(
    tape: Tape, creation: tuple[HttpRequest, HttpResponse]
) -> None:
    tape.inbound(*creation)
    tape.inbound(get("/orders/17"), response_of(200, {}))
    assert plan(tape.exchanges).uncreated(1, 404) is None


@pytest.mark.parametrize(
    ("lives_s", "now_s", "found"),
    [(3600, YEAR_S, True), (3600, 10, False), (-5, YEAR_S, False), (2 * YEAR_S, YEAR_S, False)],
)
@pytest.mark.parametrize("place", ["Authorization", "Cookie", "path"])
def test_a_token_that_expired_is_told_before_the_run(
    tape: Tape, place: str, lives_s: int, now_s: int, found: bool
) -> None:
    token = jwt(sub="ada", exp=BEGIN_S + lives_s)
    for _ in range(2):
        request = {
            "Authorization": get("/me", {"Authorization": f"Bearer {token}"}),
            "Cookie": get("/me", {"Cookie": f"a=b; token={token}"}),
            "path": get(f"/me?token={token}"),
        }[place]
        tape.inbound(request, response_of(200, {}))
    expired = plan(tape.exchanges).expired((BEGIN_S + now_s) * 10**9)
    assert len(expired) == found
    if found:
        assert (expired[0].place, expired[0].first, expired[0].requests) == (place, 0, 2)
        assert expired[0].message.startswith(
            f"the JWT in {place} of 2 requests expired on 2023-11-14 23:13:20 UTC, 364 days ago,"
        )
        assert "faketime '2023-11-14 22:13:20 UTC' COMMAND" in expired[0].message


@pytest.mark.parametrize(
    ("end", "found"),
    [
        (str(BEGIN_S + 3600), True),
        (BEGIN_S + 3600.5, True),
        ("soon", False),
        ("nan", False),
        ("1e999", False),
        (math.nan, False),
        (math.inf, False),
        (None, False),
    ],
)
def test_a_token_may_say_its_end_in_odd_ways(tape: Tape, end: object, found: bool) -> None:
    token = jwt(sub="ada", exp=end)
    tape.inbound(get("/me", {"Authorization": f"Bearer {token}"}), response_of(200, {}))
    assert len(plan(tape.exchanges).expired((BEGIN_S + YEAR_S) * 10**9)) == found


def test_a_token_that_a_response_issued_does_not_expire(tape: Tape) -> None:
    token = jwt(sub="ada", exp=BEGIN_S + 60)
    tape.inbound(post("/login", {}), response_of(200, {"access_token": token}))
    tape.inbound(get("/me", {"Authorization": f"Bearer {token}"}), response_of(200, {}))
    assert plan(tape.exchanges).expired((BEGIN_S + YEAR_S) * 10**9) == []


def upstream_tape(tape: Tape, answer: HttpResponse, *, said: HttpResponse) -> None:
    call = post("/charges", {"order_id": 17, "n": 3}, {"Idempotency-Key": ORDER})
    tape.inbound(post("/orders", {}), said, (call, answer))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"id": CHARGE, "key": ORDER}, {"id": CHARGE, "key": LIVE}),
        ({"order_id": 17, "n": 17, "id": 17}, {"order_id": 1, "n": 17, "id": 17}),
        ({"order": {"id": "17"}}, {"order": {"id": "17"}}),
    ],
)
def test_what_the_build_sent_upstream_comes_back(
    tape: Tape, answer: object, expected: object
) -> None:
    upstream_tape(tape, response_of(200, answer), said=response_of(201, {}))
    call, inbound = tape.exchanges
    carried = plan([inbound], [call], [0])
    live = post("/charges", {"order_id": 1, "n": 3}, {"Idempotency-Key": LIVE})
    assert carried.called(0, live) == []
    made = carried.answer(0, call.http.response, Correlation())
    assert json.loads(made.content.data) == expected
    assert int(made.fields[1].value) == len(made.content.data)


def test_what_an_upstream_answered_stays_as_recorded(tape: Tape) -> None:
    upstream_tape(
        tape, response_of(200, {"charge": CHARGE}), said=response_of(201, {"charge": CHARGE})
    )
    then = tape.inbound(get(f"/charges/{CHARGE}"), response_of(200, {}))
    call, inbound, _ = tape.exchanges
    carried = plan([inbound, then], [call], [0])
    assert carried.needs(1) == []
    assert carried.answered(0, response_of(201, {"charge": LIVE})) == []
    made, _ = carried.request(1, then.http.request, Correlation())
    assert made.target == then.http.request.target


def test_an_upstream_calls_back_with_what_it_was_sent(tape: Tape) -> None:
    upstream_tape(tape, response_of(202, {}), said=response_of(201, {}))
    then = tape.inbound(post("/webhooks", {"key": ORDER}), response_of(200, {}))
    call, inbound, _ = tape.exchanges
    carried = plan([inbound, then], [call], [0])
    assert (carried.needs(1), carried.awaits(1)) == ([], [0])
    assert carried.called(0, post("/charges", {})) == [
        Lacking(0, "upstream call: idempotency-key", ORDER)
    ]
    carried.called(0, post("/charges", {}, {"Idempotency-Key": LIVE}))
    made, problems = carried.request(1, then.http.request, Correlation())
    assert (json.loads(made.content.data), problems) == ({"key": LIVE}, [])


def test_a_plan_is_the_same_every_time_and_for_every_client(tape: Tape) -> None:
    for number in range(50):
        made = {"id": number + 100, "token": f"{ORDER[:-4]}{number:04x}"}
        tape.inbound(post("/orders", {}), response_of(201, made), connection=f"c{number % 3}")
        tape.inbound(get(f"/orders/{number + 100}?t={made['token']}"), response_of(200, {}))
    plans = [plan(tape.exchanges) for _ in range(2)]
    needs = [[p.needs(position) for position in range(100)] for p in plans]
    assert needs[0] == needs[1] == [[p - 1] if p % 2 else [] for p in range(100)]
