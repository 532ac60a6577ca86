"""A clock that is set while packets come: what timers run by does not jump."""

import numpy as np
import pytest
from tcp_traffic import MS, SECOND, Peers, Segment, batch_of

from wiretape.agent.pipeline import Pipeline
from wiretape.agent.sources.live import SteadyClock

NOW = 1_700_000_000 * SECOND
HOUR = 3600 * SECOND


def times(clock: SteadyClock, at: list[int], real: int, monotonic: int) -> list[int]:
    at_ns = np.array(at, np.int64)
    steady = clock.times(at_ns, real, monotonic)
    return at if steady is None else steady.tolist()


@pytest.mark.parametrize("jump", [2 * HOUR, -2 * HOUR, 5 * SECOND, -5 * SECOND])
def test_a_jump_is_taken_back(jump: int) -> None:
    clock = SteadyClock()
    assert times(clock, [NOW], NOW + MS, 100) == [NOW]
    second = NOW + SECOND
    # Half a second after it was set: two packets of before, two of after.
    at = [second, second + MS, second + jump + 2 * MS, second + jump + 3 * MS]
    steady = times(clock, at, second + jump + 4 * MS, SECOND + 100)
    assert steady == pytest.approx([second + n * MS for n in range(4)], abs=10 * MS)
    later = times(clock, [second + jump + SECOND], second + jump + SECOND, 2 * SECOND + 100)
    assert later == pytest.approx([second + SECOND], abs=10 * MS)


def test_two_jumps_add_up_and_take_each_other_back() -> None:
    clock = SteadyClock()
    times(clock, [NOW], NOW, 0)
    assert times(clock, [NOW + HOUR + 2], NOW + HOUR + 2, 2) == [NOW + 2]
    assert times(clock, [NOW + 3 * HOUR + 3], NOW + 3 * HOUR + 3, 3) == [NOW + 3]
    assert times(clock, [NOW + 4], NOW + 4, 4) == [NOW + 4]


def test_a_clock_that_is_only_steered_is_right() -> None:
    clock = SteadyClock()
    times(clock, [NOW], NOW, 0)
    assert clock.times(np.array([NOW + 5]), NOW + 900 * MS, 5) is None


def exchange(peers: Peers) -> list[Segment]:
    peers.ask(b"GET / HTTP/1.1\r\n\r\n")
    peers.answer(b"HTTP/1.1 204 No Content\r\n\r\n")
    sent = list(peers.sent)
    peers.sent.clear()
    return sent


@pytest.mark.parametrize("jump", [2 * HOUR, -2 * HOUR])
@pytest.mark.parametrize("steady", [False, True])
def test_a_connection_outlives_a_jump(jump: int, steady: bool) -> None:
    """With the clock of the packets alone a jump forward ends it: that is what is taken back."""
    peers = Peers()
    peers.open()
    clock, pipeline = SteadyClock(), Pipeline("packets", 1 << 20)
    monotonic = 0
    for shift in (0, jump, jump):
        segments = exchange(peers)
        batch = batch_of([Segment(**{**vars(s), "at_ns": s.at_ns + shift}) for s in segments])
        monotonic += segments[-1].at_ns - segments[0].at_ns + MS
        if steady:
            real = int(batch.at_ns[-1])
            batch.clock_ns = clock.times(batch.at_ns, real, monotonic)
        batch.first = pipeline.packets
        pipeline.feed(batch)
    pipeline.close()
    assert pipeline.ledger.exchanges == 3
    assert pipeline.ledger.connections == (1 if steady or jump < 0 else 2)
