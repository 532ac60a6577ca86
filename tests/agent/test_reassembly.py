"""One half-connection against an oracle that keeps every byte in a list."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wiretape.agent.tcp.half import (
    ACKNOWLEDGED_HOLE_NS,
    LOST,
    MAX_PENDING_BYTES,
    OPEN_HOLE_NS,
    SNAPLEN,
    HalfConnection,
    distance,
)
from wiretape.exchange.stream import Hole, Run

SIZE = 60
STREAM = bytes(range(1, SIZE + 1))
STEP_NS = 1000
MODULUS = 1 << 32


@dataclass(frozen=True)
class Piece:
    """Bytes [start, stop) of the stream in a segment that kept `captured` of them."""

    start: int
    stop: int
    captured: int

    @property
    def payload(self) -> bytes:
        return STREAM[self.start : self.start + self.captured]


@dataclass
class Oracle:
    """Every byte of the stream: None, its value, or the reason for which it is missing.

    A byte belongs to whoever said something of it first: captured, or sent and cut off.
    """

    cells: list[int | str | None] = field(default_factory=lambda: [None] * SIZE)

    def take(self, piece: Piece) -> None:
        for at in range(piece.start, piece.stop):
            if self.cells[at] is None:
                kept = at < piece.start + piece.captured
                self.cells[at] = STREAM[at] if kept else "snaplen"

    def outcome(self) -> list[int | str]:
        """Up to the last byte known to have been sent; what nobody showed was lost."""
        known = max((at for at, cell in enumerate(self.cells) if cell is not None), default=-1)
        return ["lost" if cell is None else cell for cell in self.cells[: known + 1]]


def delivered(half: HalfConnection) -> list[int | str]:
    """What the queue was given, hole by hole and byte by byte."""
    out: list[int | str] = []
    for item in half.queue._ahead:
        if isinstance(item, Hole):
            out += [{LOST: "lost", SNAPLEN: "snaplen"}[item.reason]] * item.length
        else:
            assert isinstance(item, Run)
            assert item.offset == len(out)
            assert sum(item.lengths) == len(item.payload)
            out += item.payload
    return out


def sums_hold(half: HalfConnection) -> None:
    assert half.payload_bytes == (
        half.delivered_bytes + half.retransmitted_bytes + half.overlapping_bytes
        + half.beyond_limits_bytes
    )  # fmt: skip


def feed(pieces: Sequence[Piece], isn: int, acks: Sequence[int] = ()) -> HalfConnection:
    half = HalfConnection()
    half.start(isn % MODULUS)
    for number, piece in enumerate(pieces):
        clock = number * STEP_NS
        seq = (isn + piece.start) % MODULUS
        missing = piece.stop - piece.start - piece.captured
        half.segment(seq, piece.payload, missing, clock, 0, number, clock)
        if number < len(acks):
            half.acknowledge((isn + acks[number]) % MODULUS, clock)
    half.flush(len(pieces), len(pieces) * STEP_NS)
    return half


@st.composite
def pieces(draw: st.DrawFn, snapped: bool = True) -> list[Piece]:
    """The stream cut up, then lost, sent again, merged, cut otherwise and out of order."""
    cuts = sorted({0, SIZE, *draw(st.lists(st.integers(1, SIZE - 1), max_size=8))})
    ends = list(pairwise(cuts))
    sent = [e for e in ends if draw(st.integers(0, 5))]
    again = draw(st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(1, 20)), max_size=6))
    sent += [(start, min(start + size, SIZE)) for start, size in again]
    if draw(st.booleans()):
        sent = draw(st.permutations(sent))
    made = []
    for start, stop in sent:
        kept = stop - start
        if snapped and draw(st.integers(0, 4)) == 0:
            kept = draw(st.integers(0, kept))
        made.append(Piece(start, stop, kept))
    return made


isns = st.sampled_from([0, 1, 1000, MODULUS - 1, MODULUS - 30, MODULUS // 2 - 7])


@settings(max_examples=400, deadline=None)
@given(pieces(snapped=False), isns)
def test_bytes_and_gaps_are_those_of_the_oracle(sent: list[Piece], isn: int) -> None:
    oracle = Oracle()
    for piece in sent:
        oracle.take(piece)
    half = feed(sent, isn)
    assert delivered(half) == oracle.outcome()
    assert half.delivered_bytes == sum(isinstance(c, int) for c in oracle.outcome())
    assert half.gap_bytes == oracle.outcome().count("lost")
    sums_hold(half)


@settings(max_examples=400, deadline=None)
@given(pieces(), isns)
def test_snapped_segments(sent: list[Piece], isn: int) -> None:
    """Nothing is invented or lost beyond what no segment had; a byte is what the stream had."""
    oracle = Oracle()
    for piece in sent:
        oracle.take(piece)
    half = feed(sent, isn)
    found, wanted = delivered(half), oracle.outcome()
    assert found == wanted
    sums_hold(half)


@dataclass(frozen=True)
class Forged(Piece):
    """A piece with other bytes at some places."""

    places: frozenset[int] = frozenset()

    @property
    def payload(self) -> bytes:
        return bytes(
            byte ^ 0x80 if at in self.places else byte
            for at, byte in enumerate(super().payload, self.start)
        )


@settings(max_examples=400, deadline=None)
@given(pieces(), isns, st.lists(st.frozensets(st.integers(0, SIZE - 1)), min_size=20))
def test_other_bytes_are_conflicts_and_the_first_are_delivered(
    sent: list[Piece], isn: int, places: list[frozenset[int]]
) -> None:
    """A captured byte is compared with the first one of its place, if that was captured."""
    forged = [
        Forged(p.start, p.stop, p.captured, changed)
        for p, changed in zip(sent, places, strict=False)
    ]
    cells: list[int | str | None] = [None] * SIZE
    conflicting = 0
    for piece in forged:
        for at in range(piece.start, piece.stop):
            byte = piece.payload[at - piece.start] if at < piece.start + piece.captured else None
            if cells[at] is None:
                cells[at] = "snaplen" if byte is None else byte
            elif byte is not None and isinstance(cells[at], int):
                conflicting += byte != cells[at]
    known = max((at for at, cell in enumerate(cells) if cell is not None), default=-1)
    half = feed(forged, isn)
    assert delivered(half) == ["lost" if c is None else c for c in cells[: known + 1]]
    assert half.conflicting_bytes == conflicting
    assert half.conflicting_bytes <= half.retransmitted_bytes + half.overlapping_bytes
    for one in half.conflicts:
        assert one.first != one.other
        assert len(one.first) == len(one.other) == one.length
    sums_hold(half)


@settings(max_examples=300, deadline=None)
@given(pieces(snapped=False), isns, st.integers(0, SIZE - 1))
def test_a_stream_that_began_before_the_capture(sent: list[Piece], isn: int, begin: int) -> None:
    """What the first segment seen begins with is offset 0; older bytes come too late."""
    half = HalfConnection()
    half.start((isn + begin) % MODULUS)
    oracle = Oracle()
    for number, piece in enumerate(sent):
        oracle.take(piece)
        half.segment((isn + piece.start) % MODULUS, piece.payload, 0, 0, 0, number, 0)
    half.flush(len(sent), 0)
    assert delivered(half) == oracle.outcome()[begin:]
    sums_hold(half)


@settings(max_examples=200, deadline=None)
@given(pieces(snapped=False), isns, st.lists(st.integers(0, SIZE), max_size=20))
def test_acknowledgments_add_what_was_never_seen_at_the_end(
    sent: list[Piece], isn: int, acks: list[int]
) -> None:
    oracle = Oracle()
    for piece in sent:
        oracle.take(piece)
    half = feed(sent, isn, acks)
    found, wanted = delivered(half), oracle.outcome()
    assert found[: len(wanted)] == wanted
    assert set(found[len(wanted) :]) <= {"lost"}
    assert len(found) <= max([len(wanted), *acks[: len(sent)]])
    sums_hold(half)


@given(isns, st.integers(-(1 << 31), (1 << 31) - 1))
def test_distance_wraps(start: int, far: int) -> None:
    assert distance(start, (start + far) % MODULUS) == far


# -- when a hole is given up


def holed(acked: bool) -> HalfConnection:
    half = HalfConnection()
    half.start(0)
    half.segment(10, b"later", 0, 100, 0, 0, 100)
    if acked:
        half.acknowledge(15, 100)
    return half


@pytest.mark.parametrize(("acked", "after"), [(True, ACKNOWLEDGED_HOLE_NS), (False, OPEN_HOLE_NS)])
def test_a_hole_waits_for_its_retransmission(acked: bool, after: int) -> None:
    half = holed(acked)
    assert half.hole_is_lost_at_ns() == 100 + after
    half.segment(0, b"0123456789", 0, 200, 0, 1, 200)
    assert half.hole_is_lost_at_ns() == -1
    assert delivered(half) == list(b"0123456789later")


def test_a_hole_that_was_given_up_is_not_filled_any_more() -> None:
    half = holed(True)
    half.give_up(5, 999)
    half.segment(0, b"0123456789", 0, 2000, 0, 6, 2000)
    assert delivered(half) == ["lost"] * 10 + list(b"later")
    assert half.retransmitted_bytes == 10
    sums_hold(half)


def test_too_much_that_waits_gives_the_hole_up() -> None:
    """Memory has a limit; the hole is told, nothing else is lost."""
    half = HalfConnection()
    half.start(0)
    size = 1 << 16
    count = MAX_PENDING_BYTES // size + 2
    for number in range(count):
        half.segment(1 + number * size, bytes(size), 0, number, 0, number, number)
    half.flush(count, count)
    assert half.gap_bytes == 1
    assert half.delivered_bytes == count * size
    sums_hold(half)


def test_what_is_beyond_any_window_is_counted_and_left_out() -> None:
    half = HalfConnection()
    half.start(0)
    half.segment((1 << 30) + 1, b"far", 0, 0, 0, 0, 0)
    half.flush(1, 1)
    assert delivered(half) == []
    assert half.beyond_limits_bytes == 3
    sums_hold(half)


def test_nothing_comes_after_fin() -> None:
    half = HalfConnection()
    half.start(0)
    half.segment(0, b"abc", 0, 0, 0, 0, 0)
    half.finish(3, 0)
    half.segment(3, b"more", 0, 1, 0, 1, 1)
    half.segment(0, b"abc", 0, 2, 0, 2, 2)
    half.flush(3, 3)
    assert delivered(half) == list(b"abc")
    assert (half.beyond_limits_bytes, half.retransmitted_bytes) == (4, 3)
    assert half.ended


def test_fin_shows_what_is_missing_before_it() -> None:
    half = HalfConnection()
    half.start(0)
    half.segment(0, b"abc", 0, 0, 0, 0, 0)
    half.finish(8, 0)
    assert not half.ended
    half.flush(1, 1)
    assert delivered(half) == [*b"abc", *["lost"] * 5]
