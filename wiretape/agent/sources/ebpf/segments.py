"""Events of sockets as the segments that TCP would have shown.

So they are put in order, paired and counted by what reads packets. A position in a stream stands
for a sequence number, so the first byte has 0; what passed the other way until then stands for the
acknowledgment number: a process answers what it has read. Each connection of a process has a number
that tells it from all others.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from wiretape.agent.packets import ACK, FIN, I64, RST, SYN, U64, Segments
from wiretape.agent.packets.columns import U8, Origin
from wiretape.agent.sources.ebpf.events import RECEIVED, SENT, EventBatch, HoleReason, Kind
from wiretape.agent.sources.ebpf.source import Address, SocketConnection
from wiretape.agent.sources.ebpf.tls_records import Tls
from wiretape.agent.sources.ebpf.tls_streams import Stream, TlsStreams
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
    ended_ns: int
    caller: int
    """process << 32 | thread; 0 where it was nobody's call."""


class _Event(NamedTuple):
    """One of the ring, in ours."""

    kind: int
    direction: int
    position: int
    length: int
    start: int
    captured: int
    reason: int
    at_ns: int
    ended_ns: int
    caller: int


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
        if connection.carrier == 0:
            self.remote = (0, 0, 1)  # none is known, and yet they are two


class _Held:
    """A TLS stream of which it is not known yet which socket carries it."""

    def __init__(self) -> None:
        self.events: list[_Event] = []
        self.payloads = bytearray()
        """Of the events, whose `start` is a place in it."""
        self.passed: tuple[int, int] | None = None
        """How much passed in all, once it is closed."""


class SegmentMaker:
    """Makes segments of batches, in their order; keeps what it takes to number them."""

    def __init__(self, selects_ports: bool = False) -> None:
        """`selects_ports`: of some ports alone."""
        self.origins: dict[int, Origin] = {}
        self.skipped: dict[str, int] = {}
        """Events of which no segments were made, by reason, until this is cleared."""
        self.tls = TlsStreams(selects_ports)
        self._opened = 0
        self._known: dict[int, _Known] = {}
        """By the kernel's number."""
        self._met: dict[int, _Known] = {}
        """By ours: those of the latest batch."""
        self._closed: list[int] = []
        """Our numbers of those that the latest batch closed."""
        self._held: dict[int, _Held] = {}
        """TLS streams that wait, by the kernel's number."""
        self._foreign: set[int] = set()
        """TLS streams that are not wanted."""

    def segments(
        self, batch: EventBatch, connections: Mapping[int, SocketConnection], first: int
    ) -> Segments:
        """`first` is the number of the first segment. Connections are forgotten in the batch after
        the one that closes them."""
        self._begin()
        self.tls.look(batch, connections)
        settled = {stream.number: stream for stream in self.tls.take_settled()}
        rows: list[_Row] = []
        late = self._release(rows, settled.values(), len(batch.buffer))
        columns = (
            batch.connection, batch.flags, batch.kind, batch.direction, batch.position,
            batch.length, batch.start, batch.captured, batch.reason, batch.at_ns, batch.ended_ns,
            batch.process << 32 | batch.thread,
        )  # fmt: skip
        order = _order(batch)
        ordered = zip(order.tolist(), *(column[order].tolist() for column in columns), strict=True)
        for n, wide, is_tls, *fields in ordered:
            event = _Event._make(fields)
            if event.kind == Kind.NOTICE:
                continue
            known = self._known.get(wide)
            if event.kind == Kind.OPENED:
                if not is_tls:
                    self._open(rows, wide, connections[wide], event.at_ns, Tls())
                elif known is None:
                    self._open_tls(rows, wide, settled.get(wide), event.at_ns)
                continue
            if known is None:
                self._without(wide, event, batch, n, bool(is_tls))
                continue
            self._met[known.number] = known
            is_told_as_plaintext = (
                wide in self.tls.carries and n >= self.tls.since.get(wide, 0)
            )  # fmt: skip
            if event.kind == Kind.CLOSED:
                passed = (0, 0) if is_told_as_plaintext else batch.closed(n)
                self._close(rows, wide, passed, event.at_ns, event.ended_ns)
                for stream in self.tls.forget(wide):
                    if stream in self._known:
                        self._close(rows, stream, (0, 0), event.at_ns, event.ended_ns)
            elif is_told_as_plaintext:
                self._skip("ciphertext")
            else:
                self._pass(rows, known, event)
        return self._made(rows, first, batch.buffer, late)

    def overdue(self, now_ns: int, first: int, is_over: bool) -> Segments | None:
        """What has waited long enough by now, or at all where nothing more comes."""
        self._begin()
        if is_over:
            self.tls.give_up()
        else:
            self.tls.wait(now_ns)
        rows: list[_Row] = []
        late = self._release(rows, self.tls.take_settled(), 0)
        return self._made(rows, first, np.zeros(0, np.uint8), late) if rows else None

    def _begin(self) -> None:
        for number in self._closed:
            self.origins.pop(number, None)
        self._closed.clear()
        self._met.clear()

    def _skip(self, reason: str, events: int = 1) -> None:
        self.skipped[reason] = self.skipped.get(reason, 0) + events

    def _open(
        self, rows: list[_Row], wide: int, connection: SocketConnection, at_ns: int, tls: Tls
    ) -> None:
        self._opened = number = (self._opened + 1) % _MODULUS or 1
        self._known[wide] = self._met[number] = _Known(number, connection)
        role = {True: pb.ROLE_INBOUND, False: pb.ROLE_OUTBOUND, None: pb.ROLE_UNSPECIFIED}
        about = encode.about(connection.pid, connection.command, connection.container)
        if connection.carrier is not None:
            about += encode.tls(tls.server_name, tls.alpn, tls.version)
        self.origins[number] = Origin(
            about, int(role[connection.accepted]), has_addresses=connection.carrier != 0
        )
        if connection.open_before or connection.carrier == 0:
            return
        client = RECEIVED if connection.accepted else SENT
        syn = _MODULUS - 1
        rows.append(_Row(number, client, syn, 0, SYN, 0, 0, 0, at_ns, at_ns, 0))
        rows.append(_Row(number, 1 - client, syn, 0, SYN | ACK, 0, 0, 0, at_ns, at_ns, 0))

    def _pass(self, rows: list[_Row], known: _Known, event: _Event) -> None:
        direction, ends = event.direction, known.ends
        seq, ack = event.position % _MODULUS, ends[1 - direction] % _MODULUS
        flags, captured, missing = ACK, event.captured, 0
        if event.kind == Kind.ENDED:
            flags, captured = (ACK | RST if event.length else ACK | FIN), 0
            seq = max(event.position, ends[direction]) % _MODULUS
        else:
            if event.kind == Kind.HOLE:
                flags, missing, captured = ACK | _WHY[HoleReason(event.reason)], event.length, 0
            ends[direction] = max(ends[direction], event.position + event.length)
        rows.append(
            _Row(
                known.number, direction, seq, ack, flags, event.start, captured, missing,
                event.at_ns, event.ended_ns, event.caller,
            )
        )  # fmt: skip

    def _close(
        self, rows: list[_Row], wide: int, passed: tuple[int, int], at_ns: int, ended_ns: int
    ) -> None:
        """The process needs it no more: both streams end, wherever they are."""
        known = self._known.pop(wide)
        self._met[known.number] = known
        self._closed.append(known.number)
        ends = [max(pair) for pair in zip(passed, known.ends, strict=True)]
        for direction in (SENT, RECEIVED):
            # With it all that was lost before it is known to be lost.
            ack = (ends[1 - direction] + (direction == RECEIVED)) % _MODULUS
            seq = ends[direction] % _MODULUS
            rows.append(
                _Row(known.number, direction, seq, ack, ACK | FIN, 0, 0, 0, at_ns, ended_ns, 0)
            )

    # -- TLS streams

    def _open_tls(self, rows: list[_Row], wide: int, stream: Stream | None, at_ns: int) -> None:
        """Its first event; `stream` where it is settled already what carries it."""
        if stream is None:
            self._held.setdefault(wide, _Held())
        elif stream.is_foreign:
            self._foreign.add(wide)
        else:
            self._open(rows, wide, stream.socket or stream.plain, at_ns, stream.tls)

    def _without(self, wide: int, event: _Event, batch: EventBatch, n: int, is_tls: bool) -> None:
        """An event of a connection that is not known, or waits."""
        held = self._held.get(wide)
        if held is None:
            if wide in self._foreign:
                self._skip("other_port")
                if event.kind == Kind.CLOSED:
                    self._foreign.discard(wide)
            elif event.kind != Kind.CLOSED or not is_tls:  # which may have ended with its socket
                self._skip("unknown_socket")
            return
        if event.kind == Kind.CLOSED:
            held.passed = batch.closed(n)
            return
        held.events.append(event._replace(start=len(held.payloads)))
        held.payloads += batch.payload(n)
        self.tls.hold(wide, event.captured)

    def _release(self, rows: list[_Row], settled: Iterable[Stream], place: int) -> bytes:
        """Rows of streams that wait no more; their payloads, which begin at that place."""
        payloads = bytearray()
        for stream in settled:
            held = self._held.pop(stream.number, None)
            if held is None:
                continue
            if stream.is_foreign:
                self._skip("other_port", len(held.events))
                if held.passed is None:
                    self._foreign.add(stream.number)
                continue
            at_ns = min(event.at_ns for event in held.events)
            wide = stream.number
            self._open(rows, wide, stream.socket or stream.plain, at_ns, stream.tls)
            start = place + len(payloads)
            for event in sorted(held.events, key=lambda event: event.at_ns):
                self._pass(rows, self._known[wide], event._replace(start=start + event.start))
            payloads += held.payloads
            if held.passed is not None:
                at_ns = max(event.ended_ns for event in held.events)
                self._close(rows, wide, held.passed, at_ns, at_ns)
        return bytes(payloads)

    def _made(self, rows: list[_Row], first: int, buffer: U8, late: bytes) -> Segments:
        """`late` stands behind the buffer."""
        if late:
            buffer = np.concatenate([buffer, np.frombuffer(late, np.uint8)])
        columns = np.array(rows, np.int64).reshape(-1, len(_Row._fields)).T
        number, sent, seq, ack, flags, start, length, missing, at_ns, ended_ns, callers = columns
        count = len(rows)
        numbers, place = np.unique(number, return_inverse=True)
        nobody: U64 = np.zeros(count, np.uint64)
        ends = self._ends(numbers.tolist())
        out = sent.astype(bool)
        local, remote = ends[0][:, place], ends[1][:, place]
        source, target = np.where(out, local, remote), np.where(out, remote, local)
        return Segments(
            buffer=buffer,
            packet=np.arange(first, first + count),
            at_ns=at_ns,
            clock_ns=ended_ns,
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
            callers=callers,
        )

    def _ends(self, numbers: list[int]) -> tuple[U64, U64]:
        """Local and remote addresses and ports, (3, n) each."""
        known = [self._met[number] for number in numbers]
        local = np.array([each.local for each in known], np.uint64).reshape(-1, 3).T
        remote = np.array([each.remote for each in known], np.uint64).reshape(-1, 3).T
        return local, remote


def _order(batch: EventBatch) -> I64:
    """By time. A call that began earlier may end later: what was asked stands before its answer;
    but a connection is opened before all else."""
    key = batch.at_ns
    opened = (batch.kind == Kind.OPENED).nonzero()[0]
    if len(opened):
        _, which = np.unique(batch.connection, return_inverse=True)
        first = np.full(len(batch), np.iinfo(np.int64).max)
        np.minimum.at(first, which, batch.at_ns)
        key = key.copy()
        key[opened] = first[which[opened]]
    return np.argsort(key, kind="stable")


def _halves(address: Address) -> tuple[int, int]:
    """Of 128 bits; IPv4 mapped (RFC 4291 §2.5.5.2)."""
    if address.version == 4:
        return 0, _MAPPED | int(address)
    return int(address) >> 64, int(address) & (1 << 64) - 1
