"""Copies of one packet: taken on several interfaces ("any"), or by a mirror port on its way in and
out.

A copy has the same addresses, ports, VLANs and tunnels, TCP header, length and bytes, and follows
soon. (The checksum alone does not tell that bytes are the same: offloading leaves it empty.)

A TCP retransmission differs from it: an IPv4 packet that is sent anew gets another identification
(RFC 6864 §4), and with it comes later than any copy. Where there is no identification (IPv6, or
zero), only data that cannot be a retransmission, for it comes too soon, counts as a copy; some
stacks send acknowledgments and FIN several times at once, so on one interface these do not.

The hop limit may differ: a copy may have passed a router. Address translation changes addresses:
what it makes is another connection, and no copy.
"""

from collections import deque
from typing import NamedTuple

import numpy as np

from wiretape.agent.packets import I64, U64, Segments
from wiretape.agent.packets.columns import Mask

REACH = 4096
"""A copy lies at most so many segments behind: what is remembered does not depend on batches."""
COMPARED_BYTES = 4 << 20
"""And at most so much payload."""
IDENTIFIED_NS = 100_000_000
"""RFC 6298 and its implementations retransmit after 200 ms at the earliest, but for fast
retransmission, which has another identification."""
OTHER_INTERFACE_NS = 10_000_000
"""What a busy host may take from one of its interfaces to the next; retransmissions stay on one."""
SAME_INTERFACE_NS = 100_000
"""Less than the shortest round trip after which a loss could have been noticed."""

_SPARSE, _HEADERS = 3, 100
"""Payloads are copied one by one where they are less than a third of the bytes among which they
lie, headers not counted."""
_NO_IDENTIFICATION = 1
"""Up to this the field tells nothing: stacks send 0 where nothing may be fragmented, and those who
make packets by hand leave 1."""
_MAX_PIECES = 64
_SLOT_BITS = 18
_ODD_PRIMES = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9


class _Payloads(NamedTuple):
    """Of segments that came together."""

    data: bytes
    start: I64
    length: I64


class Duplicates:
    """Finds the rows of each batch that are copies; remembers the last `REACH` segments."""

    def __init__(self) -> None:
        self._hashes: U64 = np.zeros(0, np.uint64)
        self._recent: list[list[I64 | U64]] = []
        """Columns of what is remembered, in pieces that are joined when needed, or many."""
        self._payloads: deque[_Payloads] = deque()
        """Of the last of them, as far as `COMPARED_BYTES` reach."""
        self._total_bytes = 0
        self._slots = np.zeros(1 << _SLOT_BITS, np.int32)

    def find(self, segments: Segments) -> Mask | None:
        """Which rows are copies of earlier ones; None where there are none."""
        if not len(segments.packet):
            return None
        left, middle, right, _ = segments.same
        hashes = left * np.uint64(_ODD_PRIMES[0])
        hashes += middle * np.uint64(_ODD_PRIMES[1])
        hashes += right * np.uint64(_ODD_PRIMES[2])
        known = len(self._hashes)
        hashes = np.concatenate([self._hashes, hashes])
        earlier, later = self._alike(hashes)
        new = (later >= known) & (later - earlier <= REACH)
        earlier, later = earlier[new], later[new]
        columns = [*_columns(segments), self._total_bytes + np.cumsum(segments.length)]
        copies = None
        if len(later):
            told = self._told(columns, earlier, later - known)
            rows = self._same_bytes(segments, earlier[told] - known, later[told] - known)
            if rows:
                copies = np.zeros(len(segments.packet), bool)
                copies[rows] = True
        self._hashes = hashes[-REACH:].copy()
        if len(segments.packet) >= REACH:
            self._recent.clear()
        self._recent.append([column[-REACH:].copy() for column in columns])
        if len(self._recent) > _MAX_PIECES or len(segments.packet) > REACH // _MAX_PIECES:
            self._join()
        self._remember_payloads(segments)
        return copies

    def _same_bytes(self, segments: Segments, earlier: I64, later: I64) -> list[int]:
        """Those of `later` rows whose payload is that of the earlier one, below 0 in memory."""
        memory = segments.buffer.data
        start, length = segments.start, segments.length
        found = []
        for before, row in zip(earlier.tolist(), later.tolist(), strict=True):
            if before < 0:
                old = self._payload(before)
            else:
                old = memory[start[before] : start[before] + length[before]]
            new = memory[start[row] : start[row] + length[row]]
            size = min(len(old), len(new))  # one interface may have kept less
            if old[:size] == new[:size]:
                found.append(row)
        return found

    def _join(self) -> list[I64 | U64]:
        """What is remembered, as one piece with as many rows as there are hashes."""
        known = len(self._hashes)
        joined = [np.concatenate(parts)[-known:] for parts in zip(*self._recent, strict=True)]
        self._recent = [joined]
        return joined

    def _remember_payloads(self, segments: Segments) -> None:
        self._total_bytes += int(segments.length.sum())
        reach = len(self._hashes)
        if self._total_bytes > COMPARED_BYTES:
            ends = np.concatenate([piece[-1] for piece in self._recent])[-reach:]
            reach -= int(np.searchsorted(ends, self._total_bytes - COMPARED_BYTES))
        start, length = segments.start[-reach:], segments.length[-reach:]
        memory = segments.buffer.data
        first, last = int(start.min()), int((start + length).max())
        if last - first <= _SPARSE * (int(length.sum()) + len(start) * _HEADERS):
            # With the headers between them, in one copy.
            self._payloads.append(_Payloads(bytes(memory[first:last]), start - first, length))
        else:
            places = zip(start.tolist(), length.tolist(), strict=True)
            data = b"".join([memory[at : at + size] for at, size in places])
            self._payloads.append(_Payloads(data, np.cumsum(length) - length, length))
        held = sum(len(piece.start) for piece in self._payloads)
        while held - len(self._payloads[0].start) >= reach:
            held -= len(self._payloads.popleft().start)

    def _payload(self, row: int) -> memoryview:
        """Of a remembered segment, counted from -1 backwards."""
        for piece in reversed(self._payloads):
            if -row <= len(piece.start):
                at = int(piece.start[row])
                return memoryview(piece.data)[at : at + int(piece.length[row])]
            row += len(piece.start)
        raise IndexError("within COMPARED_BYTES every segment is remembered")

    def _alike(self, hashes: U64) -> tuple[I64, I64]:
        """Rows of equal hash, each with the one before it."""
        order = np.arange(len(hashes), dtype=np.int32)
        slot = (hashes >> np.uint64(64 - _SLOT_BITS)).astype(np.int32)
        slots = self._slots  # what older batches left in it is overwritten where it is read
        slots[slot] = order  # the last one stays
        last = slots[slot]
        pushed = np.flatnonzero(last != order)
        rows = np.unique(np.concatenate([pushed, last[pushed]])).astype(np.int64)
        rows = rows[np.argsort(hashes[rows], kind="stable")]
        same = hashes[rows[1:]] == hashes[rows[:-1]]
        return rows[:-1][same], rows[1:][same]

    def _told(self, columns: list[I64 | U64], earlier: I64, later: I64) -> Mask:
        """Which of the `later` rows of the batch copy the `earlier` one, counted from memory on."""
        known = len(self._hashes)
        recent = self._join() if known else []
        remembered = earlier < known
        told = np.ones(len(later), bool)
        pairs = []
        for place, column in enumerate(columns):
            before = column[np.where(remembered, 0, earlier - known)]
            if known:
                old = recent[place]
                before = np.where(remembered, old[np.where(remembered, earlier, 0)], before)
            now = column[later]
            if place < _FREE:
                told &= before == now
            pairs.append((before, now))
        (was_ns, is_ns), (was_on, is_on), (_, size), (was_end, is_end) = pairs[_FREE:]
        told &= is_end.astype(np.int64) - was_end.astype(np.int64) <= COMPARED_BYTES
        elsewhere = (was_on != is_on) & (was_on >= 0) & (is_on >= 0)
        identified = pairs[2][1] & np.uint64(0xFFFF) > _NO_IDENTIFICATION
        within_ns = np.where(
            identified, IDENTIFIED_NS,
            np.where(elsewhere, OTHER_INTERFACE_NS, np.where(size > 0, SAME_INTERFACE_NS, -1)),
        )  # fmt: skip
        told &= np.abs(is_ns.astype(np.int64) - was_ns.astype(np.int64)) <= within_ns
        return told


_FREE = 10
"""So many columns must be equal; what follows need not be."""


def _columns(s: Segments) -> list[I64 | U64]:
    return [
        *s.same, s.source_high, s.source_low, s.target_high, s.target_low, s.vlans, s.tunnels,
        s.at_ns, s.interface, s.length + s.missing,
    ]  # fmt: skip
