"""One half-connection: what one side sent, put in order (RFC 9293 §3.4, §3.10.7).

Sequence numbers become offsets that count from the first byte after SYN, or from the first byte
seen, and never wrap. What arrives first is delivered; a hole is given up by packet time and byte
counts alone, so the outcome does not depend on how packets were batched.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import NamedTuple

from wiretape.agent.tcp.conflict import MAX_CONFLICTS, Conflict, differing
from wiretape.exchange.stream import NO_ACK, ByteQueue, Hole, Run
from wiretape.exchange.v1 import exchange_pb2 as pb

LOST, SNAPLEN = int(pb.Gap.LOST), int(pb.Gap.SNAPLEN)

ACKNOWLEDGED_HOLE_NS = 100_000_000
"""The peer has the bytes, so nobody will send them again: only the capture's own disorder could
still bring them."""
OPEN_HOLE_NS = 60_000_000_000
"""A sender may still retransmit; RFC 6298 lets its timer back off to a minute."""
MAX_PENDING_BYTES = 4 << 20
SEGMENT_COST = 200
"""What keeping track of a segment takes, beside its payload."""
MAX_JUMP_BYTES = 1 << 30
"""A segment farther ahead than any window can be (RFC 7323 §2.3) belongs to a broken peer."""

_MODULUS = 1 << 32
_HALF_MODULUS = 1 << 31
_OFFSET = attrgetter("offset")


def distance(start: int, number: int) -> int:
    """Signed distance from one sequence number to another (RFC 9293 §3.4)."""
    return (number - start + _HALF_MODULUS) % _MODULUS - _HALF_MODULUS


class _Pending(NamedTuple):
    """A segment, or what is left of it, that waits for bytes before it."""

    offset: int
    payload: bytes
    missing: int
    at_ns: int
    ack: int
    why: int
    """The reason of what is missing."""

    @property
    def end(self) -> int:
        return self.offset + len(self.payload) + self.missing


def _everything(packet: int) -> int:
    return 0


class HalfConnection:
    """The receiving end, as an observer has it, of what one side sends.

    Sums: payload_bytes = delivered_bytes + retransmitted_bytes + overlapping_bytes +
    beyond_limits_bytes + what is pending.
    """

    __slots__ = (
        "_lost", "_oldest_compared", "_pending", "_pending_bytes", "_recent", "acked",
        "beyond_limits_bytes", "conflicting_bytes", "conflicts", "conflicts_seen",
        "delivered_bytes", "fin", "fin_ns", "gap_bytes", "hole_since_ns", "initial_seq", "next",
        "next_seq", "overlapping_bytes", "payload_bytes", "queue", "retransmitted_bytes", "started",
    )  # fmt: skip

    def __init__(
        self, oldest_compared: Callable[[int], int] = _everything, lost: int = LOST
    ) -> None:
        """`oldest_compared`: the first packet whose bytes are compared with those of a later one;
        `lost`: the reason of holes.

        What was delivered is remembered until `forget` is told that it is not compared any more.
        """
        self.queue = ByteQueue()
        self.started = False
        self.next = 0
        """Offset of the next byte to deliver."""
        self.next_seq = 0
        """Its sequence number."""
        self.acked = 0
        """Offset up to which the peer acknowledged."""
        self.fin = -1
        """Offset at which FIN ends the stream; -1 while none was seen."""
        self.fin_ns = 0
        """When that was sent."""
        self.initial_seq = -1
        """Sequence number of offset 0."""
        self.hole_since_ns = -1
        """Clock at which a hole became visible at `next`; -1 where there is none."""
        self.payload_bytes = 0
        self.delivered_bytes = 0
        self.retransmitted_bytes = 0
        self.overlapping_bytes = 0
        self.beyond_limits_bytes = 0
        self.gap_bytes = 0
        self.conflicting_bytes = 0
        """Bytes that came again with another value; they are among those retransmitted or
        overlapping."""
        self.conflicts: list[Conflict] = []
        """The first MAX_CONFLICTS of them, until somebody takes them."""
        self.conflicts_seen = 0
        self._pending: list[_Pending] = []
        self._pending_bytes = 0
        self._recent: list[Run] = []
        """What was delivered of late, by offset."""
        self._oldest_compared = oldest_compared
        self._lost = lost

    def start(self, seq: int) -> None:
        """The next byte to come has sequence number `seq`."""
        self.started = True
        self.initial_seq = self.next_seq = seq

    def offset_of(self, seq: int) -> int:
        """Stream offset of a sequence number near the current one."""
        return self.next + distance(self.next_seq, seq)

    @property
    def orderly(self) -> bool:
        """Nothing is pending: a segment at `next` may be delivered without further ado."""
        return not self._pending and self.hole_since_ns < 0

    @property
    def ended(self) -> bool:
        """Everything up to FIN was delivered."""
        return 0 <= self.fin <= self.next

    def late(self, seq: int, payload: bytes) -> None:
        """Takes a segment that came after the connection's end."""
        size = len(payload)
        old = min(max(self.next - self.offset_of(seq), 0), size) if self.started else 0
        self.payload_bytes += size
        self.retransmitted_bytes += old
        self.beyond_limits_bytes += size - old

    def deliver(self, run: Run) -> None:
        """The fast lane: bytes that continue exactly at `next`."""
        size = len(run.payload)
        self.queue.add(run)
        self._recent.append(run)
        self.next += size
        self.next_seq = (self.next_seq + size) % _MODULUS
        self.payload_bytes += size
        self.delivered_bytes += size

    def segment(
        self,
        seq: int,
        payload: bytes,
        missing: int,
        at_ns: int,
        ack: int,
        packet: int,
        clock: int,
        why: int = SNAPLEN,
    ) -> None:
        """Takes one segment; `missing` bytes that were sent after `payload` were not captured, for
        the reason `why`."""
        size = len(payload)
        self.payload_bytes += size
        offset = self.offset_of(seq)
        if offset - self.next > MAX_JUMP_BYTES or (0 <= self.fin < offset + size):
            self.beyond_limits_bytes += size
            return
        behind = self.next - offset
        if behind > 0:
            kept = payload[behind:]
            self.retransmitted_bytes += size - len(kept)
            # A probe whether the peer is alive may carry any byte (RFC 9293 §3.8.4).
            if not (size == behind == 1 and self.acked >= self.next):
                self._compare(offset, payload[:behind], packet)
            missing -= max(behind - size, 0)
            if not kept and missing <= 0:
                return
            payload, offset = kept, self.next
        if offset == self.next and not self._pending:
            self._deliver(_Pending(offset, payload, missing, at_ns, ack, why), packet, at_ns)
            self._settle(clock)
            return
        self._hold(_Pending(offset, payload, missing, at_ns, ack, why), packet)
        self._drain(packet, at_ns)
        while self._pending_bytes > MAX_PENDING_BYTES:
            self.give_up(packet, at_ns)
        self._settle(clock)

    def finish(self, seq: int, at_ns: int) -> None:
        """FIN stands at `seq`."""
        if self.fin < 0:
            self.fin, self.fin_ns = max(self.offset_of(seq), self.next), at_ns

    def left_ns(self, peer: "HalfConnection") -> int:
        """When this side sent FIN, if `peer` had not before; else 0."""
        return self.fin_ns if not 0 < peer.fin_ns < self.fin_ns else 0

    def acknowledge(self, ack: int, clock: int) -> None:
        """The peer has everything before `ack`."""
        offset = self.offset_of(ack)
        if self.acked < offset <= self.next + MAX_JUMP_BYTES:
            self.acked = offset
            if offset > self.next:
                self._settle(clock)

    def hole_is_lost_at_ns(self) -> int:
        """When the hole at `next` is given up; -1 where there is none."""
        if self.hole_since_ns < 0:
            return -1
        acknowledged = self._sent_and_acked() > self.next
        return self.hole_since_ns + (ACKNOWLEDGED_HOLE_NS if acknowledged else OPEN_HOLE_NS)

    def give_up(self, packet: int, at_ns: int) -> None:
        """Counts the hole at `next` as lost and delivers what follows it."""
        stop = self._pending[0].offset if self._pending else self._sent_and_acked()
        if stop > self.next:
            self._add_hole(stop - self.next, self._lost, packet, at_ns)
        self.hole_since_ns = -1
        self._drain(packet, at_ns)

    def flush(self, packet: int, at_ns: int) -> None:
        """The connection is over: whatever holes there are will not be filled."""
        while self._pending:
            self.give_up(packet, at_ns)
        if self._sent_and_acked() > self.next or self.fin > self.next:
            self._add_hole(
                max(self._sent_and_acked(), self.fin) - self.next, self._lost, packet, at_ns
            )
        self.hole_since_ns = -1

    @property
    def held_bytes(self) -> int:
        """Memory that what waits for a hole takes."""
        return self._pending_bytes + SEGMENT_COST * len(self._pending)

    def _sent_and_acked(self) -> int:
        """Acknowledged offset without the FIN, which takes a sequence number of its own.

        Where FIN was not seen, one number beyond what was seen may be it.
        """
        if self.fin >= 0:
            return min(self.acked, self.fin)
        return self.acked if self.acked - self.next != 1 else self.next

    def _settle(self, clock: int) -> None:
        """Notes since when there has been a hole at `next`."""
        if not self._pending and self._sent_and_acked() <= self.next:
            self.hole_since_ns = -1
        elif self.hole_since_ns < 0:
            self.hole_since_ns = clock

    def _hold(self, segment: _Pending, packet: int) -> None:
        """Keeps the parts of a segment that no pending one has."""
        pending = self._pending
        offset, end = segment.offset, segment.end
        index = max(bisect_left(pending, offset, key=_OFFSET) - 1, 0)
        while offset < end:
            while index < len(pending) and pending[index].end <= offset:
                index += 1
            stop = end
            if index < len(pending):
                held = pending[index]
                if held.offset <= offset:
                    taken = min(end, held.end)
                    self.overlapping_bytes += _seen(segment, offset, taken)
                    self._compare_held(held, segment, offset, packet)
                    offset = taken
                    continue
                stop = min(end, held.offset)
            piece = segment.payload[offset - segment.offset : stop - segment.offset]
            missing = stop - offset - len(piece)
            held = _Pending(offset, piece, missing, segment.at_ns, segment.ack, segment.why)
            insort(pending, held, key=_OFFSET)
            self._pending_bytes += len(piece)
            offset = stop

    def _drain(self, packet: int, at_ns: int) -> None:
        pending = self._pending
        count = 0
        while count < len(pending) and pending[count].offset <= self.next:
            self._pending_bytes -= len(pending[count].payload)
            self._deliver(pending[count], packet, at_ns)
            count += 1
        if count:
            del pending[:count]
            self.hole_since_ns = -1

    def _deliver(self, segment: _Pending, packet: int, at_ns: int) -> None:
        size = len(segment.payload)
        if size:
            run = Run(
                self.next, segment.payload, (size,), (segment.at_ns,), (segment.ack,), (packet,)
            )
            self.queue.add(run)
            self.queue.unacknowledging |= segment.ack == NO_ACK
            self._recent.append(run)
            self.next += size
            self.next_seq = (self.next_seq + size) % _MODULUS
            self.delivered_bytes += size
        if segment.missing > 0:
            self._add_hole(segment.missing, segment.why, packet, at_ns)
        self.hole_since_ns = -1

    def _add_hole(self, length: int, reason: int, packet: int, at_ns: int) -> None:
        self.queue.add_hole(Hole(length, reason, at_ns, packet))
        self.next += length
        self.next_seq = (self.next_seq + length) % _MODULUS
        self.gap_bytes += length

    # -- what comes again with other bytes

    def forget(self, packet: int) -> None:
        """What came before `packet` is not compared any more, and if it was read, not needed."""
        self.queue.let_go()
        recent = self._recent
        count = 0
        while count < len(recent) and recent[count].packets[-1] < packet:
            count += 1
        if count:
            del recent[:count]

    def release(self) -> None:
        """The connection is over: nothing is compared any more."""
        self._recent = []
        self.conflicts = []

    def _compare(self, offset: int, payload: bytes, packet: int) -> None:
        """Notes where `payload` differs from what was delivered of its place."""
        recent = self._recent
        end = offset + len(payload)
        pieces: list[tuple[int, bytes]] = []
        differs = False
        for index in range(max(bisect_right(recent, offset, key=_OFFSET) - 1, 0), len(recent)):
            run = recent[index]
            if run.offset >= end:
                break
            start = max(offset, run.offset)
            first = run.payload[start - run.offset : end - run.offset]
            if first:
                pieces.append((start, first))
                differs |= first != payload[start - offset : start - offset + len(first)]
        if not differs:
            return
        oldest = self._offset_since(self._oldest_compared(packet))
        for start, first in _joined(pieces):
            skipped = max(oldest - start, 0)
            begin = start + skipped
            known = first[skipped:]
            other = payload[begin - offset : begin - offset + len(known)]
            self._note_conflict(begin, known, other, packet)

    def _compare_held(self, held: _Pending, segment: _Pending, offset: int, packet: int) -> None:
        first = held.payload[offset - held.offset :]
        other = segment.payload[offset - segment.offset :]
        size = min(len(first), len(other))
        self._note_conflict(offset, first[:size], other[:size], packet)

    def _note_conflict(self, offset: int, first: bytes, other: bytes, packet: int) -> None:
        if first == other:
            return
        conflict, differs = differing(offset, first, other, packet)
        self.conflicting_bytes += differs
        self.conflicts_seen += 1
        if self.conflicts_seen <= MAX_CONFLICTS:
            self.conflicts.append(conflict)

    def _offset_since(self, packet: int) -> int:
        """Offset of the first remembered byte that `packet` or a later one made deliverable."""
        for run in self._recent:
            if run.packets[-1] < packet:
                continue
            index = bisect_left(run.packets, packet)
            return run.offset + sum(run.lengths[:index])
        return self.next


def _joined(pieces: Sequence[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Pieces that follow on each other as one: where runs begin depends on batches."""
    joined: list[tuple[int, bytes]] = []
    for start, piece in pieces:
        if joined and joined[-1][0] + len(joined[-1][1]) == start:
            joined[-1] = joined[-1][0], joined[-1][1] + piece
        else:
            joined.append((start, piece))
    return joined


def _seen(segment: _Pending, start: int, stop: int) -> int:
    """How many captured bytes a segment has between two offsets."""
    seen_end = segment.offset + len(segment.payload)
    return max(min(stop, seen_end) - start, 0)
