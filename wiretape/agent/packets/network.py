"""IPv4 and IPv6 with their fragments and extension headers (RFC 791, RFC 8200)."""

import numpy as np

from wiretape.agent.packets.columns import (
    I64,
    IP_PROTOCOL,
    IPV4,
    IPV6,
    U64,
    Columns,
    Mask,
    Peel,
    Rows,
)

_MAPPED = np.uint64(0xFFFF << 32)
_LOW = np.uint64(0xFFFFFFFF)
_ALL_ONES = np.uint64(0xFFFF)


def ipv4(columns: Columns, rows: Rows) -> None:
    """RFC 791 §3.1. A total length of 0 means that segmentation was offloaded."""
    rows = columns.holding(rows, 20)
    at = columns.at[rows]
    # Three gathers hold the whole header; each costs as much as all that is done with one.
    left = columns.u64[at].astype(np.uint64)
    middle = columns.u64[at + 8].astype(np.uint64)
    right = columns.u32[at + 16].astype(np.uint64)
    header = ((left >> np.uint64(56)) & np.uint64(15)).astype(np.int64) * 4
    total = (left >> np.uint64(32) & _ALL_ONES).astype(np.int64)
    if not total.all():
        total = np.where(total == 0, columns.wire_end[rows] - at, total)
    good = (left >> np.uint64(60) == 4) & (header >= 20) & (total >= header)
    if not good.all():
        columns.skip(rows[~good], "malformed_ip")
        rows, at, header, total = rows[good], at[good], header[good], total[good]
        left, middle, right = left[good], middle[good], right[good]
    columns.bad_checksums += _bad_checksums(columns, rows, at, header, (left, middle, right))
    if columns.has_ipv6:
        columns.addresses[0][rows] = 0
        columns.addresses[2][rows] = 0
    columns.addresses[1][rows] = middle & _LOW | _MAPPED
    columns.addresses[3][rows] = right | _MAPPED
    columns.wire_end[rows] = at + total
    columns.end[rows] = np.minimum(columns.end[rows], at + total)
    columns.identity[rows] = left >> np.uint64(16) & _LOW
    columns.next[rows] = IP_PROTOCOL + (middle >> np.uint64(48) & np.uint64(0xFF)).astype(np.int64)
    columns.at[rows] = at + header
    fragmented = left & np.uint64(0x3FFF) != 0
    if fragmented.any():
        _ipv4_fragments(columns, rows[fragmented], at[fragmented])


def _bad_checksums(
    columns: Columns, rows: Rows, at: I64, header: I64, words: tuple[U64, U64, U64]
) -> int:
    """How many headers have a wrong checksum (RFC 1071): as offloading leaves it, mostly.

    That of TCP is not looked at: it would cost a pass over all payload.
    """
    left, middle, right = words
    sums = (left >> np.uint64(32)) + (left & _LOW)
    sums += middle >> np.uint64(32)
    sums += middle & _LOW
    sums += right
    known: Mask | None = None
    if (longer := header > 20).any():
        known = columns.end[rows] - at >= header
        for offset in range(20, 60, 4):
            some = np.flatnonzero(longer & known & (header > offset))
            sums[some] += columns.u32[at[some] + offset].astype(np.uint64)
    for _ in range(3):  # 37 bits fold to 22, to 17, to 16
        sums = (sums >> np.uint64(16)) + (sums & _ALL_ONES)
    bad = sums != _ALL_ONES
    return int(np.count_nonzero(bad if known is None else bad & known))


def ipv6(columns: Columns, rows: Rows) -> None:
    """RFC 8200 §3. A payload length of 0 is a jumbogram (RFC 2675) or an offloaded segment."""
    rows = columns.holding(rows, 40)
    rows = columns.keep(rows, columns.buffer[columns.at[rows]] >> 4 == 6, "malformed_ip")
    at = columns.at[rows]
    length = columns.u16[at + 4].astype(np.int64)
    for half, place in enumerate((8, 16, 24, 32)):
        columns.addresses[half][rows] = columns.u64[at + place].astype(np.uint64)
    columns.has_ipv6 = True
    stop = np.where(length == 0, columns.wire_end[rows], at + 40 + length)
    columns.wire_end[rows] = stop
    columns.end[rows] = np.minimum(columns.end[rows], stop)
    columns.identity[rows] = length << 16
    columns.next[rows] = IP_PROTOCOL + columns.buffer[at + 6].astype(np.int64)
    columns.at[rows] = at + 40


def extension_header(columns: Columns, rows: Rows) -> None:
    """Hop-by-hop and destination options, routing, mobility, HIP, Shim6 (RFC 8200 §4, 7045)."""
    rows = columns.holding(rows, 8)
    at = columns.at[rows]
    columns.next[rows] = IP_PROTOCOL + columns.buffer[at].astype(np.int64)
    columns.at[rows] = at + (columns.buffer[at + 1].astype(np.int64) + 1) * 8


def authentication_header(columns: Columns, rows: Rows) -> None:
    """RFC 4302 §2."""
    rows = columns.holding(rows, 12)
    at = columns.at[rows]
    columns.next[rows] = IP_PROTOCOL + columns.buffer[at].astype(np.int64)
    columns.at[rows] = at + (columns.buffer[at + 1].astype(np.int64) + 2) * 4


def _ipv4_fragments(columns: Columns, rows: Rows, at: I64) -> None:
    for row, header in zip(rows.tolist(), at.tolist(), strict=True):
        word = int(columns.u16[header + 6])
        key = (
            columns.buffer[header + 12 : header + 20].tobytes(),
            int(columns.u16[header + 4]), int(columns.buffer[header + 9]),
            int(columns.vlans[row]), int(columns.tunnels[row]),
        )  # fmt: skip
        _fragment(columns, row, key, (word & 0x1FFF) * 8, bool(word & 0x2000))


def ipv6_fragment_header(columns: Columns, rows: Rows) -> None:
    """RFC 8200 §4.5; an atomic fragment (RFC 6946) is the whole datagram."""
    rows = columns.holding(rows, 8)
    for row in rows.tolist():
        at = int(columns.at[row])
        word = int(columns.u16[at + 2])
        columns.next[row] = IP_PROTOCOL + int(columns.buffer[at])
        columns.at[row] = at + 8
        if word & 0xFFF9:
            key = (
                tuple(int(half[row]) for half in columns.addresses),
                int(columns.u32[at + 4]), int(columns.vlans[row]), int(columns.tunnels[row]),
            )  # fmt: skip
            _fragment(columns, row, key, word & 0xFFF8, bool(word & 1))


def _fragment(columns: Columns, row: int, key: object, offset: int, more: bool) -> None:
    """Keeps a fragment; the one that completes a datagram stands for the whole of it."""
    one = np.array([row], np.intp)
    start, end = int(columns.at[row]), int(columns.end[row])
    if start > end or end < int(columns.wire_end[row]):
        columns.skip(one, "truncated")
        return
    payload = columns.buffer[start:end].tobytes()
    whole = columns.fragments.add(key, offset, payload, more, int(columns.at_ns[row]))
    if whole is None:
        columns.skip(one, "ip_fragment")
        return
    columns.place(row, whole)


LAYERS: dict[int, Peel] = {
    IPV4: ipv4,
    IPV6: ipv6,
    **{IP_PROTOCOL + number: extension_header for number in (0, 43, 60, 135, 139, 140)},
    IP_PROTOCOL + 51: authentication_header,
    IP_PROTOCOL + 44: ipv6_fragment_header,
}
"""By EtherType, or protocol number."""
