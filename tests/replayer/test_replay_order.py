"""Order: what waits for what, what --only takes along, and runs of several at once."""

import json
import random
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tapes import TARGET, UPSTREAM_ENV, Outcome, Tape, build, request_of, response_of

from wiretape.replayer.carried import plan as plan_carried
from wiretape.replayer.dependencies import chosen, needed, sessions, touches
from wiretape.replayer.errors import UsageError
from wiretape.replayer.schedule import Order

Replay = Callable[..., Outcome]
ORDER = "9d18e059-ea22-4a34-b185-206b1ed9eef8"
OTHER = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
CREATED = "2023-11-14T22:13:20.001+00:00"


def a_shop(tape: Tape) -> None:
    """Positions: 0 a list, 1 and 2 create an order each, 3 and 4 look at them, 5 is something else,
    6 changes the first order, 7 looks at the second by its number."""
    order, other = {"id": ORDER, "number": 17}, {"id": OTHER, "number": 18}
    tape.inbound(request_of("GET", "/orders"), response_of(200, []), connection="a")
    tape.inbound(request_of("POST", "/orders", b"{}"), response_of(201, order), connection="b")
    tape.inbound(request_of("POST", "/orders", b"{}"), response_of(201, other), connection="c")
    tape.inbound(request_of("GET", f"/orders/{ORDER}"), response_of(200, order), connection="d")
    tape.inbound(request_of("GET", f"/orders/{OTHER}"), response_of(200, other), connection="e")
    tape.inbound(request_of("GET", "/health"), response_of(200), connection="f")
    tape.inbound(request_of("PUT", f"/orders/{ORDER}", b"{}"), response_of(204), connection="g")
    tape.inbound(request_of("GET", "/by-number/18"), response_of(200, other), connection="h")


def test_what_a_request_needs(tape: Tape) -> None:
    a_shop(tape)
    assert list(needed(tape.exchanges)) == [(), (), (), (1,), (2,), (), (1,), (2,)]


@pytest.mark.parametrize(
    ("later", "earlier", "follows"),
    [
        (1, 0, True),  # what is listed is not created yet
        (2, 1, True),
        (3, 1, True),
        (3, 2, True),
        (4, 3, False),
        (5, 1, False),
        (6, 3, True),  # it looks before the change
        (6, 4, False),
        (7, 2, True),
        (7, 6, False),
    ],
)
def test_what_must_follow_what(tape: Tape, later: int, earlier: int, follows: bool) -> None:
    a_shop(tape)
    touched = touches(tape.exchanges, plan_carried(tape.exchanges))
    assert touched[later].must_follow(earlier, touched[earlier]) == follows


def test_changes_at_the_same_time_have_no_order(tape: Tape) -> None:
    a_shop(tape)
    tape.exchanges[1].http.response.last_byte_at_ns += 10**9
    touched = touches(tape.exchanges, plan_carried(tape.exchanges))
    assert not touched[2].must_follow(1, touched[1])


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([{}, {}], [0, 1]),
        ([{"Authorization": "Bearer x"}] * 2, [0, 0]),
        ([{"Authorization": "Bearer x"}, {"Authorization": "Bearer y"}], [0, 1]),
        ([{"Cookie": f"theme=dark; sid={ORDER}"}, {"Cookie": f"sid={ORDER}"}], [0, 0]),
        ([{"Cookie": "theme=dark"}] * 2, [0, 1]),
    ],
)
def test_sessions(tape: Tape, fields: list[dict[str, str]], expected: list[int]) -> None:
    for number, each in enumerate(fields):
        request = request_of("GET", "/", fields=each)
        tape.inbound(request, response_of(200), connection=f"c{number}")
    assert sessions(tape.exchanges) == expected


def test_sessions_grow_together(tape: Tape) -> None:
    for connection, token in (("a", "x"), ("b", "y"), ("a", "y"), ("c", "z")):
        request = request_of("GET", "/", fields={"Authorization": token})
        tape.inbound(request, response_of(200), connection=connection)
    assert sessions(tape.exchanges) == [0, 0, 0, 3]


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        (["GET /health"], [5]),
        (["/health"], [5]),
        (["GET /orders"], [0]),
        (["/by-number/*"], [1, 2, 7]),
        ([f"GET /orders/{ORDER}"], [1, 2, 3]),
        (["e0004", "/health"], [1, 2, 4, 5]),
        (["PUT *"], [1, 2, 6]),
    ],
)
def test_only_some_and_what_they_depend_on(
    tape: Tape, only: list[str], expected: list[int]
) -> None:
    a_shop(tape)
    assert (
        chosen(tape.exchanges, only, touches(tape.exchanges, plan_carried(tape.exchanges)))
        == expected
    )


def test_only_what_is_not_there(tape: Tape) -> None:
    a_shop(tape)
    with pytest.raises(UsageError, match="no request of the recording is called '/nothing'"):
        chosen(tape.exchanges, ["/nothing"], touches(tape.exchanges, plan_carried(tape.exchanges)))


def test_the_order_of_several() -> None:
    order = Order(range(6), lambda later, earlier: later % 2 == earlier % 2, 3)
    assert [order.next() for _ in range(3)] == [0, 1, None]
    order.answered()
    assert order.next() is None, "0 is not judged yet"
    order.finished(0)
    assert order.next() == 2
    order.answered()
    order.answered()
    order.finished(1)
    order.finished(2)
    assert [order.next() for _ in range(3)] == [3, 4, None]
    for position in (3, 4):
        order.answered()
        order.finished(position)
    assert not order.is_done
    assert order.next() == 5
    order.answered()
    order.finished(5)
    assert order.is_done


def a_busy_shop(tape: Tape) -> None:
    """Orders are made and looked at on many connections; each price is asked of the upstream."""
    for number in range(12):
        ident = f"{number:08x}-ea22-4a34-b185-206b1ed9eef8"
        created = CREATED.replace(".001", f".{12 * number + 1:03}")
        order = {"id": ident, "total": 20, "created_at": created}
        tape.inbound(
            request_of("POST", "/orders", b'{"count": 2}', {"Content-Type": "application/json"}),
            response_of(201, order, {"Location": f"/orders/{ident}"}),
            connection=f"a{number}",
        )
        request = request_of("GET", f"/orders/{ident}")
        tape.inbound(request, response_of(200, order), connection=f"b{number}")
        trace = str(uuid.UUID(int=random.Random(number).getrandbits(128), version=4))
        asked = json.dumps({"currency": "eur", "trace": trace}).encode()
        named = {"Host": "prices.internal", "Content-Type": "application/json"}
        call = request_of("POST", f"/prices/p{number % 3}", asked, named)
        tape.inbound(
            request_of("GET", f"/price/p{number % 3}"),
            response_of(200, {"price": number}),
            (call, response_of(200, {"price": number})),
            connection=f"d{number}",
        )


@pytest.mark.parametrize("fault", ["", "total", "no-call", "changed-call"])
def test_several_at_once_give_the_same_verdict(
    replay: Replay, tape: Tape, tmp_path: Path, fault: str
) -> None:
    a_busy_shop(tape)
    file = tape.write(tmp_path / "x.mcap")
    reports = []
    for concurrency in ("1", "8", "8"):
        options = (*UPSTREAM_ENV, "--concurrency", concurrency)
        done = replay("run", file, *TARGET, *options, *build("--fault", fault))
        assert done.report is not None
        assert (done.code == 0) == (not fault), done.out
        reports.append([done.report["counts"], *map(judged, done.report["exchanges"])])
        reports[-1] += [(f["kind"], f["call"], f["exchange"]) for f in done.report["upstream"]]
    assert reports[0] == reports[1] == reports[2]


def judged(exchange: dict[str, Any]) -> list[Any]:
    places = [(d["kind"], d["place"]) for d in exchange["differences"]]
    return [exchange["position"], exchange["state"], places]


def test_only_one_and_what_it_depends_on_is_driven(
    replay: Replay, tape: Tape, tmp_path: Path
) -> None:
    a_busy_shop(tape)
    tape.exchanges[-1].http.response.content.gaps.add(offset=1, length=1)
    file = tape.write(tmp_path / "x.mcap")
    done = replay("run", file, *TARGET, *UPSTREAM_ENV, "--only", "GET /orders/0*", *build())
    assert done.code == 0, done.out
    assert done.report is not None
    assert done.report["counts"]["compared"] == 24
    assert done.report["counts"]["not_run"] == 12
    done = replay("run", file, *TARGET, *UPSTREAM_ENV, "--only", "/price/*", *build())
    assert done.code == 4, "what was asked for lies in the gap"


HELLO = {"hello": "world", "n": 1}


@pytest.mark.parametrize(
    ("condition", "code"),
    [
        ("latency.p95 > 60s", 0),
        ("latency.p50 >= 0us", 1),
        ("latency.max < 60s at GET /hello", 1),
        ("latency.max < 60s at GET /other", 2),  # no such request was recorded
        ("requests.failed > 0", 0),
        ("requests.failed > 0% at /*", 2),
        ("requests.failed > 0% at GET /hello", 0),
        ("requests.count < 4", 1),
        ("requests.count < 3", 0),
    ],
)
def test_a_run_fails_where_a_condition_holds(
    replay: Replay, tape: Tape, tmp_path: Path, condition: str, code: int
) -> None:
    for _ in range(3):
        tape.inbound(request_of("GET", "/hello"), response_of(200, HELLO))
    file = tape.write(tmp_path / "x.mcap")
    done = replay("run", file, *TARGET, "--service", ":8080", "--fail-if", condition, *build())
    assert done.code == code, done.out


def test_a_schedule_is_kept(replay: Replay, tape: Tape, tmp_path: Path) -> None:
    for _ in range(4):
        tape.inbound(request_of("GET", "/hello"), response_of(200, HELLO))
    for number, exchange in enumerate(tape.exchanges):
        exchange.http.request.first_byte_at_ns += number * 10**9
    file = tape.write(tmp_path / "x.mcap")
    done = replay("run", file, *TARGET, "--service", ":8080", "--speed", "10x", *build())
    assert done.code == 0, done.out
    assert done.report is not None
    assert done.report["timings"]["duration_ns"] > 3 * 10**8
