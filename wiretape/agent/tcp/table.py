"""All connections of a capture, and the two lanes that lead to them.

The fast lane takes what both sides of a flow sent in a batch as one run each, if the segments
continue exactly where the half-connections stand; everything else goes segment by segment through
the same half-connections. Both lanes deliver the same bytes; `fast=False` turns the first one off.
"""

from collections import deque
from heapq import heapify, heappop, heappush
from typing import NamedTuple

import numpy as np

from wiretape.agent.ledger import Ledger, count
from wiretape.agent.packets import ACK, I64, SYN, Segments
from wiretape.agent.tcp.connection import CLOSED_COST, NEVER, Connection, Sink
from wiretape.agent.tcp.grouping import Flows
from wiretape.agent.tcp.half import distance
from wiretape.agent.tcp.identity import Endpoints
from wiretape.agent.tcp.relief import Holding
from wiretape.agent.tcp.sample import Sample
from wiretape.agent.tcp.share import EVERYTHING, Share
from wiretape.agent.tcp.whole import Closed, read_whole_connection
from wiretape.exchange.v1 import exchange_pb2 as pb

MAX_ENDPOINTS = 1 << 12
_STALE = 1 << 12
"""So many entries of the timers' heap may be stale, beside as many as there are connections."""

_MODULUS = 1 << 32
_REPLACED, _EVICTED = int(pb.ConnectionEnd.REPLACED), int(pb.ConnectionEnd.EVICTED)


class Shown(NamedTuple):
    """The packets of everybody, which show what time it is: the latest time up to each."""

    clock: I64
    packets: I64

    def packet_at(self, time_ns: int) -> int:
        """The first packet that showed that time."""
        return int(self.packets[np.searchsorted(self.clock, time_ns)])


class ConnectionTable:
    """Feeds segments to connections and looks after those whose time has come."""

    def __init__(
        self,
        sink: Sink,
        ledger: Ledger,
        fast: bool = True,
        share: Share = EVERYTHING,
        sample: Sample | None = None,
    ) -> None:
        """`share`: which connections are this table's, though it sees the segments of all.

        `sample` chose the segments already; it knows whom to let go of.
        """
        self._sink = sink
        self._share = share
        self._sample = sample or Sample()
        self._ledger = ledger
        self._fast = fast
        self._connections: dict[bytes, Connection] = {}
        self._closed: dict[bytes, Closed] = {}
        """Connections that were read whole and are remembered for late segments."""
        self._endpoints: dict[bytes, Endpoints] = {}
        self._due: list[tuple[int, int, bytes]] = []
        """A heap of when to look at which connection; some entries are stale (`_at`)."""
        self._serial = 0
        self._clock = 0
        self._last_packet = 0
        self._latest: deque[tuple[int, list[Connection]]] = deque()
        """Connections that got segments, with the last packet of their batch."""
        self._keys: list[bytes] = []
        """Of the connections that `holdings` told last."""

    @property
    def open_connections(self) -> int:
        """How many are followed, those included that were closed only lately."""
        return len(self._connections)

    def feed(self, segments: Segments) -> None:
        """Takes one batch of segments in capture order."""
        for part, check in self._sink.traffic.parts(segments):
            self._feed(part)
            if check:
                self._sink.relieve(self)

    def _feed(self, segments: Segments) -> None:
        clock = np.maximum(np.maximum.accumulate(segments.clock_ns), self._clock)
        shown = Shown(clock, segments.packet)
        rows = self._share.rows(segments)
        if rows is not None:
            segments, clock = segments.only(rows), clock[rows]
        touched = self._feed_flows(segments, clock, shown) if len(clock) else []
        self._clock = int(shown.clock[-1])
        self._last_packet = int(shown.packets[-1])
        self._forget(touched)
        self._run_timers(shown)

    def _feed_flows(self, segments: Segments, clock: I64, shown: Shown) -> list[Connection]:
        """Returns the connections that got segments and may get more."""
        flows = Flows(segments, clock)
        touched = []
        for flow in range(flows.count):
            key = flows.key(flow)
            connection = self._connections.get(key)
            if connection is None:
                if key in self._closed:
                    connection = self._revive(key)
                elif flows.whole[flow] and self._read_whole(key, flows, flow):
                    continue
            now = flows.first_ns[flow]
            if self._fast and _continues(flows, flow, connection, now):
                connection = self._feed_fast(key, flows, flow, connection, segments)
            else:
                connection = self._feed_rows(key, flows, flow, connection, segments, clock, shown)
            self._schedule(key, connection)
            touched.append(connection)
        return touched

    def elapse(self, now_ns: int) -> None:
        """Time went by without a segment, as a clock beside the packets told."""
        if now_ns > self._clock:
            self._clock = now_ns
            moment = np.array([now_ns]), np.array([self._last_packet])
            self._run_timers(Shown(*moment))

    def close(self) -> None:
        """The capture is over: closes every connection, in the order in which they came."""
        packet = self._last_packet + 1
        for connection in self._connections.values():
            with self._sink.apart(packet, NEVER, connection.opened_packet):
                connection.close(packet, self._clock)
            self._add_up(connection)
        self._connections.clear()
        self._closed.clear()
        self._due.clear()
        self._latest.clear()

    # -- memory (relief.Holder)

    def held_bytes(self) -> int:
        held = sum(connection.held_bytes for connection in self._connections.values())
        return held + len(self._closed) * CLOSED_COST

    def holdings(self) -> list[Holding]:
        for key in list(self._closed):
            self._revive(key)
        self._keys = list(self._connections)
        return [
            Holding(each.last_ns, each.opened_packet, each.held_bytes)
            for each in self._connections.values()
        ]

    def cut(self, number: int) -> int:
        connection = self._connections[self._keys[number]]
        size = connection.evict_contents()
        if size:
            self._ledger.evictions += 1
            self._ledger.evicted_bytes += size
        return connection.held_bytes

    def drop(self, number: int) -> None:
        key = self._keys[number]
        connection = self._connections[key]
        self._ledger.evictions += not connection.closed
        self._evict(key, connection)

    def _evict(self, key: bytes, connection: Connection) -> None:
        if not connection.closed:
            with self._sink.apart(self._last_packet, self._clock, connection.opened_packet):
                connection.close(self._last_packet, self._clock, _EVICTED)
        self._remove(key, connection)

    # -- too much to do

    def shed(self) -> None:
        """Closes the connections that the sample takes no more."""
        keys = list(self._connections)
        for key, gone in zip(keys, self._sample.left_out(keys) if keys else (), strict=True):
            if gone:
                connection = self._connections[key]
                self._ledger.connections_shed += not connection.closed
                self._evict(key, connection)

    def _forget(self, touched: list[Connection]) -> None:
        """Lets go of delivered bytes that nothing will be compared with any more."""
        latest = self._latest
        latest.append((self._last_packet, touched))
        oldest = self._sink.traffic.oldest_compared(self._last_packet)
        while latest[0][0] < oldest:
            for connection in latest.popleft()[1]:
                connection.forget(oldest)

    # -- the lanes

    def _read_whole(self, key: bytes, flows: Flows, flow: int) -> bool:
        """The shortest lane, for connections of which nothing is left; whether it was one."""
        read = read_whole_connection(flows, flow, self._sink) if self._fast else None
        if read is None:
            return False
        size = sum(read.sizes)
        ledger = self._ledger
        ledger.connections += 1
        ledger.payload_bytes += size
        ledger.delivered_bytes += size
        ledger.message_bytes += size
        self._closed[key] = read
        self._serial += 1
        self._push(read.forget_ns, key)
        return True

    def _revive(self, key: bytes) -> Connection:
        """The Connection of one that was read whole, as more segments came or it has to go."""
        closed = self._closed.pop(key)
        connection = self._connections[key] = closed.connection(self._sink)
        self._schedule(key, connection)
        return connection

    def _feed_fast(
        self,
        key: bytes,
        flows: Flows,
        flow: int,
        connection: Connection | None,
        segments: Segments,
    ) -> Connection:
        first_half = 2 * flow
        if flows.half_syn[first_half]:
            opened = flows.first_at_ns[flow], flows.first_ns[flow], flows.first_packet[flow]
            connection = self._open(key, flows, flow, connection, *opened)
            opener = flows.opener[flow]
            for direction in (opener, 1 - opener):
                half = first_half + direction
                connection.synchronize(direction, flows.half_seq[half], flows.half_syn_ack[half])
        assert connection is not None, "the fast lane has a connection or opens one"
        halves = connection.halves
        packet, connection.last_ns = flows.last_packet[flow], flows.last_ns[flow]
        for direction in (0, 1):
            number = first_half + direction
            sender = halves[direction]
            if flows.half_data[number] < flows.half_data[number + 1]:
                sender.deliver(flows.run(number, sender.next))
            if flows.half_fin[number]:
                row = flows.half_last_row[number]
                sender.finish(sender.next_seq, int(segments.at_ns[row]))
                sender.queue.close(int(segments.packet[row]))
        for direction in (0, 1):
            ack = flows.half_ack[first_half + direction]
            if ack >= 0:
                halves[1 - direction].acknowledge(ack, connection.last_ns)
        if halves[0].ended and halves[1].ended:
            packet, connection.last_ns = flows.closing_packet[flow], flows.closing_ns[flow]
        connection.pump(packet)
        return connection

    def _feed_rows(
        self,
        key: bytes,
        flows: Flows,
        flow: int,
        connection: Connection | None,
        segments: Segments,
        clock: I64,
        shown: Shown,
    ) -> Connection:
        """The slow lane: every segment of the flow in capture order."""
        memory = flows.memory
        rows = flows.rows(flow)
        packet = 0
        columns = (
            flows.direction[rows], segments.seq[rows], segments.ack[rows], segments.flags[rows],
            segments.start[rows], segments.length[rows], segments.missing[rows],
            segments.at_ns[rows], segments.packet[rows], clock[rows],
        )  # fmt: skip
        for direction, seq, ack, flags, start, length, missing, at_ns, packet, now in zip(
            *(column.tolist() for column in columns), strict=True
        ):
            if connection is not None:
                self._elapse(connection, now, packet, shown)
            if connection is not None and connection.is_forgotten(now):
                self._remove(key, connection)
                connection = None
            if flags & SYN and connection is not None and connection.is_replaced_by(direction, seq):
                connection.pump(packet)
                connection.close(packet, now, _REPLACED)
                connection = self._open(key, flows, flow, connection, at_ns, now, packet)
            if connection is None:
                connection = self._open(key, flows, flow, None, at_ns, now, packet)
            payload = bytes(memory[start : start + length]) if length else b""
            connection.segment(direction, seq, ack, flags, payload, missing, at_ns, packet, now)
        assert connection is not None, "a flow has rows"
        connection.pump(packet)
        return connection

    def _open(
        self,
        key: bytes,
        flows: Flows,
        flow: int,
        before: Connection | None,
        at_ns: int,
        now: int,
        packet: int,
    ) -> Connection:
        if before is not None:
            self._remove(key, before)
        endpoints = self._endpoints_of(key, flows, flow)
        connection = Connection(endpoints, self._sink, at_ns, now, packet)
        self._connections[key] = connection
        self._ledger.connections += 1
        return connection

    def _endpoints_of(self, key: bytes, flows: Flows, flow: int) -> Endpoints:
        endpoints = self._endpoints.get(key)
        if endpoints is None:
            if len(self._endpoints) >= MAX_ENDPOINTS:
                self._endpoints.clear()
            endpoints = self._endpoints[key] = flows.endpoints(flow)
        return endpoints

    # -- timers

    def _schedule(self, key: bytes, connection: Connection) -> None:
        due = connection.next_due_ns()
        if due < connection.due_ns:
            self._serial += 1
            connection.due_ns, connection.due_serial = due, self._serial
            self._push(due, key)

    def _push(self, due_ns: int, key: bytes) -> None:
        heappush(self._due, (due_ns, self._serial, key))
        live = len(self._connections) + len(self._closed)
        if len(self._due) > 2 * live + _STALE:
            # A connection is mostly over long before the hour in which it would have been idle.
            self._due = [entry for entry in self._due if self._at(*entry) is not None]
            heapify(self._due)

    def _at(self, due_ns: int, serial: int, key: bytes) -> Connection | Closed | None:
        """Whom an entry of the heap is about; None where it is stale."""
        connection = self._connections.get(key)
        if connection is not None:
            return connection if connection.due_serial == serial else None
        closed = self._closed.get(key)
        return closed if closed is not None and closed.forget_ns == due_ns else None

    def _run_timers(self, moments: Shown) -> None:
        """What packet time alone decides, at the packet that first showed that time."""
        while (heap := self._due) and heap[0][0] <= self._clock:
            entry = heappop(heap)
            key, connection = entry[2], self._at(*entry)
            if isinstance(connection, Closed):
                del self._closed[key]
            if not isinstance(connection, Connection):
                continue
            connection.due_ns = NEVER
            self._elapse(connection, self._clock, -1, moments)
            if connection.is_forgotten(self._clock):
                self._remove(key, connection)
            else:
                self._schedule(key, connection)

    def _elapse(self, connection: Connection, now: int, packet: int, moments: Shown) -> None:
        """What time alone did to a connection by `now`, which its own `packet` shows (-1: none).

        What the packets of others showed stands in the recording behind what these finished.
        """
        while not connection.closed and (due := connection.next_due_ns()) <= now:
            shown = moments.packet_at(due)
            connection.pump(shown)  # what came before does not belong to that time
            if shown == packet:
                connection.elapse(due, packet)
            else:
                with self._sink.apart(shown, due, connection.opened_packet):
                    connection.elapse(due, shown)

    def _remove(self, key: bytes, connection: Connection) -> None:
        del self._connections[key]
        self._add_up(connection)

    def _add_up(self, connection: Connection) -> None:
        """Adds a connection that will see no more segments to the ledger."""
        ledger = self._ledger
        for direction in (0, 1):
            counters = connection.counters(direction)
            ledger.payload_bytes += counters[0]
            ledger.delivered_bytes += counters[1]
            ledger.retransmitted_bytes += counters[2]
            ledger.overlapping_bytes += counters[3]
            ledger.beyond_limits_bytes += counters[4]
            ledger.gap_bytes += counters[5]
            ledger.message_bytes += counters[6]
            ledger.undecoded_bytes += counters[7]
            ledger.gap_bytes_outside_messages += counters[8]
            ledger.conflicting_bytes += connection.halves[direction].conflicting_bytes
            for reason in connection.undecoded[direction]:
                count(ledger.undecoded_streams, reason)


def _continues(flows: Flows, flow: int, connection: Connection | None, now: int) -> bool:
    """Whether the flow's part of the batch may take the fast lane."""
    if flows.crooked[flow]:
        return False
    client, server = 2 * flow, 2 * flow + 1
    syns = flows.half_syn[client] + flows.half_syn[server]
    if syns == 2:
        if flows.flags_of_first_row(flow) & (SYN | ACK) != SYN:
            return False  # what stands before SYN may belong to the connection before
        if connection is not None and not (
            connection.closed
            and connection.is_replaced_by(0, flows.half_seq[client])
            and connection.is_replaced_by(1, flows.half_seq[server])
        ):
            return False
    elif (
        syns
        or connection is None
        or connection.closed
        or connection.reset_ns >= 0
        or connection.is_over(now)
    ):
        return False
    afters = []
    for direction, number in enumerate((client, server)):
        seq = flows.half_seq[number]
        if syns:
            afters.append(flows.half_after[number])
            continue
        assert connection is not None, "without SYN there is a connection"
        half = connection.halves[direction]
        if not half.started or not half.orderly:
            return False
        if seq < 0:
            afters.append((half.next_seq + half.ended) % _MODULUS)
        elif seq == half.next_seq and half.fin < 0:
            afters.append(flows.half_after[number])
        else:
            return False
    # Nobody acknowledges what was not seen: that would be a hole.
    client_after, server_after = afters
    client_ack, server_ack = flows.half_ack[client], flows.half_ack[server]
    return (client_ack < 0 or distance(server_after, client_ack) <= 0) and (
        server_ack < 0 or distance(client_after, server_ack) <= 0
    )
