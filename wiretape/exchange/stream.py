"""Bytes of one direction in order: what every source delivers and every protocol reader consumes.

Offsets count from the first byte that the peer sent on the connection, or that was captured.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

NO_ACK = -2
"""Stands for the acknowledgment number of a segment that has none."""


class Run(NamedTuple):
    """Consecutive bytes with the segments they came in; columns have one entry a segment.

    `packets` number the packets of the capture from 0: the one that carried the segment, or the one
    that made it deliverable where it had waited for others. `acks` are the raw acknowledgment
    numbers, NO_ACK for a segment without one; empty for a source that has none.
    """

    offset: int
    payload: bytes
    lengths: Sequence[int]
    at_ns: Sequence[int]
    acks: Sequence[int]
    packets: Sequence[int]


class Hole(NamedTuple):
    """Bytes that were sent and will not come; `packet` is the one at which they were given up."""

    length: int
    reason: int
    at_ns: int
    packet: int


MAX_HOLES_REMEMBERED = 64


class Readable:
    """Bytes that may be read, `data[pos:]`, with the segments they came in."""

    __slots__ = ("acks", "at_ns", "base", "data", "ends", "packets", "pos")

    data: bytes
    pos: int
    base: int
    """Offset of data[0]."""
    ends: Sequence[int]
    """Offset after each segment."""
    at_ns: Sequence[int]
    acks: Sequence[int]
    packets: Sequence[int]

    def __init__(self, run: Run) -> None:
        self.data, self.base, self.pos = run.payload, run.offset, 0
        self.ends = _ends(run)
        self.at_ns, self.acks, self.packets = run.at_ns, run.acks, run.packets


def _ends(run: Run) -> list[int]:
    if len(run.lengths) == 1:
        return [run.offset + run.lengths[0]]
    ends = list(accumulate(run.lengths, initial=run.offset))
    del ends[0]
    return ends


class ByteQueue(Readable):
    """One direction's bytes between delivery and reading.

    `data[pos:]` is what may be read now; its segments' metadata is found by offset. Runs that come
    while something is unread wait in line and are joined only when the reader asks (`pull`), so a
    blocked reader costs no copies.
    """

    __slots__ = (
        "_ahead", "closed_packet", "end", "holes_taken", "unacknowledging",
    )  # fmt: skip

    def __init__(self) -> None:
        self.data = b""
        self.pos = 0
        self.base = 0
        """Offset of data[0]."""
        self.end = 0
        """Offset after everything that was added, holes included."""
        self.ends: Sequence[int] = ()
        self.at_ns: Sequence[int] = ()
        self.acks: Sequence[int] = ()
        self.packets: Sequence[int] = ()
        self.holes_taken: list[tuple[int, int]] = []
        """Offset and packet of the latest holes that were read over."""
        self._ahead: deque[Run | Hole] = deque()
        self.closed_packet = -1
        """The packet that ended the stream; -1 while it is open."""
        self.unacknowledging = False
        """Some segment came with NO_ACK."""

    @property
    def offset(self) -> int:
        """Offset of the next unread byte."""
        return self.base + self.pos

    @property
    def first_packet(self) -> int:
        """The packet of the first bytes that may be read, or of the hole there; -1 for neither."""
        if self.packets:
            return self.packets[0]
        return self.hole.packet if self.hole is not None else -1

    @property
    def closed(self) -> bool:
        return self.closed_packet >= 0

    def add(self, run: Run) -> None:
        self._ahead.append(run)
        self.end = run.offset + len(run.payload)

    def add_hole(self, hole: Hole) -> None:
        self._ahead.append(hole)
        self.end += hole.length

    def close(self, packet: int) -> None:
        if self.closed_packet < 0:
            self.closed_packet = packet

    def pull(self) -> bool:
        """Makes what follows without a hole readable; False where nothing does."""
        ahead = self._ahead
        if not ahead:
            return False
        run = ahead[0]
        if isinstance(run, Hole):
            return False
        ahead.popleft()
        if self.pos >= len(self.data):
            self.data, self.base, self.pos = run.payload, run.offset, 0
            self.ends = _ends(run)
            self.at_ns, self.acks, self.packets = run.at_ns, run.acks, run.packets
            return True
        runs = [run]
        while ahead and isinstance(following := ahead[0], Run):
            ahead.popleft()
            runs.append(following)
        first = bisect_right(self.ends, self.offset)
        ends, at_ns = list(self.ends[first:]), list(self.at_ns[first:])
        acks, packets = list(self.acks[first:]), list(self.packets[first:])
        for each in runs:
            ends += _ends(each)
            at_ns += each.at_ns
            acks += each.acks
            packets += each.packets
        self.ends, self.at_ns, self.acks, self.packets = ends, at_ns, acks, packets
        self.data = b"".join([self.data[self.pos :], *(each.payload for each in runs)])
        self.base += self.pos
        self.pos = 0
        return True

    def pull_all(self) -> None:
        """Makes everything up to the next hole readable."""
        while self._ahead and self.pull():
            pass

    def let_go(self) -> None:
        """Frees what was read, where nothing else is readable; the latest segment stays known."""
        if self.data and self.pos >= len(self.data):
            self.base += self.pos
            self.data, self.pos = b"", 0
            self.ends, self.at_ns = self.ends[-1:], self.at_ns[-1:]
            self.acks, self.packets = self.acks[-1:], self.packets[-1:]

    def skip_all(self) -> tuple[int, int]:
        """Drops everything that was added: (bytes, bytes of holes)."""
        size = len(self.data) - self.pos
        holes = 0
        for item in self._ahead:
            if isinstance(item, Hole):
                holes += item.length
            else:
                size += len(item.payload)
        self._ahead.clear()
        self.data, self.pos, self.base = b"", 0, self.end
        return size, holes

    @property
    def hole(self) -> Hole | None:
        """The hole that follows the readable bytes directly, if one does."""
        return self._ahead[0] if self._ahead and isinstance(self._ahead[0], Hole) else None

    def take_hole(self, length: int) -> Hole:
        """Consumes up to `length` bytes of the hole; every readable byte must have been read."""
        hole = self._ahead.popleft()
        assert isinstance(hole, Hole), "take_hole without a hole"
        assert self.pos >= len(self.data), "take_hole before the readable bytes"
        if length < hole.length:
            self._ahead.appendleft(hole._replace(length=hole.length - length))
            hole = hole._replace(length=length)
        self.holes_taken.append((self.offset, hole.packet))
        if len(self.holes_taken) > MAX_HOLES_REMEMBERED:
            del self.holes_taken[0]
        self.base += self.pos + hole.length
        self.data, self.pos = b"", 0
        return hole

    def given_up_before(self, offset: int) -> int:
        """The packet at which the last hole taken before `offset` was given up; 0 for none."""
        taken = [packet for start, packet in self.holes_taken if start < offset]
        return taken[-1] if taken else 0

    def segment(self, offset: int) -> int:
        """Index, in the metadata columns, of the segment that holds the readable byte `offset`."""
        return bisect_right(self.ends, offset)
