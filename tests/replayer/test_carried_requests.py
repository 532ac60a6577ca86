"""What a recorded response made and a later request carried on: (recorded pair, live response,
request to be sent)."""

import base64
import gzip
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from tapes import Fields, Tape, content_of, fields_of, request_of, response_of

from wiretape.exchange.http1 import write_request
from wiretape.exchange.v1.exchange_pb2 import Content, HttpRequest, HttpResponse
from wiretape.replayer.carried import Carried, plan
from wiretape.replayer.values import Correlation

OLD = "9d18e059-ea22-4a34-b185-206b1ed9eef8"
NEW = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
OLD_TOKEN = "q8vXzR2mKp0TnYw4"
NEW_TOKEN = "a-longer-token.Than_it-was.1f"
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
HTML = {"Content-Type": "text/html; charset=utf-8"}


def jwt(**claims: object) -> str:
    parts = [{"alg": "HS256", "typ": "JWT"}, claims]
    coded = [base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts]
    return ".".join([*coded, "c2lnbmF0dXJlLXRoYXQtaXMtbm90LWNoZWNrZWQ"])


SIGNED = jwt(sub="ada").rpartition(".")[0] + "."


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def get(target: str, fields: Fields | None = None) -> HttpRequest:
    return request_of("GET", target, fields=fields)


def post(target: str, content: object, fields: Fields | None = None) -> HttpRequest:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return request_of("POST", target, data, {**JSON, **(fields or {})})


def sent(
    *recorded: tuple[HttpRequest, HttpResponse], live: HttpResponse, then: HttpRequest
) -> HttpRequest:
    """What `then` becomes when the last of the `recorded` exchanges is answered as `live`."""
    tape = Tape()
    for request, response in recorded:
        tape.inbound(request, response)
    tape.inbound(then, response_of(200, {}))
    carried = plan([*tape.exchanges])
    for position in range(len(recorded) - 1):
        carried.answered_as_recorded(position, Correlation())
    carried.answered(len(recorded) - 1, live)
    return carried.request(len(recorded), then, Correlation())[0]


@dataclass
class Case:
    """One producing exchange, as recorded and live, and a request as recorded and to be sent."""

    name: str
    asked: HttpRequest
    recorded: HttpResponse
    live: HttpResponse
    then: HttpRequest
    expected: HttpRequest


CREATE = post("/orders", {"count": 2})


def created(number: object, live: object, then: str, expected: str, **named: Any) -> Case:
    return Case(
        named.get("name", f"{number} in {then}"), CREATE,
        response_of(201, {"id": number}), response_of(201, {"id": live}),
        get(then), get(expected),
    )  # fmt: skip


def page(content: str) -> HttpResponse:
    return response_of(200, content.encode(), HTML)


def token_in(place: Callable[[str], HttpRequest], name: str) -> Case:
    return Case(
        name, post("/login", {}), response_of(200, {"token": OLD_TOKEN}),
        response_of(200, {"token": NEW_TOKEN}), place(OLD_TOKEN), place(NEW_TOKEN),
    )  # fmt: skip


CASES = [
    created(OLD, NEW, f"/orders/{OLD}", f"/orders/{NEW}"),
    created(OLD, "7", f"/orders/{OLD}/items?of={OLD}", "/orders/7/items?of=7"),
    created(17, 1, "/orders/17", "/orders/1"),
    created(17, 1001, "/orders/17/items/17x", "/orders/1001/items/17x"),
    created("A7F3", "B1", "/orders/A7F3?x=A7F3", "/orders/B1?x=A7F3"),
    created(17, 1, "/lines?order_id=17&count=17", "/lines?order_id=1&count=17"),
    Case(
        "a Location alone", CREATE, response_of(201, b"", {"Location": "/orders/17"}),
        response_of(201, b"", {"Location": "http://127.0.0.1:1234/orders/1"}),
        get("/orders/17"), get("/orders/1"),
    ),
    Case(
        "an id below a named member", get("/carts/9"),
        response_of(200, {"items": [{"id": 5, "quantity": 2}, {"id": 6, "quantity": 5}]}),
        response_of(200, {"items": [{"id": 50, "quantity": 2}, {"id": 60, "quantity": 5}]}),
        request_of("DELETE", "/items/6"), request_of("DELETE", "/items/60"),
    ),
    Case(
        "an element that stays what it was, at another index", get("/products"),
        response_of(200, [{"id": 1}, {"id": 2}]), response_of(200, [{"id": 2}, {"id": 1}]),
        get("/products/1"), get("/products/1"),
    ),
    Case(
        "id in JSON", CREATE, response_of(201, {"id": 17, "total": 20}),
        response_of(201, {"id": 123456, "total": 21}),
        post("/refunds", {"order_id": 17, "amount": 20, "n": 17}),
        post("/refunds", {"order_id": 123456, "amount": 20, "n": 17}),
    ),
    Case(
        "numbers and words by accident", get("/prices"),
        response_of(200, {"n": 1, "currency": "eur", "price": 1250, "state": "open", "id": "eur"}),
        response_of(200, {"n": 2, "currency": "usd", "price": 1300, "state": "shut", "id": "usd"}),
        post("/charges?n=1&currency=eur&id=eur", {"n": 1, "price": 1250, "state": "open"}),
        post("/charges?n=1&currency=eur&id=eur", {"n": 1, "price": 1250, "state": "open"}),
    ),
    Case(
        "another collection's number", CREATE, response_of(201, {"id": 17}),
        response_of(201, {"id": 1}), get("/customers/17"), get("/customers/17"),
    ),
    Case(
        "a version is no id", get("/api/v1/x"), response_of(200, {"api": {"id": "v1"}}),
        response_of(200, {"api": {"id": "v2"}}), get("/api/v1/y"), get("/api/v1/y"),
    ),
    token_in(lambda t: get("/me", {"Authorization": f"Bearer {t}"}), "Bearer"),
    token_in(lambda t: get("/me", {"Authorization": basic("ada", t)}), "Basic password"),
    token_in(lambda t: get("/me", {"Authorization": basic(t, "")}), "Basic user"),
    token_in(lambda t: get("/me", {"X-Api-Key": t}), "any field"),
    token_in(lambda t: get(f"/me?access_token={t}&x=1"), "query"),
    token_in(lambda t: post("/me", {"a": 1, "deep": [{"t": t}], "z": "é"}), "JSON"),
    token_in(lambda t: post("/me", {"t": f"prefix:{t}/suffix"}), "within a JSON string"),
    token_in(lambda t: post("/me", {"t": json.dumps({"in": t})}), "JSON within JSON"),
    token_in(lambda t: post("/me", f"a=1&t={t}&b=2".encode(), FORM), "form"),
    token_in(lambda t: post("/me", f"<a t='{t}'/>".encode(), {"Content-Type": "text/xml"}), "XML"),
    token_in(
        lambda t: post("/me", {"t": base64.b64encode(f"id:{t}".encode()).decode()}), "base64"
    ),
    token_in(
        lambda t: get("/me?t=" + base64.b64encode(f"id:{t};v2".encode()).decode()), "base64, query"
    ),
    Case(
        "percent-encoded", post("/login", {}), response_of(200, {"token": "q8vXzR2mKp0Tn+w4/5A="}),
        response_of(200, {"token": "+/+abc=="}),
        get("/me?t=q8vXzR2mKp0Tn%2Bw4%2F5A%3D&u=a+b"), get("/me?t=%2B%2F%2Babc%3D%3D&u=a+b"),
    ),
    Case(
        "percent-encoded in a form", post("/login", {}),
        response_of(200, {"token": "q8vXzR2mKp0Tn+w4/5A="}),
        response_of(200, {"token": "a b+é"}),
        post("/me", b"t=q8vXzR2mKp0Tn%2bw4%2f5A%3d&u=1", FORM),
        post("/me", b"t=a+b%2B%C3%A9&u=1", FORM),
    ),
    Case(
        "escaped in JSON", post("/login", {}), response_of(200, {"token": OLD_TOKEN}),
        response_of(200, {"token": 'a"b\\c'}),
        post("/me", {"t": OLD_TOKEN}), post("/me", {"t": 'a"b\\c'}),
    ),
    Case(
        "a cookie by name", get("/"), response_of(200, b"", {"Set-Cookie": "seen=1; Path=/"}),
        response_of(200, b"", {"Set-Cookie": "seen=22; Path=/; HttpOnly"}),
        get("/a", {"Cookie": "theme=1; seen=1"}), get("/a", {"Cookie": "theme=1; seen=22"}),
    ),
    Case(
        "a cookie with a signature", get("/"),
        response_of(200, b"", {"Set-Cookie": f"sid=s%3A{OLD_TOKEN}.c2ln; HttpOnly"}),
        response_of(200, b"", {"Set-Cookie": f"sid=s%3A{NEW_TOKEN}; HttpOnly"}),
        get("/a", {"Cookie": f"sid=s%3A{OLD_TOKEN}.c2ln"}),
        get("/a", {"Cookie": f"sid=s%3A{NEW_TOKEN}"}),
    ),
    Case(
        "a cookie sent back as a field", get("/"),
        response_of(200, b"", {"Set-Cookie": f"XSRF-TOKEN={OLD_TOKEN}"}),
        response_of(200, b"", {"Set-Cookie": f"XSRF-TOKEN={NEW_TOKEN}"}),
        get("/a", {"Cookie": f"XSRF-TOKEN={OLD_TOKEN}", "X-XSRF-TOKEN": OLD_TOKEN}),
        get("/a", {"Cookie": f"XSRF-TOKEN={NEW_TOKEN}", "X-XSRF-TOKEN": NEW_TOKEN}),
    ),
    Case(
        "ETag to If-Match", get("/docs/a"), response_of(200, {}, {"ETag": '"3"'}),
        response_of(200, {}, {"ETag": 'W/"44"'}),
        request_of("PUT", "/docs/a", b"x", {"If-Match": '"3"'}),
        request_of("PUT", "/docs/a", b"x", {"If-Match": '"44"'}),
    ),
    Case(
        "ETag of another path", get("/docs/a"), response_of(200, {}, {"ETag": '"3"'}),
        response_of(200, {}, {"ETag": '"44"'}),
        get("/docs/b", {"If-None-Match": '"3"'}), get("/docs/b", {"If-None-Match": '"3"'}),
    ),
    Case(
        "one of several ETags", get("/docs/a"), response_of(200, {}, {"ETag": 'W/"abc"'}),
        response_of(200, {}, {"ETag": 'W/"defg"'}),
        get("/docs/a", {"If-None-Match": 'W/"zzz", W/"abc"'}),
        get("/docs/a", {"If-None-Match": 'W/"zzz", W/"defg"'}),
    ),
    Case(
        "Last-Modified to If-Modified-Since", get("/docs/a"),
        response_of(200, {}, {"Last-Modified": "Tue, 14 Nov 2023 22:13:20 GMT"}),
        response_of(200, {}, {"Last-Modified": "Wed, 01 Jan 2025 00:00:00 GMT"}),
        get("/docs/a", {"If-Modified-Since": "Tue, 14 Nov 2023 22:13:20 GMT"}),
        get("/docs/a", {"If-Modified-Since": "Wed, 01 Jan 2025 00:00:00 GMT"}),
    ),
    Case(
        "a cursor, short", get("/items?limit=2"), response_of(200, {"next_cursor": "Mg", "n": 2}),
        response_of(200, {"next_cursor": "Mw==", "n": 2}),
        get("/items?limit=2&cursor=Mg"), get("/items?limit=2&cursor=Mw%3D%3D"),
    ),
    Case(
        "a cursor in a link", get("/items"),
        response_of(200, [], {"Link": "</items?after=17&limit=2>; rel=\"next\", </i>; rel=x"}),
        response_of(200, [], {"Link": "<http://h/items?after=5&limit=2>; rel=\"next\""}),
        get("/items?after=17&limit=2"), get("/items?after=5&limit=2"),
    ),
    Case(
        "a signed link, to whoever has it", post("/links", {}, {"Authorization": "Bearer " + OLD}),
        response_of(200, {"url": f"/files/a.txt?until=1700003600&signature={OLD_TOKEN}"}),
        response_of(200, {"url": "/files/a.txt?until=1800003600&signature=9f86d081884c7d65"}),
        get(f"/files/a.txt?until=1700003600&signature={OLD_TOKEN}"),
        get("/files/a.txt?until=1800003600&signature=9f86d081884c7d65"),
    ),
    Case(
        "what stands beside another signature", post("/links", {}),
        response_of(200, {"url": f"/files/a.txt?until=1700003600&signature={OLD_TOKEN}"}),
        response_of(200, {"url": "/files/a.txt?until=1800003600&signature=9f86d081884c7d65"}),
        get(f"/files/a.txt?until=1700003600&signature=X{OLD_TOKEN}"),
        get(f"/files/a.txt?until=1700003600&signature=X{OLD_TOKEN}"),
    ),
    Case(
        "a JWT with another signature", post("/login", {}),
        response_of(200, {"jwt": SIGNED + "ISh8CxdETbELWkxXLf-8u_aaaa1Bc"}),
        response_of(200, {"jwt": SIGNED + "9f86d081884c7d65aB-8u_aaaa1Bc"}),
        get("/me", {"Authorization": "Bearer " + SIGNED + "ISh8CxdETbELWkxXLf-8u_aaaaAAA"}),
        get("/me", {"Authorization": "Bearer " + SIGNED + "ISh8CxdETbELWkxXLf-8u_aaaaAAA"}),
    ),
    Case(
        "a hidden input", get("/form"),
        page(f'<form><input type="hidden" name="_csrf" value="{OLD_TOKEN}"></form>'),
        page(f"<form><input  value='{NEW_TOKEN}' name=_csrf type=hidden /></form>"),
        post("/form", f"a=1&_csrf={OLD_TOKEN}".encode(), FORM),
        post("/form", f"a=1&_csrf={NEW_TOKEN}".encode(), FORM),
    ),
    Case(
        "a meta element", get("/form"), page(f'<meta name="csrf-token" content="{OLD_TOKEN}==">'),
        page('<meta content="a+b&amp;c" name="csrf-token">'),
        post("/x", {}, {"X-CSRF-Token": f"{OLD_TOKEN}=="}),
        post("/x", {}, {"X-CSRF-Token": "a+b&c"}),
    ),
    Case(
        "in a script", get("/form"), page(f"<script>var a = 17, csrf = '{OLD_TOKEN}';</script>"),
        page(f"<script>var a = 18, csrf = '{NEW_TOKEN}';</script>"),
        post("/x", {}, {"X-CSRF-Token": OLD_TOKEN}), post("/x", {}, {"X-CSRF-Token": NEW_TOKEN}),
    ),
    Case(
        "Location's query and fragment", get("/authorize"),
        response_of(302, b"", {"Location": f"https://app/cb?code={OLD_TOKEN}&s=1#t={OLD}"}),
        response_of(302, b"", {"Location": f"https://app/cb?code={NEW_TOKEN}&s=1#t={NEW}"}),
        post("/token", f"code={OLD_TOKEN}".encode(), {**FORM, "X-T": OLD}),
        post("/token", f"code={NEW_TOKEN}".encode(), {**FORM, "X-T": NEW}),
    ),
    Case(
        "a claim of a JWT", post("/login", {}), response_of(200, {"jwt": jwt(sub=OLD, exp=1)}),
        response_of(200, {"jwt": jwt(sub=NEW, exp=22)}),
        get(f"/users/{OLD}", {"Authorization": f"Bearer {jwt(sub=OLD, exp=1)}"}),
        get(f"/users/{NEW}", {"Authorization": f"Bearer {jwt(sub=NEW, exp=22)}"}),
    ),
    Case(
        "a time with a fraction", get("/feed"),
        response_of(200, {"at": "2023-11-14T22:13:20.123Z"}),
        response_of(200, {"at": "2025-01-01T00:00:00.000Z"}),
        get("/feed?since=2023-11-14T22%3A13%3A20.123Z"),
        get("/feed?since=2025-01-01T00%3A00%3A00.000Z"),
    ),
    Case(
        "two ids in one string", post("/x", {}),
        response_of(200, {"m": f"from {OLD} to {OLD_TOKEN}."}),
        response_of(200, {"m": f"from {NEW} to {NEW_TOKEN}."}),
        get(f"/a/{OLD_TOKEN}/{OLD}"), get(f"/a/{NEW_TOKEN}/{NEW}"),
    ),
    Case(
        "a prefix stays", CREATE, response_of(201, {"id": f"ord_{OLD}"}),
        response_of(201, {"id": f"ord_{NEW}"}), get(f"/orders/{OLD}"), get(f"/orders/{NEW}"),
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_value_is_carried_to_its_place(case: Case) -> None:
    made = sent((case.asked, case.recorded), live=case.live, then=case.then)
    assert write_request(made).decode() == write_request(case.expected).decode()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_response_as_recorded_changes_nothing(case: Case) -> None:
    made = sent((case.asked, case.recorded), live=case.recorded, then=case.then)
    assert write_request(made) == write_request(case.then)


def test_what_the_client_brought_is_his_own() -> None:
    echo = (get(f"/a?t={OLD_TOKEN}"), response_of(200, {"t": OLD_TOKEN, "id": 17}))
    live = response_of(200, {"t": NEW_TOKEN, "id": 18})
    then = get(f"/b/{OLD_TOKEN}")
    assert sent(echo, live=live, then=then).target == then.target


def test_chunks_are_redone_where_the_value_stands() -> None:
    data = f'{{"a": 1, "t": "{OLD_TOKEN}", "z": 2}}'.encode()
    then = post("/me", data, {"Transfer-Encoding": "chunked"})
    del then.fields[-1]
    then.content.framing = Content.CHUNKED
    then.content.chunk_lengths[:] = [4, 14, len(data) - 18]
    login = (post("/login", {}), response_of(200, {"token": OLD_TOKEN}))
    made = sent(login, live=response_of(200, {"token": NEW_TOKEN}), then=then)
    longer = len(NEW_TOKEN) - len(OLD_TOKEN)
    wire = write_request(made)
    # The value lies in the second and the third chunk; the end of the second moves to its end.
    assert list(made.content.chunk_lengths) == [4, 11 + len(NEW_TOKEN), 10]
    assert sum(made.content.chunk_lengths) == made.content.length == len(data) + longer
    assert wire.startswith(b"POST /me HTTP/1.1\r\n")
    assert b'4\r\n{"a"\r\n' in wire
    assert wire.endswith(b"0\r\n\r\n")


def test_a_content_coding_is_redone() -> None:
    data = gzip.compress(json.dumps({"t": OLD_TOKEN}).encode())
    then = post("/me", data, {"Content-Encoding": "gzip"})
    login = (post("/login", {}), response_of(200, {"token": OLD_TOKEN}))
    made = sent(login, live=response_of(200, {"token": NEW_TOKEN}), then=then)
    assert json.loads(gzip.decompress(made.content.data)) == {"t": NEW_TOKEN}
    length = next(f.value for f in made.fields if f.name == b"Content-Length")
    assert int(length) == len(made.content.data) == made.content.length


def test_a_raw_head_keeps_its_odd_spaces() -> None:
    then = get(f"/orders/{OLD}")
    then.fields.extend(fields_of({"X-Id": OLD}))
    then.head = (
        f"GET  /orders/{OLD} HTTP/1.1\r\nHost:shop.example\r\nX-Id:   {OLD} \r\n\r\n".encode()
    )
    made = sent(
        (CREATE, response_of(201, {"id": OLD})), live=response_of(201, {"id": "7"}), then=then
    )
    assert write_request(made) == (
        b"GET  /orders/7 HTTP/1.1\r\nHost:shop.example\r\nX-Id:   7 \r\n\r\n"
    )


def test_a_digest_follows_its_content() -> None:
    def signed(token: str) -> HttpRequest:
        data = json.dumps({"t": token}).encode()
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        return post("/me", data, {"Content-Digest": f"sha-256=:{digest}:"})

    login = (post("/login", {}), response_of(200, {"token": OLD_TOKEN}))
    made = sent(login, live=response_of(200, {"token": NEW_TOKEN}), then=signed(OLD_TOKEN))
    assert write_request(made) == write_request(signed(NEW_TOKEN))


def test_a_renaming_that_was_accepted_counts_before_the_place() -> None:
    tape = Tape()
    tape.inbound(get("/orders"), response_of(200, [{"id": OLD}]))
    then = tape.inbound(get(f"/orders/{OLD}"), response_of(200, {}))
    carried = plan(tape.exchanges)
    carried.answered(0, response_of(200, [{"id": "another-element"}]))
    correlation = Correlation()
    correlation.add({OLD: NEW})
    made, lacking = carried.request(1, then.http.request, correlation)
    assert (made.target, lacking) == (f"/orders/{NEW}".encode(), [])


@pytest.mark.parametrize("concurrent", [False, True])
def test_a_response_that_came_too_late_made_nothing(concurrent: bool) -> None:
    tape = Tape()
    first = tape.inbound(CREATE, response_of(201, {"id": OLD}))
    second = tape.inbound(get(f"/orders/{OLD}"), response_of(200, {}), connection="c2")
    if concurrent:
        second.http.request.first_byte_at_ns = first.http.request.first_byte_at_ns + 1
    carried = plan(tape.exchanges)
    assert carried.needs(1) == ([] if concurrent else [0])


def test_sessions_by_what_the_client_shows() -> None:
    tape = Tape()
    cookie = {"Set-Cookie": f"sid={OLD_TOKEN}"}
    tape.inbound(post("/login", {}), response_of(200, {}, cookie), connection="a")
    tape.inbound(get("/", {"Cookie": f"sid={OLD_TOKEN}; x=1"}), response_of(200), connection="b")
    tape.inbound(get("/", {"Cookie": f"sid={NEW_TOKEN}00"}), response_of(200), connection="b")
    tape.inbound(get("/"), response_of(200), connection="c")
    tape.inbound(get("/", {"Authorization": "Bearer x"}), response_of(200), connection="c")
    carried: Carried = plan(tape.exchanges)
    numbers = [carried.session(position) for position in range(5)]
    assert numbers == [0, 0, 1, 2, 2]


def test_a_short_cookie_stays_within_its_session() -> None:
    tape = Tape()
    tape.inbound(get("/"), response_of(200, b"", {"Set-Cookie": "seen=1"}), connection="a")
    other = tape.inbound(get("/", {"Cookie": "seen=1"}), response_of(200), connection="b")
    own = tape.inbound(get("/", {"Cookie": "seen=1"}), response_of(200), connection="a")
    carried = plan(tape.exchanges)
    carried.answered(0, response_of(200, b"", {"Set-Cookie": "seen=2"}))
    for position, exchange, value in ((1, other, b"seen=1"), (2, own, b"seen=2")):
        made, _ = carried.request(position, exchange.http.request, Correlation())
        assert made.fields[1].value == value


def test_the_latest_entity_tag_is_the_one_that_is_sent() -> None:
    def tagged(tag: str) -> HttpResponse:
        return response_of(200, {}, {"ETag": f'"{tag}"'})

    conditional = get("/a", {"If-None-Match": '"v1"'})
    made = sent(
        (get("/a"), tagged("v1")), (conditional, tagged("v1")), live=tagged("v9"), then=conditional
    )
    assert made.fields[1].value == b'"v9"'


def test_content_of_other_kinds_is_left_alone() -> None:
    then = post("/x", b"\x08\x10" + OLD_TOKEN.encode(), {"Content-Type": "application/protobuf"})
    login = (post("/login", {}), response_of(200, {"token": OLD_TOKEN}))
    made = sent(login, live=response_of(200, {"token": NEW_TOKEN}), then=then)
    assert made.content == content_of(then.content.data)


@pytest.mark.parametrize(
    ("recorded", "live"),
    [
        ("by 15 Sep 2026, 21:26", "by 24 November 2026, 9:05"),
        ("#17 of Monday, May 4, 2026, 9:30 PM", "#9 of Tuesday, November 24, 2026, 10:15 AM"),
    ],
)
def test_what_stands_beside_a_token_may_change(recorded: str, live: str) -> None:
    def mail(token: str, more: str) -> HttpResponse:
        return response_of(200, {"text": f"Go to http://a.example:80/t/{token} {more} or {more}."})

    old, new = "Zq8Xw3Vb7Nm2Kl5Jh9Gf", "b5Gt1Lp0Xc9Mn4Qw8Rz7"
    for end, other in (("", ""), (f":1xVaXx:{'Ab3_' * 10}", f":1xVb00:{'c4D-' * 10}")):
        then = get(f"/t/{old}{end}")
        made = sent((get("/"), mail(old + end, recorded)), live=mail(new + other, live), then=then)
        assert made.target == f"/t/{new}{other}".encode()
