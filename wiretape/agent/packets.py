"""Decodes a batch of packets at once: link layer, VLANs, IP and TCP, as NumPy columns.

Every layer is a function over the rows that stand at it; a row carries what comes next until it
reaches TCP or is skipped for a named reason. Bad packets are counted, never raised.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wiretape.agent import encapsulations
from wiretape.agent.fragments import Defragmenter

U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
Rows = NDArray[np.intp]

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10

# What comes next on a row: an EtherType below 0x10000, then our own numbers.
_IPV4, _IPV6 = 0x0800, 0x86DD
_VLAN_TYPES = (0x8100, 0x88A8, 0x9100, 0x9200)
_IP_PROTOCOL = 0x10000
_TCP = _IP_PROTOCOL + 6
_LINK = 0x20000
_RAW_IP = 0x30000
_LLC = 0x30001
_DONE = 0x40000
_SKIPPED = 0x40001

NULL, ETHERNET, RAW_BSD, RAW, LOOP, LINUX_SLL, IPV4_ONLY, IPV6_ONLY, LINUX_SLL2 = (
    0, 1, 12, 101, 108, 113, 228, 229, 276,
)  # fmt: skip
_RAW_OPENBSD = 14
MAX_LAYERS = 24

_AF_INET6 = (10, 24, 28, 30)
"""Linux, NetBSD and OpenBSD, FreeBSD, Darwin."""


@dataclass
class PacketBatch:
    """Packets as they lie in one buffer; all columns have one entry a packet.

    `start` and `captured` are byte positions and counts in `buffer`; `wire` is the length that the
    packet had; `first` numbers the first packet of the batch within the whole capture.
    """

    buffer: U8
    first: int
    start: I64
    captured: I64
    wire: I64
    at_ns: I64
    link_type: NDArray[np.int32]


@dataclass
class Segments:
    """TCP segments in capture order; `start` and `length` address payload in `buffer`.

    `length` bytes of payload were captured, `missing` more were sent. Addresses are 128-bit halves,
    IPv4 ones mapped (RFC 4291 §2.5.5.2). `vlans` packs identifiers of 12 bits, the innermost last.
    """

    buffer: U8
    packet: I64
    at_ns: I64
    source_high: U64
    source_low: U64
    target_high: U64
    target_low: U64
    source_port: I64
    target_port: I64
    vlans: U64
    seq: NDArray[np.uint32]
    ack: NDArray[np.uint32]
    flags: U8
    start: I64
    length: I64
    missing: I64


class Decoded(NamedTuple):
    segments: Segments
    skipped: dict[str, int]


@dataclass
class _Columns:
    """The state of all rows while they are peeled."""

    buffer: U8
    at: I64
    """Where the next layer begins."""
    end: I64
    """Where the captured bytes of the packet end, padding left out once IP was seen."""
    wire_end: I64
    """Where they would end had all been captured."""
    next: I64
    vlans: U64
    addresses: list[U64] = field(default_factory=list)
    """Source high and low, target high and low."""
    skipped: dict[str, int] = field(default_factory=dict)
    added: list[bytes] = field(default_factory=list)
    added_bytes: int = 0

    def place(self, row: int, data: bytes) -> None:
        """The row goes on in `data`, which will lie behind the buffer once `settle` is called."""
        self.at[row] = len(self.buffer) + self.added_bytes
        self.added.append(data)
        self.added_bytes += len(data)
        self.end[row] = self.wire_end[row] = len(self.buffer) + self.added_bytes

    def settle(self) -> None:
        """Appends what was placed: once for a layer, as it copies the buffer."""
        if self.added:
            added = np.frombuffer(b"".join(self.added), np.uint8)
            self.buffer = np.concatenate([self.buffer, added])
            self.added.clear()
            self.added_bytes = 0
            self.view()

    def view(self) -> None:
        """(Re)makes the overlapping big-endian views that gather a field at any byte position."""
        size = len(self.buffer)
        self.u16 = np.ndarray((max(size - 1, 0),), ">u2", self.buffer.data, 0, (1,))
        self.u32 = np.ndarray((max(size - 3, 0),), ">u4", self.buffer.data, 0, (1,))
        self.u64 = np.ndarray((max(size - 7, 0),), ">u8", self.buffer.data, 0, (1,))

    def skip(self, rows: Rows, reason: str) -> None:
        if len(rows):
            self.next[rows] = _SKIPPED
            self.skipped[reason] = self.skipped.get(reason, 0) + len(rows)

    def holding(self, rows: Rows, size: int) -> Rows:
        """Those of `rows` that have `size` captured bytes at their place; others are skipped."""
        enough = self.end[rows] - self.at[rows] >= size
        if enough.all():
            return rows
        self.skip(rows[~enough], "truncated")
        return rows[enough]


class Decoder:
    """Decodes batches; keeps only the IP fragments that wait for others."""

    def __init__(self) -> None:
        self._fragments = Defragmenter()

    def decode(self, batch: PacketBatch) -> Decoded:
        """The TCP segments of a batch, and how many packets were skipped by reason."""
        count = len(batch.start)
        columns = _Columns(
            buffer=batch.buffer,
            at=batch.start.copy(),
            end=batch.start + batch.captured,
            wire_end=batch.start + np.maximum(batch.wire, batch.captured),
            next=_LINK + batch.link_type.astype(np.int64),
            vlans=np.zeros(count, np.uint64),
            addresses=[np.zeros(count, np.uint64) for _ in range(4)],
        )
        columns.view()
        for _ in range(MAX_LAYERS):
            active = np.flatnonzero(columns.next < _DONE)
            active = active[columns.next[active] != _TCP]
            if not len(active):
                break
            kinds = columns.next[active]
            for kind in np.unique(kinds).tolist():
                rows = active[kinds == kind]
                self._peel(columns, kind, rows, batch.at_ns)
            columns.settle()
        else:
            columns.skip(np.flatnonzero((columns.next < _DONE) & (columns.next != _TCP)), "nested")
        return Decoded(_segments(columns, batch), columns.skipped)

    def _peel(self, columns: _Columns, kind: int, rows: Rows, at_ns: I64) -> None:
        if kind == _IPV4:
            self._ipv4(columns, rows, at_ns)
        elif kind == _IPV6:
            _ipv6(columns, rows)
        elif kind in _VLAN_TYPES:
            _vlan(columns, rows)
        elif kind == _LLC:
            _llc(columns, rows)
        elif kind == _RAW_IP:
            _raw_ip(columns, rows)
        elif kind >= _LINK:
            _link(columns, kind - _LINK, rows)
        elif kind >= _IP_PROTOCOL:
            self._ip_protocol(columns, kind - _IP_PROTOCOL, rows, at_ns)
        else:
            _peel_singly(columns, rows, encapsulations.by_ethernet_type(kind), "not_ip")

    def _ipv4(self, columns: _Columns, rows: Rows, at_ns: I64) -> None:
        """RFC 791 §3.1. A total length of 0 means that segmentation was offloaded."""
        rows = columns.holding(rows, 20)
        at = columns.at[rows]
        first = columns.buffer[at].astype(np.int64)
        header = (first & 15) * 4
        total = columns.u16[at + 2].astype(np.int64)
        total = np.where(total == 0, columns.wire_end[rows] - at, total)
        good = (first >> 4 == 4) & (header >= 20) & (total >= header)
        if not good.all():
            columns.skip(rows[~good], "malformed_ip")
            rows, at, header, total = rows[good], at[good], header[good], total[good]
        mapped = np.uint64(0xFFFF << 32)
        columns.addresses[0][rows] = 0
        columns.addresses[1][rows] = columns.u32[at + 12].astype(np.uint64) | mapped
        columns.addresses[2][rows] = 0
        columns.addresses[3][rows] = columns.u32[at + 16].astype(np.uint64) | mapped
        columns.wire_end[rows] = at + total
        columns.end[rows] = np.minimum(columns.end[rows], at + total)
        columns.next[rows] = _IP_PROTOCOL + columns.buffer[at + 9].astype(np.int64)
        columns.at[rows] = at + header
        fragmented = (columns.u16[at + 6] & 0x3FFF) != 0
        if fragmented.any():
            self._ipv4_fragments(columns, rows[fragmented], at[fragmented], at_ns)

    def _ipv4_fragments(self, columns: _Columns, rows: Rows, at: I64, at_ns: I64) -> None:
        for row, header in zip(rows.tolist(), at.tolist(), strict=True):
            word = int(columns.u16[header + 6])
            protocol = int(columns.buffer[header + 9])
            key = (
                columns.buffer[header + 12 : header + 20].tobytes(),
                int(columns.u16[header + 4]), protocol, int(columns.vlans[row]),
            )  # fmt: skip
            self._fragment(columns, row, key, (word & 0x1FFF) * 8, bool(word & 0x2000), at_ns)

    def _fragment(
        self, columns: _Columns, row: int, key: object, offset: int, more: bool, at_ns: I64
    ) -> None:
        """Keeps a fragment; the one that completes a datagram stands for the whole of it."""
        one = np.array([row], np.intp)
        start, end = int(columns.at[row]), int(columns.end[row])
        if end < int(columns.wire_end[row]):
            columns.skip(one, "truncated")
            return
        payload = columns.buffer[start:end].tobytes()
        whole = self._fragments.add(key, offset, payload, more, int(at_ns[row]))
        if whole is None:
            columns.skip(one, "ip_fragment")
            return
        columns.place(row, whole)

    def _ip_protocol(self, columns: _Columns, protocol: int, rows: Rows, at_ns: I64) -> None:
        if protocol in (0, 43, 60, 135, 139, 140):  # options and routing (RFC 8200 §4)
            rows = columns.holding(rows, 8)
            at = columns.at[rows]
            columns.next[rows] = _IP_PROTOCOL + columns.buffer[at].astype(np.int64)
            columns.at[rows] = at + (columns.buffer[at + 1].astype(np.int64) + 1) * 8
        elif protocol == 51:  # authentication header (RFC 4302 §2)
            rows = columns.holding(rows, 12)
            at = columns.at[rows]
            columns.next[rows] = _IP_PROTOCOL + columns.buffer[at].astype(np.int64)
            columns.at[rows] = at + (columns.buffer[at + 1].astype(np.int64) + 2) * 4
        elif protocol == 44:
            self._ipv6_fragments(columns, rows, at_ns)
        elif protocol == 4:  # IP in IP (RFC 2003)
            columns.next[rows] = _IPV4
        elif protocol == 41:  # IPv6 in IP (RFC 4213)
            columns.next[rows] = _IPV6
        else:
            _peel_singly(columns, rows, encapsulations.by_ip_protocol(protocol), "not_tcp")

    def _ipv6_fragments(self, columns: _Columns, rows: Rows, at_ns: I64) -> None:
        """RFC 8200 §4.5; an atomic fragment (RFC 6946) is the whole datagram."""
        rows = columns.holding(rows, 8)
        for row in rows.tolist():
            at = int(columns.at[row])
            word = int(columns.u16[at + 2])
            columns.next[row] = _IP_PROTOCOL + int(columns.buffer[at])
            columns.at[row] = at + 8
            if word & 0xFFF9:
                key = (
                    tuple(int(half[row]) for half in columns.addresses),
                    int(columns.u32[at + 4]), int(columns.vlans[row]),
                )  # fmt: skip
                self._fragment(columns, row, key, word & 0xFFF8, bool(word & 1), at_ns)


def _link(columns: _Columns, link_type: int, rows: Rows) -> None:
    if link_type == ETHERNET:
        rows = columns.holding(rows, 14)
        at = columns.at[rows]
        kind = columns.u16[at + 12].astype(np.int64)
        columns.next[rows] = np.where(kind < 0x600, _LLC, kind)
        columns.at[rows] = at + 14
    elif link_type == LINUX_SLL:
        rows = columns.holding(rows, 16)
        at = columns.at[rows]
        columns.next[rows] = columns.u16[at + 14].astype(np.int64)
        columns.at[rows] = at + 16
    elif link_type == LINUX_SLL2:
        rows = columns.holding(rows, 20)
        at = columns.at[rows]
        columns.next[rows] = columns.u16[at].astype(np.int64)
        columns.at[rows] = at + 20
    elif link_type in (RAW, RAW_BSD, _RAW_OPENBSD):
        columns.next[rows] = _RAW_IP
    elif link_type == IPV4_ONLY:
        columns.next[rows] = _IPV4
    elif link_type == IPV6_ONLY:
        columns.next[rows] = _IPV6
    elif link_type in (NULL, LOOP):
        rows = columns.holding(rows, 4)
        at = columns.at[rows]
        family = columns.u32[at].astype(np.int64)
        family = np.where(family > 0xFFFF, family.astype(">u4").view("<u4"), family)
        known = np.where(family == 2, _IPV4, np.where(np.isin(family, _AF_INET6), _IPV6, 0))
        columns.next[rows] = known
        columns.at[rows] = at + 4
    else:
        peel = encapsulations.by_link_type(link_type)
        _peel_singly(columns, rows, peel, f"link_type_{link_type}")


def _peel_singly(
    columns: _Columns, rows: Rows, peel: encapsulations.Peel | None, reason: str
) -> None:
    """Peels packet by packet; those that hold no IP packet are skipped for `reason`."""
    if peel is None:
        columns.skip(rows, reason)
        return
    for row in rows.tolist():
        inner = peel(columns.buffer[columns.at[row] : columns.end[row]].tobytes())
        if inner is None:
            columns.skip(np.array([row], np.intp), reason)
        else:
            columns.next[row] = _RAW_IP
            columns.place(row, inner)


def _vlan(columns: _Columns, rows: Rows) -> None:
    """IEEE 802.1Q and 802.1ad, any depth; the innermost five identifiers tell traffic apart."""
    rows = columns.holding(rows, 4)
    at = columns.at[rows]
    identifier = (columns.u16[at] & 0x0FFF).astype(np.uint64)
    columns.vlans[rows] = columns.vlans[rows] << np.uint64(12) | identifier
    kind = columns.u16[at + 2].astype(np.int64)
    columns.next[rows] = np.where(kind < 0x600, _LLC, kind)
    columns.at[rows] = at + 4


def _llc(columns: _Columns, rows: Rows) -> None:
    """IEEE 802.2 with SNAP, where it carries an EtherType (RFC 1042)."""
    rows = columns.holding(rows, 8)
    at = columns.at[rows]
    snap = (columns.u32[at] == 0xAAAA0300) & (columns.u16[at + 4] == 0)
    columns.skip(rows[~snap], "not_ip")
    rows, at = rows[snap], at[snap]
    columns.next[rows] = columns.u16[at + 6].astype(np.int64)
    columns.at[rows] = at + 8


def _raw_ip(columns: _Columns, rows: Rows) -> None:
    rows = columns.holding(rows, 1)
    version = columns.buffer[columns.at[rows]] >> 4
    columns.next[rows] = np.where(version == 4, _IPV4, np.where(version == 6, _IPV6, 0))


def _ipv6(columns: _Columns, rows: Rows) -> None:
    """RFC 8200 §3. A payload length of 0 is a jumbogram or an offloaded segment."""
    rows = columns.holding(rows, 40)
    at = columns.at[rows]
    good = columns.buffer[at] >> 4 == 6
    columns.skip(rows[~good], "malformed_ip")
    rows, at = rows[good], at[good]
    length = columns.u16[at + 4].astype(np.int64)
    for half, place in enumerate((8, 16, 24, 32)):
        columns.addresses[half][rows] = columns.u64[at + place].astype(np.uint64)
    stop = np.where(length == 0, columns.wire_end[rows], at + 40 + length)
    columns.wire_end[rows] = stop
    columns.end[rows] = np.minimum(columns.end[rows], stop)
    columns.next[rows] = _IP_PROTOCOL + columns.buffer[at + 6].astype(np.int64)
    columns.at[rows] = at + 40


def _segments(columns: _Columns, batch: PacketBatch) -> Segments:
    """RFC 9293 §3.1."""
    rows = columns.holding(np.flatnonzero(columns.next == _TCP), 20)
    header = (columns.buffer[columns.at[rows] + 12] >> 4).astype(np.int64) * 4
    good = (header >= 20) & (columns.at[rows] + header <= columns.wire_end[rows])
    if not good.all():
        columns.skip(rows[~good], "malformed_tcp")
        rows, header = rows[good], header[good]
    at = columns.at[rows]
    sent_from = at + header
    end = columns.end[rows]
    start = np.minimum(sent_from, end)
    length = end - start
    return Segments(
        buffer=columns.buffer,
        packet=rows + np.int64(batch.first),
        at_ns=batch.at_ns[rows],
        source_high=columns.addresses[0][rows],
        source_low=columns.addresses[1][rows],
        target_high=columns.addresses[2][rows],
        target_low=columns.addresses[3][rows],
        source_port=columns.u16[at].astype(np.int64),
        target_port=columns.u16[at + 2].astype(np.int64),
        vlans=columns.vlans[rows],
        seq=columns.u32[at + 4].astype(np.uint32),
        ack=columns.u32[at + 8].astype(np.uint32),
        flags=columns.buffer[at + 13],
        start=start,
        length=length,
        missing=columns.wire_end[rows] - sent_from - length,
    )
