"""Events of sockets as the segments that TCP would have shown.

So they are put in order, paired and counted by what reads packets. A position in a stream stands
for a sequence number, so the first byte has 0; what passed the other way until then stands for the
acknowledgment number: a process answers what it has read. Each connection of a process has a number
that tells it from all others.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from wiretape.agent.packets import ACK, FIN, RST, SYN, U64, Segments
from wiretape.agent.packets.columns import Origin
from wiretape.agent.sources.ebpf.events import RECEIVED, SENT, EventBatch, HoleReason, Kind
from wiretape.agent.sources.ebpf.source import Address, SocketConnection
from wiretape.exchange import encode
from wiretape.exchange.v1 import exchange_pb2 as pb

LOST = int(pb.Gap.RING_LOST)
MISSING = (
    int(pb.Gap.TRUNCATED), int(pb.Gap.SENDFILE), int(pb.Gap.TRUNCATED), int(pb.Gap.UNSEEN),
)  # fmt: skip
"""Reasons of holes by the two highest flags of a segment."""
_WHY = {
    HoleReason.SENDFILE: 1 << 6,
    HoleReason.TRUNCATED: 2 << 6,
    HoleReason.BYPASSED: 3 << 6,
    HoleReason.INTERLEAVED: 3 << 6,
}
_MODULUS = 1 << 32
_MAPPED = 0xFFFF << 32


class _Row(NamedTuple):
    number: int
    sent: int
    """1: by the process; 0: by its peer."""
    seq: int
    ack: int
    flags: int
    start: int
    length: int
    missing: int
    at_ns: int
    event: int


class _Known:
    """A connection while it is open: where both streams are."""

    __slots__ = ("ends", "local", "number", "remote")

    def __init__(self, number: int, connection: SocketConnection) -> None:
        self.number = number
        """Ours, of 32 bits; the kernel's are wider."""
        self.ends = [0, 0]
        """Position after the last byte, of RECEIVED and SENT."""
        self.local = (*_halves(connection.local[0]), connection.local[1])
        self.remote = (*_halves(connection.remote[0]), connection.remote[1])


class SegmentMaker:
    """Makes segments of batches, in their order; keeps what it takes to number them."""

    def __init__(self) -> None:
        self.origins: dict[int, Origin] = {}
        self._opened = 0
        self._known: dict[int, _Known] = {}
        """By the kernel's number."""
        self._met: dict[int, _Known] = {}
        """By ours: those of the latest batch."""
        self._closed: list[int] = []
        """Our numbers of those that the latest batch closed."""
        self.unknown_events = 0
        """Of connections of which the ring lost that they were opened."""

    def segments(
        self, batch: EventBatch, connections: Mapping[int, SocketConnection], first: int
    ) -> Segments:
        """`first` is the number of the first segment. Connections are forgotten in the batch after
        the one that closes them."""
        for number in self._closed:
            self.origins.pop(number, None)
        self._closed.clear()
        self._met.clear()
        rows: list[_Row] = []
        # A call that began earlier may end later: what was asked stands before its answer.
        order = np.argsort(batch.at_ns, kind="stable")
        columns = (
            batch.kind, batch.connection, batch.direction, batch.position, batch.length,
            batch.start, batch.captured, batch.at_ns, batch.reason, order,
        )  # fmt: skip
        ordered = zip(
            *(column[order].tolist() for column in columns[:-1]), order.tolist(), strict=True
        )
        for kind, wide, direction, position, length, start, captured, at_ns, reason, n in ordered:
            if kind == Kind.NOTICE:
                continue
            if kind == Kind.OPENED:
                self._open(rows, wide, connections[wide], at_ns, n)
                continue
            known = self._known.get(wide)
            if known is None:
                self.unknown_events += 1
                continue
            number, ends = known.number, known.ends
            self._met[number] = known
            if kind == Kind.CLOSED:
                self._close(rows, known, batch.closed(n), at_ns, n)
                del self._known[wide]
                continue
            seq, ack = position % _MODULUS, ends[1 - direction] % _MODULUS
            flags, missing = ACK, 0
            if kind == Kind.ENDED:
                flags, captured = (ACK | RST if length else ACK | FIN), 0
                seq = max(position, ends[direction]) % _MODULUS
            else:
                if kind == Kind.HOLE:
                    flags, missing, captured = ACK | _WHY[HoleReason(reason)], length, 0
                ends[direction] = max(ends[direction], position + length)
            rows.append(
                _Row(number, direction, seq, ack, flags, start, captured, missing, at_ns, n)
            )
        return self._made(batch, rows, first)

    def _open(
        self, rows: list[_Row], wide: int, connection: SocketConnection, at_ns: int, n: int
    ) -> None:
        self._opened = number = (self._opened + 1) % _MODULUS or 1
        self._known[wide] = self._met[number] = _Known(number, connection)
        role = {True: pb.ROLE_INBOUND, False: pb.ROLE_OUTBOUND, None: pb.ROLE_UNSPECIFIED}
        self.origins[number] = Origin(
            encode.about(connection.pid, connection.command, connection.container),
            int(role[connection.accepted]),
        )
        if connection.open_before:
            return
        caller = RECEIVED if connection.accepted else SENT
        syn = _MODULUS - 1
        rows.append(_Row(number, caller, syn, 0, SYN, 0, 0, 0, at_ns, n))
        rows.append(_Row(number, 1 - caller, syn, 0, SYN | ACK, 0, 0, 0, at_ns, n))

    def _close(
        self, rows: list[_Row], known: _Known, passed: tuple[int, int], at_ns: int, n: int
    ) -> None:
        """The process needs it no more: both streams end, wherever they are."""
        self._closed.append(known.number)
        ends = [max(pair) for pair in zip(passed, known.ends, strict=True)]
        for direction in (SENT, RECEIVED):
            # With it all that was lost before it is known to be lost.
            ack = (ends[1 - direction] + (direction == RECEIVED)) % _MODULUS
            seq = ends[direction] % _MODULUS
            rows.append(_Row(known.number, direction, seq, ack, ACK | FIN, 0, 0, 0, at_ns, n))

    def _made(self, batch: EventBatch, rows: list[_Row], first: int) -> Segments:
        columns = np.array(rows, np.int64).reshape(-1, len(_Row._fields)).T
        number, sent, seq, ack, flags, start, length, missing, at_ns, event = columns
        count = len(rows)
        numbers, place = np.unique(number, return_inverse=True)
        nobody: U64 = np.zeros(count, np.uint64)
        ends = self._ends(numbers.tolist())
        out = sent.astype(bool)
        local, remote = ends[0][:, place], ends[1][:, place]
        source, target = np.where(out, local, remote), np.where(out, remote, local)
        return Segments(
            buffer=batch.buffer,
            packet=np.arange(first, first + count),
            at_ns=at_ns,
            clock_ns=batch.ended_ns[event],
            source_high=source[0],
            source_low=source[1],
            target_high=target[0],
            target_low=target[1],
            source_port=source[2].astype(np.int64),
            target_port=target[2].astype(np.int64),
            vlans=nobody,
            tunnels=number.astype(np.uint64),
            seq=seq.astype(np.uint32),
            ack=ack.astype(np.uint32),
            flags=flags.astype(np.uint8),
            start=start,
            length=length,
            missing=missing,
            interface=np.full(count, -1, np.int64),
            same=(),
            paths=[],
            origins=self.origins,
            callers=(batch.process << 32 | batch.thread)[event],
        )

    def _ends(self, numbers: list[int]) -> tuple[U64, U64]:
        """Local and remote addresses and ports, (3, n) each."""
        known = [self._met[number] for number in numbers]
        local = np.array([each.local for each in known], np.uint64).reshape(-1, 3).T
        remote = np.array([each.remote for each in known], np.uint64).reshape(-1, 3).T
        return local, remote


def _halves(address: Address) -> tuple[int, int]:
    """Of 128 bits; IPv4 mapped (RFC 4291 §2.5.5.2)."""
    if address.version == 4:
        return 0, _MAPPED | int(address)
    return int(address) >> 64, int(address) & (1 << 64) - 1
