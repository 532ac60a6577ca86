"""Which exchange made the service issue a call: as recorded, and of a live one."""

import pytest
from tapes import request_of

from wiretape.exchange.v1.exchange_pb2 import ConnectionEnd
from wiretape.replayer.caused import (
    START_UP,
    Begin,
    Caused,
    InFlight,
    Interval,
    marks,
    recorded_causes,
)
from wiretape.replayer.sessions import unseen_end

MS = 10**6
TRACE_A, TRACE_B = ("x-request-id", b"a"), ("x-request-id", b"b")
# In flight: 10-20 ms the first, 12-14 the second within it, 300-400 the third.
STEPS = [
    Interval("one", 10 * MS, 20 * MS, [TRACE_A]),
    Interval("two", 12 * MS, 14 * MS, [TRACE_B]),
    Interval("three", 300 * MS, 400 * MS),
]


@pytest.mark.parametrize(
    ("at_ms", "cause_id", "borne", "safe", "alone", "expected"),
    [
        (5, "", [], False, True, Caused((), START_UP)),
        (11, "", [], False, True, Caused((0,), 0)),
        (13, "", [], False, True, Caused((0, 1), 1)),
        (13, "two", [], False, True, Caused((1,), 1)),
        (13, "", [TRACE_A], False, True, Caused((0,), 1, 0, traced=True)),
        (13, "two", [TRACE_B], False, True, Caused((1,), 1, 0, traced=True)),
        (15, "", [], False, True, Caused((0,), 1)),
        (25, "two", [], False, True, Caused((1,), 1, 11 * MS)),
        (25, "", [TRACE_A], True, False, Caused((0,), 1, 5 * MS, traced=True)),
        (25, "", [], False, True, Caused((), 1)),  # it could be of either
        (450, "", [], False, True, Caused((2,), 2, 50 * MS)),
        (450, "", [], True, True, Caused((), 2)),  # it may as well be polling
        (450, "", [], False, False, Caused((), 2)),
        (501, "", [], False, True, Caused((), 2)),  # too late to be its own
        (350, "unknown", [("x-request-id", b"c")], False, True, Caused((2,), 2)),
    ],
)
def test_a_recorded_call(
    at_ms: int,
    cause_id: str,
    borne: list[tuple[str, bytes]],
    safe: bool,
    alone: bool,
    expected: Caused,
) -> None:
    assert recorded_causes(STEPS, [Begin(at_ms * MS, cause_id, borne, safe, alone)]) == [expected]


def test_recorded_calls_one_after_the_other() -> None:
    calls = [Begin(at * MS, "", [], False, True) for at in (5, 11, 15, 350, 450, 460)]
    by = [caused.by for caused in recorded_causes(STEPS, calls)]
    assert by == [(), (0,), (0,), (2,), (2,), (2,)]


def traced(value: str = "") -> dict[str, str]:
    return {"X-Request-Id": value} if value else {}


def test_a_live_call() -> None:
    flight = InFlight()
    assert flight.cause_of(request_of("GET", "/")) == START_UP
    flight.begin(0, marks(request_of("GET", "/", fields=traced("a"))))
    assert flight.cause_of(request_of("GET", "/")) == 0
    flight.begin(1, marks(request_of("GET", "/", fields=traced("b"))))
    assert flight.cause_of(request_of("GET", "/")) is None
    assert flight.cause_of(request_of("GET", "/", fields=traced("a"))) == 0
    assert flight.cause_of(request_of("GET", "/", fields=traced("c"))) is None
    flight.begin(2, marks(request_of("GET", "/", fields=traced("b"))))
    assert flight.cause_of(request_of("GET", "/", fields=traced("b"))) is None, "two bear it"
    flight.end(1)
    assert flight.cause_of(request_of("GET", "/", fields=traced("b"))) == 2
    flight.end(0)
    assert flight.cause_of(request_of("GET", "/", fields=traced("a"))) == 0, "it goes on after it"
    assert flight.cause_of(request_of("GET", "/")) == 2
    flight.end(2)
    assert flight.cause_of(request_of("GET", "/")) is None


@pytest.mark.parametrize(
    ("end", "is_last", "said"),
    [
        (ConnectionEnd(how=ConnectionEnd.CLOSED), True, None),
        (ConnectionEnd(how=ConnectionEnd.RESET), True, None),
        (ConnectionEnd(how=ConnectionEnd.CLOSED), False, "its connection went on"),
        (None, True, "nor how its connection ended"),
        (ConnectionEnd(how=ConnectionEnd.OPEN), True, "not seen to its end"),
        (ConnectionEnd(how=ConnectionEnd.EVICTED), True, "not seen to its end"),
        (ConnectionEnd(how=ConnectionEnd.CLOSED, kernel_drops=1), True, "not all of its"),
    ],
)
def test_what_is_a_fault_of_the_upstream(
    end: ConnectionEnd | None, is_last: bool, said: str | None
) -> None:
    found = unseen_end(end, is_last)
    assert (found is None) == (said is None)
    assert said is None or said in (found or "")


def test_bytes_of_the_upstream_that_were_not_understood() -> None:
    end = ConnectionEnd(how=ConnectionEnd.CLOSED)
    end.server.undecoded_bytes = 10
    assert unseen_end(end, True) is not None
