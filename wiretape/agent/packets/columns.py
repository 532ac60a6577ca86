"""The columns that packets are decoded in: what comes in, what is between, what comes out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wiretape.agent.packets.fragments import Defragmenter
from wiretape.agent.packets.keys import number_rows

U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10

# What comes next on a row: an EtherType below 0x10000, then our own numbers.
IPV4, IPV6 = 0x0800, 0x86DD
IP_PROTOCOL = 0x10000
TCP = IP_PROTOCOL + 6
LINK = 0x20000
RAW_IP = 1 << 32  # behind all that a capture may call a link type
LLC = RAW_IP + 1
PPP = RAW_IP + 2
PADDED_IEEE802_11 = RAW_IP + 3
DONE = 1 << 33
SKIPPED = DONE

ETHERNET = 1
"""LINKTYPE_ETHERNET: the link type of most captures, and of frames in tunnels."""

MAX_PATHS = 1 << 16


@dataclass
class PacketBatch:
    """Packets as they lie in one buffer; all columns have one entry a packet.

    `start` and `captured` are byte positions and counts in `buffer`; `wire` is the length that the
    packet had; `first` numbers the first packet of the batch within the whole capture. `layer` is
    what stands at `start`: LINK + a link type, or an EtherType where the link layer is known, with
    its VLANs in `vlans`. `interface` tells by number where each was captured, None where the
    capture does not say. `clock_ns` is what timers run by, where that is not `at_ns`: a live clock
    may jump.
    """

    buffer: U8
    first: int
    start: I64
    captured: I64
    wire: I64
    at_ns: I64
    layer: I64
    interface: I64 | None = None
    vlans: U64 | None = None
    clock_ns: I64 | None = None


class Tunnel(NamedTuple):
    """What tells one tunnel from another, the same for both directions of what is inside."""

    kind: str
    key: int
    """VNI of VXLAN and Geneve, key of GRE; 0 where there is none."""
    addresses: tuple[tuple[int, int], ...]
    """Both ends, the lower first, as 128-bit halves; none where the key alone tells."""


Path = tuple[Tunnel, ...]
"""The tunnels around a packet, the outermost first."""


class Origin(NamedTuple):
    """What is known of a connection beside its addresses, where not packets told of it."""

    about: bytes
    """Encoded fields of a Connection message."""
    role: int
    has_addresses: bool = True
    """They are not known: those of the segments only tell the directions apart."""


@dataclass
class Segments:
    """TCP segments in capture order; `start` and `length` address payload in `buffer`.

    `length` bytes of payload were captured, `missing` more were sent. Addresses are 128-bit halves,
    IPv4 ones mapped (RFC 4291 §2.5.5.2). `vlans` packs identifiers of 12 bits, the innermost last.
    `tunnels` are places in `paths`. `same` are columns that are equal where two rows are copies of
    one packet; `interface` is -1 where the capture does not tell it.
    """

    buffer: U8
    packet: I64
    at_ns: I64
    clock_ns: I64
    source_high: U64
    source_low: U64
    target_high: U64
    target_low: U64
    source_port: I64
    target_port: I64
    vlans: U64
    tunnels: U64
    seq: NDArray[np.uint32]
    ack: NDArray[np.uint32]
    flags: U8
    start: I64
    length: I64
    missing: I64
    interface: I64
    same: tuple[U64, ...]
    paths: list[Path]
    origins: Mapping[int, Origin] | None = None
    """Of sockets: `tunnels` tells connections apart, and leads to what is known of them."""
    callers: I64 | None = None
    """Of sockets: whose system call each was, process << 32 | thread."""

    def only(self, rows: Mask) -> "Segments":
        """These rows alone."""
        columns = {
            each.name: column[rows]
            for each in fields(self)
            if each.name not in ("buffer", "same", "paths", "origins")
            and (column := getattr(self, each.name)) is not None
        }
        return replace(self, **columns, same=tuple(column[rows] for column in self.same))


class Paths:
    """Numbers the tunnels around packets; 0 stands for none.

    Numbers tell paths apart and nothing more: they depend on the order of packets.
    """

    def __init__(self) -> None:
        self.paths: list[Path] = [()]
        self._numbers: dict[tuple[int, Tunnel], int] = {}

    def number(self, outer: int, tunnel: Tunnel) -> int:
        """The number of `tunnel` within the path `outer`, 0 where there are too many."""
        found = self._numbers.get((outer, tunnel))
        if found is None:
            if len(self.paths) >= MAX_PATHS:
                return 0
            found = self._numbers[outer, tunnel] = len(self.paths)
            self.paths.append((*self.paths[outer], tunnel))
        return found


@dataclass
class Columns:
    """The state of all rows while they are peeled."""

    buffer: U8
    at: I64
    """Where the next layer begins."""
    end: I64
    """Where the captured bytes of the packet end, padding left out once IP was seen."""
    wire_end: I64
    """Where they would end had all been captured."""
    next: I64
    at_ns: I64
    vlans: U64
    tunnels: U64
    interface: I64
    identity: U64
    """Of the innermost IP packet, 32 bits: length and, of IPv4, the identification field."""
    addresses: list[U64]
    """Source high and low, target high and low."""
    fragments: Defragmenter
    paths: Paths
    skipped: dict[str, int] = field(default_factory=dict)
    bad_checksums: int = 0
    added: list[bytes] = field(default_factory=list)
    added_bytes: int = 0
    has_ipv6: bool = False
    """Whether any row's addresses may have a high half."""

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
            self.next[rows] = SKIPPED
            self.skipped[reason] = self.skipped.get(reason, 0) + len(rows)

    def keep(self, rows: Rows, good: Mask, reason: str) -> Rows:
        """Those of `rows` that are `good`; others are skipped for `reason`."""
        if good.all():
            return rows
        self.skip(rows[~good], reason)
        return rows[good]

    def holding(self, rows: Rows, size: int | I64, reason: str = "truncated") -> Rows:
        """Those of `rows` that have `size` captured bytes at their place; others are skipped."""
        return self.keep(rows, self.end[rows] - self.at[rows] >= size, reason)

    def enter(self, rows: Rows, kind: str, keys: I64 | None = None, ends: bool = True) -> None:
        """The rows go on inside a tunnel.

        It is told from others by its key, and by the outer addresses where `ends` says so, without
        their order: packets of the other direction have them the other way round.
        """
        if not len(rows):
            return
        told = np.zeros((len(rows), 6), np.uint64)
        told[:, 0] = self.tunnels[rows]
        if keys is not None:
            told[:, 1] = keys
        if ends:
            source_high, source_low, target_high, target_low = (a[rows] for a in self.addresses)
            swap = (source_high > target_high) | (
                (source_high == target_high) & (source_low > target_low)
            )
            told[:, 2] = np.where(swap, target_high, source_high)
            told[:, 3] = np.where(swap, target_low, source_low)
            told[:, 4] = np.where(swap, source_high, target_high)
            told[:, 5] = np.where(swap, source_low, target_low)
        first, inverse = number_rows(told)
        numbers = np.zeros(len(first), np.uint64)
        for group in range(len(first)):
            outer, key, *pair = told[first[group]].tolist()
            addresses = ((pair[0], pair[1]), (pair[2], pair[3])) if ends else ()
            numbers[group] = self.paths.number(outer, Tunnel(kind, key, addresses))
        entered = numbers[inverse]
        self.tunnels[rows] = entered
        self.skip(rows[entered == 0], "too_many_tunnels")


Peel = Callable[[Columns, Rows], None]
"""Takes the rows that stand at a layer to the next one, or skips them."""
