"""One TCP connection: two half-connections, what they speak, and how it ended (RFC 9293)."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from wiretape.agent.cause import Call, Causes, Line
from wiretape.agent.packets import ACK, FIN, RST, SYN
from wiretape.agent.plain import Head
from wiretape.agent.protocols import ClientFinder, HttpConversation, speaks_first_as_peer
from wiretape.agent.tcp import conflict
from wiretape.agent.tcp.half import HalfConnection
from wiretape.agent.tcp.identity import NOBODY, Endpoints, Identity, identify
from wiretape.agent.tcp.memory import Traffic
from wiretape.agent.tcp.relief import Holder
from wiretape.exchange import encode
from wiretape.exchange.encode import Answered
from wiretape.exchange.http1 import Message, Reader, Sections
from wiretape.exchange.records import Record
from wiretape.exchange.stream import NO_ACK, ByteQueue
from wiretape.exchange.v1 import exchange_pb2 as pb

RESET_LINGER_NS = 1_000_000_000
"""Segments that were under way when a RST passed are still taken."""
IDLE_NS = 3600 * 1_000_000_000
"""A connection this long silent is over."""
FORGET_NS = 10 * 1_000_000_000
"""A closed connection is remembered this long, for late retransmissions."""

_CLOSED, _RESET, _OPEN, _REPLACED = (
    int(pb.ConnectionEnd.CLOSED),
    int(pb.ConnectionEnd.RESET),
    int(pb.ConnectionEnd.OPEN),
    int(pb.ConnectionEnd.REPLACED),
)
OPEN_COST, CLOSED_COST = 8192, 2048
"""Memory of a connection with nothing in it."""
_SIDES = int(pb.Violation.REQUEST), int(pb.Violation.RESPONSE)
NEVER = 1 << 63
_MODULUS = 1 << 32


_NO_QUEUE = ByteQueue()
"""Stands for the queues of closed connections, which get nothing more."""


class Sink(Protocol):
    """Where finished records go, and how they are made."""

    sections: Sections
    max_content_bytes: int
    source: str
    traffic: Traffic
    lost: int
    """Why there are holes."""
    missing: tuple[int, int, int, int]
    """Why bytes at the end of a segment are not there, by the two highest flags."""
    drops: int
    drops_before: int
    """How many packets the kernel had dropped when the latest batch came, and the one before."""
    causes: Causes | None
    """Where it is known which exchanges are a service's."""

    def served(self, server: tuple[str, int], packet: int) -> None:
        """A connection has this server, as `packet` showed, the first with data."""

    def role_of(self, client: tuple[str, int], server: tuple[str, int], packet: int) -> int:
        """The role of the exchanges on a connection that `packet` opened."""

    def take_exchange(
        self,
        packet: int,
        parts: tuple[bytes, ...],
        size: int,
        at_ns: int,
        kind: tuple[bool, bool, bool, int],
        call: Call | None = None,
    ) -> None:
        """One encoded Exchange; `kind`: has a request, has a response, has gaps, violations."""

    def take_answered(self, records: Sequence[Record], calls: Sequence[Call] = ()) -> None:
        """Encoded Exchanges with both halves, whole and with nothing to remark. If there are
        `calls`, they are the same."""

    def take_end(
        self, packet: int, encoded: bytes, at_ns: int, violations: int, drops: int
    ) -> None:
        """One encoded ConnectionEnd, with so many violations and drops of the kernel in it."""

    def relieve(self, table: Holder) -> None:
        """Has too much memory given back, at a packet that the traffic chose."""

    def apart(self, packet: int, due_ns: int, opened_packet: int) -> AbstractContextManager[None]:
        """What is taken meanwhile was finished by time alone, `due_ns`, which the `packet` of
        another connection showed: it stands behind what that packet finished itself."""


class Connection:
    """One generation of a flow. Direction d is what endpoint d sends."""

    __slots__ = (
        "_conversation", "_drops_before", "_endpoints", "_finder", "_hole_bytes", "_how", "_ids",
        "_line", "_message_bytes", "_sink", "_unanswered", "client", "closed", "conflicted",
        "due_ns", "due_serial", "forget_ns",
        "halves", "last_ns", "midstream", "opened_at_ns", "opened_packet", "ordinal", "reset_ns",
        "undecoded",
    )  # fmt: skip

    def __init__(
        self, endpoints: Endpoints, sink: Sink, opened_at_ns: int, clock_ns: int, packet: int
    ) -> None:
        """`packet`: its first one."""
        self._endpoints = endpoints
        self._sink = sink
        self.opened_at_ns = opened_at_ns
        self.opened_packet = packet
        self.last_ns = clock_ns
        """Clock at its latest segment."""
        oldest = sink.traffic.oldest_compared
        lost = sink.lost
        self.halves = HalfConnection(oldest, lost), HalfConnection(oldest, lost)
        self.client = -1
        """Direction that the client sends; -1 while unknown."""
        self.midstream = True
        """No SYN came before the first byte: the capture began after the connection did."""
        self.reset_ns = -1
        self.closed = False
        self.forget_ns = NEVER
        self.due_ns = NEVER
        """When the pipeline will look at it next."""
        self.due_serial = 0
        """Which of all looks that is."""
        self._how = _OPEN
        self._drops_before = sink.drops_before
        self._conversation: HttpConversation | None = None
        self._finder: ClientFinder | None = None
        self._ids: Identity | None = None
        self._line: Line | None = None
        """Where it is known to be a service's."""
        self.ordinal = 0
        """Of the next exchange."""
        self.undecoded: tuple[dict[str, int], dict[str, int]] = ({}, {})
        """Undecoded bytes by reason, of each direction."""
        self._message_bytes = [0, 0]
        self._hole_bytes = [0, 0]
        self._unanswered = False
        """A request was recorded without a response."""
        self.conflicted = False
        """Bytes came again with other values, and no exchange has said so yet."""

    # -- segments

    def remember(
        self, initial_seqs: tuple[int, int], sizes: tuple[int, int], client: int, forget_ns: int
    ) -> None:
        """Becomes one that is closed and accounted for: only late segments may come."""
        for half, seq, size in zip(self.halves, initial_seqs, sizes, strict=True):
            half.start(seq)
            half.next = half.fin = size
            half.next_seq = (seq + size) % _MODULUS
        self.client = client
        self.midstream = False
        self.closed = True
        self.forget_ns = forget_ns
        self._release()

    def is_replaced_by(self, direction: int, seq: int) -> bool:
        """Whether a SYN with this sequence number begins another connection on these ports."""
        half = self.halves[direction]
        if not half.started:
            return self.closed
        return half.initial_seq != (seq + 1) % _MODULUS

    def over_at_ns(self) -> int:
        """When time alone ends it, if nothing more comes."""
        idle = self.last_ns + IDLE_NS
        return idle if self.reset_ns < 0 else min(idle, self.reset_ns + RESET_LINGER_NS)

    def is_over(self, now_ns: int) -> bool:
        return now_ns >= self.over_at_ns()

    def is_forgotten(self, now_ns: int) -> bool:
        """Closed so long ago that a segment belongs to another connection."""
        return self.closed and now_ns >= self.forget_ns

    def synchronize(self, direction: int, seq: int, with_ack: bool) -> None:
        """A SYN: the side's next byte has the number after it."""
        half = self.halves[direction]
        if not half.started:
            half.start((seq + 1) % _MODULUS)
        if not any(each.payload_bytes for each in self.halves):
            self.midstream = False
        if self.client < 0:
            self.client = 1 - direction if with_ack else direction

    def segment(
        self,
        direction: int,
        seq: int,
        ack: int,
        flags: int,
        payload: bytes,
        missing: int,
        at_ns: int,
        packet: int,
        clock: int,
    ) -> None:
        """The slow lane: one segment, whatever it is. `clock` is the latest packet time so far."""
        half, peer = self.halves[direction], self.halves[1 - direction]
        if self.closed:
            half.late((seq + 1) if flags & SYN else seq, payload)
            return
        self.last_ns = clock
        if flags & SYN:
            self.synchronize(direction, seq, bool(flags & ACK))
            seq = (seq + 1) % _MODULUS
        elif not half.started and not (flags & RST and not payload):
            half.start(seq)
        if flags & ACK and not peer.started:
            peer.start(ack)
        if payload or missing > 0:
            number = ack if flags & ACK else NO_ACK
            why = self._sink.missing[flags >> 6]
            half.segment(seq, payload, missing, at_ns, number, packet, clock, why)
            if half.conflicts:
                self.conflicted = True
        if flags & FIN:
            half.finish((seq + len(payload) + missing) % _MODULUS, at_ns)
        if flags & ACK and peer.started:
            peer.acknowledge(ack, clock)
        if flags & RST and self.reset_ns < 0:
            self.reset_ns = clock
        ended = 0
        for each in self.halves:
            if each.ended:
                each.queue.close(packet)
                ended += 1
        if ended == 2:
            self.pump(packet)

    def elapse(self, due_ns: int, packet: int) -> None:
        """What happens at `due_ns` without a segment; `packet` was the first to show that time."""
        if self.is_over(due_ns):
            self.close(packet, due_ns)
            return
        for half in self.halves:
            while 0 <= half.hole_is_lost_at_ns() <= due_ns:
                half.give_up(packet, half.hole_is_lost_at_ns())
                if half.ended:
                    half.queue.close(packet)
        self.pump(packet)

    def next_due_ns(self) -> int:
        """When something happens to it without a segment."""
        if self.closed:
            return self.forget_ns
        due = self.over_at_ns()
        for half in self.halves:
            if half.hole_since_ns >= 0:
                due = min(due, half.hole_is_lost_at_ns())
        return due

    # -- reading

    @property
    def held_bytes(self) -> int:
        """Memory that it takes, but for what was delivered lately."""
        if self.closed:
            return CLOSED_COST
        held = OPEN_COST + sum(half.held_bytes for half in self.halves)
        if self._conversation is not None:
            return held + self._conversation.held_bytes
        return held + sum(half.queue.end - half.queue.offset for half in self.halves)

    def evict_contents(self) -> int:
        """Cuts the contents that are being read short; returns how many bytes went."""
        return self._conversation.evict_contents() if self._conversation is not None else 0

    def forget(self, packet: int) -> None:
        """What came before `packet` is not compared with what comes again."""
        for half in self.halves:
            half.forget(packet)

    def pump(self, packet: int) -> None:
        """Reads what was delivered; closes the connection once both sides ended."""
        if self._conversation is None:
            self._begin_conversation()
        if self._conversation is not None:
            self._conversation.pump()
            if self._line is not None:
                self._line.read(self._conversation)
        if self.halves[0].ended and self.halves[1].ended:
            self._how = _CLOSED
            self.close(packet, self.last_ns)

    def _begin_conversation(self) -> None:
        """Makes the readers once there are bytes and it is known who sends requests."""
        halves = self.halves
        queues = halves[0].queue, halves[1].queue
        if not (queues[0].end or queues[1].end):
            return
        if self.client < 0:
            if self._finder is None:
                self._finder = ClientFinder(queues)
            found = self._finder.find()
            if found is None:
                return
            self.client = found
        elif speaks_first_as_peer(queues, self.client):
            self.client = 1 - self.client
        client, server = halves[self.client], halves[1 - self.client]
        self._conversation = conversation = HttpConversation(
            client.queue,
            server.queue,
            (client, server),
            self,
            self._sink.sections,
            self._sink.max_content_bytes,
            not self.midstream,
        )
        for direction, reader in self._readers(conversation):
            if self._finder is not None and self._finder.passed(direction):
                reader.lost_end = reader.queue.offset
        if self._finder is not None:
            shown = self._finder.packet
        else:
            shown = min(packet for queue in queues if (packet := queue.first_packet) >= 0)
        caller, service = self._side(self.client), self._side(1 - self.client)
        self._sink.served(service, shown)
        if self._sink.causes is not None:
            ids = self._identity()
            self._line = self._sink.causes.line(ids.ident, ids.role, caller[0], service[0])

    def _readers(self, conversation: HttpConversation) -> tuple[tuple[int, Reader], ...]:
        """Direction and reader of each side."""
        return (self.client, conversation.requests), (1 - self.client, conversation.responses)

    def _side(self, direction: int) -> tuple[str, int]:
        return self._endpoints.addresses[direction], self._endpoints.ports[direction]

    def close(self, packet: int, at_ns: int, how: int = 0) -> None:
        """The end, for whatever reason: everything still held is recorded or counted."""
        if self.closed:
            return
        if how:
            self._how = how
        elif self._how == _OPEN and self.reset_ns >= 0:
            self._how = _RESET
        for half in self.halves:
            half.flush(packet, at_ns)
            half.queue.close(packet)
        if self._conversation is None:
            self._begin_conversation()
        if self._conversation is not None:
            self._conversation.close(packet)
            if self._line is not None:
                self._line.closed(self._conversation, packet)
        self._account()
        self.closed = True
        self.forget_ns = at_ns + (0 if self._how == _OPEN else FORGET_NS)
        if self.ordinal or any(half.payload_bytes for half in self.halves):
            ledgers = [
                encode.half_ledger(
                    self.counters(d),
                    max(self.undecoded[d], default=""),
                    self.halves[d].conflicting_bytes,
                )
                for d in ((0, 1) if self.client != 1 else (1, 0))
            ]
            ident = self._identity().ident
            client = max(self.client, 0)
            late = conflict.in_no_message(
                self.halves[client].conflicts, self.halves[1 - client].conflicts
            )
            drops = self._sink.drops - self._drops_before
            # What ended it, or was seen of it last: not when that was found out.
            ended = {_RESET: self.reset_ns, _OPEN: self.last_ns}.get(self._how, at_ns)
            left = 0
            if self._unanswered or self._how != _CLOSED:
                left = self.halves[client].left_ns(self.halves[1 - client])
            encoded = encode.connection_end(
                ident, ended, self._how, ledgers[0], ledgers[1], late, drops, left
            )
            self._sink.take_end(packet, encoded, ended, len(late), drops)
        self._release()

    def _release(self) -> None:
        """Keeps only what late segments need: thousands of closed connections are remembered."""
        if self._conversation is not None:
            self._conversation.release()
        self._conversation = None
        self._finder = None
        self._ids = None
        self._line = None
        self._endpoints = NOBODY
        for half in self.halves:
            half.queue = _NO_QUEUE
            half.release()

    def _account(self) -> None:
        """Where the delivered bytes went: into messages, undecoded, or holes between messages."""
        conversation, finder = self._conversation, self._finder
        if conversation is not None:
            for direction, reader in self._readers(conversation):
                self._message_bytes[direction] = reader.message_bytes
                self._hole_bytes[direction] = reader.hole_bytes
                for reason, size in reader.undecoded.items():
                    _add(self.undecoded[direction], reason, size)
        for direction, half in enumerate(self.halves):
            left, holes = half.queue.skip_all()
            self._hole_bytes[direction] += holes
            _add(self.undecoded[direction], "unread", left)
            if finder is not None:
                self._hole_bytes[direction] += finder.hole_bytes[direction]
                _add(self.undecoded[direction], "midstream", finder.undecoded_bytes[direction])

    def counters(self, direction: int) -> tuple[int, ...]:
        """Fields 1 to 9 of HalfLedger for what endpoint `direction` sent; true once closed."""
        half = self.halves[direction]
        return (
            half.payload_bytes, half.delivered_bytes, half.retransmitted_bytes,
            half.overlapping_bytes, half.beyond_limits_bytes, half.gap_bytes,
            self._message_bytes[direction], sum(self.undecoded[direction].values()),
            self._hole_bytes[direction],
        )  # fmt: skip

    # -- exchanges (protocols.Recorder)

    def exchange(
        self,
        packet: int,
        request: Message | None,
        interim: Sequence[Message],
        response: Message | None,
    ) -> None:
        identity = self._ids or self._identity()
        ordinal = self.ordinal
        self.ordinal = ordinal + 1
        self._unanswered |= response is None
        messages = [m for m in (request, *interim, response) if m is not None]
        first_at_ns = messages[0].first_at_ns
        violations = sum((m.violations for m in messages), ())
        if self.conflicted:
            if request is not None:
                violations += self._conflicts_of(request, self.client, packet)
            for each in interim:
                violations += self._conflicts_of(each, 1 - self.client, packet)
            if response is not None:
                violations += self._conflicts_of(response, 1 - self.client, packet)
        ident = encode.exchange_ident(first_at_ns, identity.ident, ordinal)
        parts, size = encode.exchange(
            ident,
            identity.field,
            ordinal,
            identity.role,
            request.encoded if request is not None else None,
            [each.encoded for each in interim],
            response.encoded if response is not None else None,
            violations,
        )
        gapped = any(m.gapped for m in messages)
        answered = response is not None or (request is None and bool(interim))
        kind = request is not None, answered, gapped, len(violations)
        call = self._line.recorded(packet, request) if self._line is not None else None
        self._sink.take_exchange(packet, parts, size, first_at_ns, kind, call)

    @property
    def served(self) -> bool:
        return self._line is not None

    def answered(self, exchanges: Sequence[Answered], heads: Sequence[Head]) -> None:
        identity = self._ids or self._identity()
        calls = self._line.answered(exchanges, heads) if self._line is not None else ()
        self._sink.take_answered(identity.answered(self.ordinal, exchanges), calls)
        self.ordinal += len(exchanges)

    def _conflicts_of(self, message: Message, direction: int, packet: int) -> tuple[bytes, ...]:
        """Violations for bytes of `message` that came again, otherwise, up to `packet`."""
        half = self.halves[direction]
        found, half.conflicts = conflict.in_message(
            half.conflicts, message, packet, _SIDES[direction != self.client]
        )
        self.conflicted = any(each.conflicts for each in self.halves)
        return found

    def _identity(self) -> Identity:
        if self._ids is None:
            first = self.client if self.client >= 0 else 0
            self._ids = identify(
                self._endpoints,
                first,
                self.opened_at_ns,
                self._sink.source,
                self.midstream,
                self._sink.role_of(self._side(first), self._side(1 - first), self.opened_packet),
            )
        return self._ids


def _add(counters: dict[str, int], reason: str, amount: int) -> None:
    if amount:
        counters[reason] = counters.get(reason, 0) + amount
