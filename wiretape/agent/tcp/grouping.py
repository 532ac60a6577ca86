"""Sorts the segments of a batch into flows and their directions, all at once.

A flow is found by a hash of its whole key, and every row's key is compared with that of the row
that stands for its hash, so a collision never mixes connections. Flows are numbered in the order of
their first segment, so nothing downstream depends on hashes.
"""

from struct import Struct

import numpy as np
from numpy.typing import NDArray

from wiretape.agent.packets import ACK, FIN, I64, RST, SYN, Segments
from wiretape.agent.packets.keys import grouped, number_rows
from wiretape.agent.tcp.connection import FORGET_NS, IDLE_NS
from wiretape.agent.tcp.half import ACKNOWLEDGED_HOLE_NS
from wiretape.agent.tcp.identity import NOBODY, Endpoints, address_text
from wiretape.exchange import encode
from wiretape.exchange.stream import Run

_KEY = Struct("=6Q")
_KEY_BYTES = _KEY.size
_PORTS = (1 << 32) - 1


class Flows:
    """The flows of one batch. Half `2 * flow + d` is what the flow's endpoint d sent.

    Lists named `half_…` have an entry for each half; -1 stands for none. Only segments that take
    sequence numbers count for `half_seq` and `half_after`.
    """

    def __init__(self, segments: Segments, clock: I64) -> None:
        """`clock`: for each segment, the latest packet time so far."""
        self._segments = segments
        swapped = _swapped(segments)
        self.direction = swapped.astype(np.int64)
        self._key = _keys(segments, swapped)
        first, flow = number_rows(self._key)
        self.count = len(first)
        by_flow = grouped(flow, self.count)
        self.bounds = np.searchsorted(flow[by_flow], np.arange(self.count + 1)).tolist()
        self._by_flow = by_flow
        half = flow * 2 + self.direction
        edges = by_flow[np.array(self.bounds[:-1])], by_flow[np.array(self.bounds[1:]) - 1]
        self.first_row: list[int] = edges[0].tolist()
        self._keys: bytes = self._key[edges[0]].tobytes()
        self.first_ns: list[int] = clock[edges[0]].tolist()
        self.last_ns: list[int] = clock[edges[1]].tolist()
        """The clock at the first and last segment of each flow."""
        self.last_packet: list[int] = segments.packet[edges[1]].tolist()
        self.opener: list[int] = self.direction[edges[0]].tolist()
        """Which endpoint sent the first segment of each flow."""
        self.first_packet: list[int] = segments.packet[edges[0]].tolist()
        self.first_at_ns: list[int] = segments.at_ns[edges[0]].tolist()
        self._columns(segments, flow, half, clock[edges[1]] - clock[edges[0]])
        # A connection is over at its second FIN, whatever of it comes behind.
        ends = np.array(self.half_last_row).reshape(-1, 2).max(axis=1)
        self.closing_packet: list[int] = segments.packet[ends].tolist()
        self.closing_ns: list[int] = clock[ends].tolist()
        """The packet of each flow that takes its last sequence number, and the clock then."""

    def _columns(self, segments: Segments, flow: I64, half: I64, span_ns: I64) -> None:
        flags, length, missing, seq = (
            segments.flags, segments.length, segments.missing, segments.seq,
        )  # fmt: skip
        halves = np.arange(2 * self.count + 1)
        crooked = np.zeros(self.count, bool)
        unacknowledging = (length > 0) & (flags & ACK == 0)
        crooked[flow[(missing > 0) | (flags & RST != 0) | unacknowledging]] = True

        numbered = np.flatnonzero((length > 0) | (missing > 0) | (flags & (SYN | FIN) != 0))
        numbered = numbered[grouped(half[numbered], 2 * self.count)]
        taken = length + missing + (flags & SYN != 0) + (flags & FIN != 0)
        after = (seq + taken.astype(np.uint32)).astype(np.uint32)
        left, right = numbered[:-1], numbered[1:]
        same = half[left] == half[right]
        breaks = same & (
            (seq[right] != after[left]) | (flags[left] & FIN != 0) | (flags[right] & SYN != 0)
        )
        crooked[flow[right[breaks]]] = True
        # Time may have ended the connection, or given up a hole, between two of its segments.
        crooked |= span_ns >= IDLE_NS

        bounds = np.searchsorted(half[numbered], halves)
        some = bounds[1:] > bounds[:-1]
        heads, tails = numbered[bounds[:-1][some]], numbered[bounds[1:][some] - 1]
        syn = _spread(some, flags[heads] & SYN, 0) > 0
        fin = _spread(some, flags[tails] & FIN, 0) > 0
        last = _spread(some, after[tails], -1)
        # Or it was closed, and forgotten before the flow's last segment.
        crooked |= (span_ns >= FORGET_NS) & (fin[::2] | fin[1::2])
        self.half_seq: list[int] = _spread(some, seq[heads], -1).tolist()
        self.half_after: list[int] = last.tolist()
        self.half_syn: list[bool] = syn.tolist()
        self.half_syn_ack: list[bool] = (_spread(some, flags[heads] & ACK, 0) > 0).tolist()
        """Where half_syn holds: whether it is a SYN-ACK."""
        self.half_fin: list[bool] = fin.tolist()
        self.half_last_row: list[int] = _spread(some, tails, -1).tolist()

        last_ack = np.full(2 * self.count, -1, np.int64)
        acknowledging = np.flatnonzero(flags & ACK)
        acks = segments.ack[acknowledging].astype(np.int64)
        last_ack[half[acknowledging]] = acks  # the last one stays
        self.half_ack: list[int] = last_ack.tolist()
        # An acknowledgment before the SYN that it names: that SYN may begin another connection.
        first_ack = np.full(2 * self.count, len(flags), np.int64)
        first_ack[half[acknowledging[::-1]]] = acknowledging[::-1]
        opens = heads[flags[heads] & SYN != 0]
        crooked[flow[opens[first_ack[half[opens] ^ 1] < opens]]] = True
        # Or one of its own side: what it acknowledged was of the connection before.
        crooked[flow[opens[first_ack[half[opens]] < opens]]] = True
        newer = (acks - last_ack[half[acknowledging]]).astype(np.int32) > 0
        crooked[flow[acknowledging[newer]]] = True
        slow = acknowledging[span_ns[flow[acknowledging]] >= ACKNOWLEDGED_HOLE_NS]
        if len(slow):
            early = _before_data(segments, half, numbered, after, slow)
            crooked[flow[slow[early]]] = True
        self.crooked: list[bool] = crooked.tolist()

        data = numbered[length[numbered] > 0]
        data_bounds = np.searchsorted(half[data], halves)
        self.half_data: list[int] = data_bounds.tolist()
        opened = flags[self.first_row] & (SYN | ACK) == SYN
        complete = syn & fin & (data_bounds[1:] > data_bounds[:-1])
        # Nobody acknowledges what was not seen: that would be a hole.
        peers_ack = last_ack.reshape(-1, 2)[:, ::-1].ravel()
        complete &= (peers_ack < 0) | ((peers_ack - last).astype(np.int32) <= 0)
        self.whole: list[bool] = (~crooked & opened & complete[::2] & complete[1::2]).tolist()
        """Flows that are one connection from its beginning to its end, with data both ways."""
        start = segments.start[data]
        self._start: list[int] = start.tolist()
        self._end: list[int] = (start + length[data]).tolist()
        self._length: list[int] = length[data].tolist()
        self._at_ns: list[int] = segments.at_ns[data].tolist()
        self._ack: list[int] = segments.ack[data].tolist()
        self._packet: list[int] = segments.packet[data].tolist()
        self.memory = segments.buffer.data

    def key(self, flow: int) -> bytes:
        return self._keys[flow * _KEY_BYTES : (flow + 1) * _KEY_BYTES]

    def flags_of_first_row(self, flow: int) -> int:
        return int(self._segments.flags[self.first_row[flow]])

    def rows(self, flow: int) -> I64:
        """The flow's rows in capture order."""
        return self._by_flow[self.bounds[flow] : self.bounds[flow + 1]]

    def run(self, half: int, offset: int) -> Run:
        """Everything that a half sent, as one run that begins at stream offset `offset`."""
        first, last = self.half_data[half], self.half_data[half + 1]
        memory, start, end = self.memory, self._start, self._end
        if last - first == 1:
            payload = bytes(memory[start[first] : end[first]])
            return Run(
                offset, payload, (self._length[first],), (self._at_ns[first],),
                (self._ack[first],), (self._packet[first],),
            )  # fmt: skip
        payload = b"".join(
            [memory[a:b] for a, b in zip(start[first:last], end[first:last], strict=True)]
        )
        return Run(
            offset, payload, self._length[first:last], self._at_ns[first:last],
            self._ack[first:last], self._packet[first:last],
        )  # fmt: skip

    def endpoints(self, flow: int) -> Endpoints:
        """The identity of a flow, readable."""
        key = self.key(flow)
        *addresses, place, tags = _KEY.unpack(key)
        vlans: tuple[int, ...] = ()
        tunnels: tuple[bytes, ...] = ()
        left = tags
        while left:
            vlans = left & 0xFFF, *vlans
            left >>= 12
        ports = place & _PORTS
        about, role = b"", 0
        if place != ports and self._segments.origins is not None:
            about, role, has_addresses = self._segments.origins[place >> 32]
            # Both ends of a connection may be on this host; they are told apart.
            key = _KEY.pack(*addresses, ports, tags) + about + bytes([role])
            if not has_addresses:
                return NOBODY._replace(key=key, about=about, role=role)
        elif place != ports:
            # Their number is one of this run; what it stands for is not.
            tunnels = tuple(
                encode.tunnel(kind, number, [address_text(*end) for end in ends])
                for kind, number, ends in self._segments.paths[place >> 32]
            )
            key = _KEY.pack(*addresses, ports, tags) + b"".join(tunnels)
        return Endpoints(
            (address_text(*addresses[:2]), address_text(*addresses[2:])),
            (ports >> 16, ports & 0xFFFF),
            vlans,
            tunnels,
            key,
            about,
            role,
        )


def _swapped(segments: Segments) -> NDArray[np.bool_]:
    """Where the source is the higher endpoint of the two."""
    s = segments
    high = (s.source_high > s.target_high) | (
        (s.source_high == s.target_high) & (s.source_low > s.target_low)
    )
    same = (s.source_high == s.target_high) & (s.source_low == s.target_low)
    swapped: NDArray[np.bool_] = high | (same & (s.source_port > s.target_port))
    return swapped


def _keys(segments: Segments, swapped: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """(n, 6): lower address, higher address, tunnels with both ports, VLANs."""
    s = segments
    key = np.empty((len(swapped), 6), np.uint64)
    key[:, 0] = np.where(swapped, s.target_high, s.source_high)
    key[:, 1] = np.where(swapped, s.target_low, s.source_low)
    key[:, 2] = np.where(swapped, s.source_high, s.target_high)
    key[:, 3] = np.where(swapped, s.source_low, s.target_low)
    lower = np.where(swapped, s.target_port, s.source_port)
    higher = np.where(swapped, s.source_port, s.target_port)
    key[:, 4] = s.tunnels << np.uint64(32) | (lower << 16 | higher).astype(np.uint64)
    key[:, 5] = s.vlans
    return key


def _before_data(
    segments: Segments,
    half: I64,
    numbered: NDArray[np.intp],
    after: NDArray[np.uint32],
    rows: NDArray[np.intp],
) -> NDArray[np.bool_]:
    """Which of `rows` acknowledge bytes of the batch that stand behind them in the capture.

    `numbered` are the rows that take sequence numbers, sorted by half.
    """
    count = len(half)
    order = half[numbered] * count + numbered
    peer = half[rows] ^ 1
    before = np.searchsorted(order, peer * count + rows) - 1
    begin = np.searchsorted(order, peer * count)
    sent = begin < np.searchsorted(order, (peer + 1) * count)
    begin, before = begin[sent], before[sent]
    bound = np.where(
        before >= begin, after[numbered[before]], segments.seq[numbered[begin]]
    ).astype(np.int64)
    early = np.zeros(len(rows), bool)
    early[sent] = (segments.ack[rows[sent]].astype(np.int64) - bound).astype(np.int32) > 0
    return early


def _spread(some: NDArray[np.bool_], values: NDArray[np.generic], nothing: int) -> I64:
    """One entry a half: `values` where there is one, else `nothing`."""
    column = np.full(len(some), nothing, np.int64)
    column[some] = values
    return column
