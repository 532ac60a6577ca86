"""Which recorded calls a timer made, and how such calls are answered."""

import pytest
from tapes import Tape, request_of, response_of

from wiretape.exchange.v1.exchange_pb2 import HttpRequest
from wiretape.replayer.carried import plan
from wiretape.replayer.caused import Caused, InFlight, Interval
from wiretape.replayer.mocks import Answers, Calls, Mocks
from wiretape.replayer.timers import Beat, timed
from wiretape.replayer.values import Correlation

MS = 10**6
# In flight, in ms; nothing is between 400 and 700.
EXCHANGES = [(100, 300), (350, 400), (700, 900)]
EVEN = range(50, 1000, 100)


@pytest.mark.parametrize(
    ("times", "is_timer"),
    [
        (EVEN, True),
        ([at + 20 * (at % 3) for at in EVEN], True),
        ([at for at in EVEN if at != 450], True),  # one was lost
        (range(140, 1000, 100), True),  # the recording began between two
        ([50, 450, 850], False),  # three are no pace
        ([at for at in EVEN if at < 600], False),  # it ended before the last exchange
        ([at for at in EVEN if at > 400], False),  # it began after the first
        ([*EVEN[:4], 355, *EVEN[4:]], False),  # an exchange made one of its own
        ([110, 210, 290, 360, 390, 720, 800, 890], False),  # only while something was asked
    ],
)
def test_a_timer(times: list[int], is_timer: bool) -> None:
    beats = [Beat("GET /rates", at * MS, False) for at in times]
    exchanges = [(begin * MS, end * MS) for begin, end in EXCHANGES]
    assert timed(beats, exchanges) == (set(range(len(beats))) if is_timer else set())


def test_what_is_proven_to_be_caused_is_no_timers() -> None:
    beats = [Beat("GET /rates", at * MS, at == 150) for at in EVEN]
    assert timed(beats, [(begin * MS, end * MS) for begin, end in EXCHANGES]) == set()
    assert timed([beats[0]], []) == set()


def test_kinds_have_paces_of_their_own() -> None:
    calls = sorted([(at, "GET /rates") for at in EVEN] + [(150, "GET /a"), (720, "GET /a")])
    beats = [Beat(kind, at * MS, False) for at, kind in calls]
    found = timed(beats, [(begin * MS, end * MS) for begin, end in EXCHANGES])
    assert {calls[place] for place in found} == {(at, "GET /rates") for at in EVEN}


def heartbeat(beat: int, state: str = "up") -> HttpRequest:
    return request_of("POST", "/heartbeat", b'{"beat": %d, "state": "%s"}' % (beat, state.encode()))


def heart(tape: Tape) -> Mocks:
    """A timer that was recorded 5 times, three of them while an exchange was in flight."""
    for beat in range(5):
        made = tape.outbound(heartbeat(beat), response_of(202))
        http = made.http
        shift_ns = (100 * beat + 10) * MS - http.request.first_byte_at_ns
        http.request.first_byte_at_ns += shift_ns
        http.request.last_byte_at_ns += shift_ns
        http.response.last_byte_at_ns += shift_ns
    calls = Calls(tape.exchanges, [Interval("one", 5 * MS, 250 * MS)], tape.ends())
    assert all(call.caused == Caused((), call.caused.after, timed=True) for call in calls.all)
    correlation = Correlation()
    answers = Answers(correlation, plan((), tape.exchanges, [0] * 5), shift=False)
    return Mocks(calls, correlation, InFlight(), answers)


@pytest.mark.parametrize(
    ("live", "answered"),
    [
        ([], 0),
        ([heartbeat(beat) for beat in range(12)], 12),
        ([heartbeat(beat) for beat in range(7, 20)], 13),
        ([heartbeat(9), heartbeat(9)], 1),  # it counts no more
        ([heartbeat(9), heartbeat(8)], 1),
        ([heartbeat(1, "down")], 0),
        ([request_of("POST", "/heartbeat", b"[" * 200_000)], 0),
    ],
)
def test_a_timer_may_call_any_number_of_times(
    live: list[HttpRequest], answered: int, tape: Tape
) -> None:
    mocks = heart(tape)
    for request in live:
        mocks.answer(mocks.names[0], request, 10**18)
    assert mocks.answered == answered
    assert len(mocks.findings([0])) == len(live) - answered
