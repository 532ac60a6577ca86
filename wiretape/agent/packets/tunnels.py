"""Tunnels: IP in IP, GRE and ERSPAN, MPLS in IP, and those in UDP.

One in UDP is taken for a tunnel only where a port is the tunnel's own and its header and the packet
inside bear it out: ordinary UDP that happens to use the port stays what it is.

What tells a tunnel from another must be the same in both directions, or the two sides of a
connection would never meet. A VNI is; a TEID of GTP, a call of PPTP or a label of MPLS is chosen by
the receiver, so there both outer addresses stand for it. Hosts of one VXLAN or Geneve network talk
through many pairs of outer addresses, so these are left out where there is a VNI.
"""

import numpy as np

from wiretape.agent.packets.columns import (
    ETHERNET,
    I64,
    IP_PROTOCOL,
    IPV4,
    IPV6,
    LINK,
    PPP,
    RAW_IP,
    Columns,
    Mask,
    Peel,
    Rows,
)
from wiretape.agent.packets.link_layers import MPLS

_UDP = IP_PROTOCOL + 17
_BRIDGED, _GRE_PPP, _ERSPAN, _ERSPAN_3 = 0x6558, 0x880B, 0x88BE, 0x22EB
_TO_IP = (0x0800, 0x86DD, 0x8100, 0x88A8, 0x9100, 0x8847, 0x8848, 0x8864)
"""EtherTypes that may lead to IP."""
_AYIYA_FORWARD, _IPV6_NEXT = 1, 41
_TEREDO_PREFIX = 0x20010000
_MAX_GTP_EXTENSIONS = 8


def _ip_in_ip(columns: Columns, rows: Rows) -> None:
    """RFC 2003, RFC 4213."""
    columns.next[rows] = RAW_IP
    columns.enter(rows, "ip")


def _mpls_in_ip(columns: Columns, rows: Rows) -> None:
    """RFC 4023."""
    columns.next[rows] = MPLS
    columns.enter(rows, "mpls")


def _ether_ip(columns: Columns, rows: Rows) -> None:
    """RFC 3378 §3."""
    rows = columns.holding(rows, 2)
    rows = columns.keep(rows, columns.u16[columns.at[rows]] == 0x3000, "not_tcp")
    columns.at[rows] += 2
    columns.next[rows] = LINK + ETHERNET
    columns.enter(rows, "etherip")


def _gre(columns: Columns, rows: Rows) -> None:
    """RFC 2784, RFC 2890; version 1 carries PPP (RFC 2637 §4.1)."""
    rows = columns.holding(rows, 4)
    flags = columns.u16[columns.at[rows]].astype(np.int64)
    version = flags & 7
    good = (flags & 0x4000 == 0) & (version <= 1)  # no source routing, which RFC 2784 took out
    rows, flags, version = columns.keep(rows, good, "not_tcp"), flags[good], version[good]
    checksum, key, sequence = (flags & bit != 0 for bit in (0x8000, 0x2000, 0x1000))
    acknowledgment = (version == 1) & (flags & 0x80 != 0)
    size = 4 + 4 * (checksum.astype(np.int64) + key + sequence + acknowledgment)
    enough = columns.end[rows] - columns.at[rows] >= size
    rows = columns.keep(rows, enough, "truncated")
    size, version, checksum, key, sequence = (
        column[enough] for column in (size, version, checksum, key, sequence)
    )
    at = columns.at[rows]
    kind = columns.u16[at + 2].astype(np.int64)
    columns.at[rows] = at + size
    following = kind.copy()
    following[kind == _BRIDGED] = LINK + ETHERNET
    following[kind == _GRE_PPP] = PPP
    mirrored = (kind == _ERSPAN) | (kind == _ERSPAN_3)
    columns.next[rows] = following
    # The key tells customers with the same addresses apart (RFC 2890 §2.1, RFC 7637 §3.2).
    keyed = np.flatnonzero(key & (version == 0))
    keys = np.zeros(len(rows), np.int64)
    keys[keyed] = columns.u32[at[keyed] + 4 + 4 * checksum[keyed]]
    columns.enter(rows[~mirrored], "gre", keys[~mirrored])
    if mirrored.any():
        _erspan(columns, rows[mirrored], kind[mirrored], sequence[mirrored])


def _erspan(columns: Columns, rows: Rows, kind: I64, sequence: Mask) -> None:
    """A mirror of a switch (draft-foschiano-erspan §4): type I has no header, II and III have."""
    size = np.where(kind == _ERSPAN_3, 12, np.where(sequence, 8, 0))
    enough = columns.end[rows] - columns.at[rows] >= size
    rows, size = columns.keep(rows, enough, "truncated"), size[enough]
    at = columns.at[rows]
    columns.next[rows] = LINK + ETHERNET
    third = np.flatnonzero(size == 12)
    if len(third):
        word = columns.u16[at[third] + 10]
        columns.next[rows[third]] = np.where(word >> 6 & 0x1F == 2, RAW_IP, LINK + ETHERNET)
        size[third] += 8 * (word & 1)  # the platform's own part follows
    columns.at[rows] = at + size
    columns.enter(rows, "erspan")


# -- in UDP


def _udp(columns: Columns, rows: Rows) -> None:
    """RFC 768."""
    rows = columns.holding(rows, 8, "not_tcp")
    at = columns.at[rows]
    source, target = columns.u16[at], columns.u16[at + 2]
    tunnel = _TUNNEL_AT[target]
    tunnel = np.where(tunnel, tunnel, _TUNNEL_AT[source])
    length = columns.u16[at + 4].astype(np.int64)
    inside = columns.wire_end[rows] - at
    whole = (length == inside) | (length == 0)
    some = columns.keep(rows, (tunnel > 0) & whole, "not_tcp")
    if not len(some):
        return
    columns.at[some] += 8
    tunnel = _TUNNEL_AT[columns.u16[columns.at[some] - 6]]
    other = _TUNNEL_AT[columns.u16[columns.at[some] - 8]]
    tunnel = np.where(tunnel, tunnel, other)
    for number, (_, peel) in enumerate(_IN_UDP, 1):
        if len(here := some[tunnel == number]):
            peel(columns, here)


def _packet_is_inside(columns: Columns, rows: Rows, version: int | None = None) -> Mask:
    """Where an IP packet begins (of one version, if it is told) that is no longer than its room."""
    room = columns.wire_end[rows] - columns.at[rows]
    fits = np.zeros(len(rows), bool)
    held = np.flatnonzero(columns.end[rows] - columns.at[rows] >= 20)
    at, room = columns.at[rows[held]], room[held]
    first, length = columns.buffer[at], columns.u16[at + 2].astype(np.int64)
    fits4 = (first >= 0x45) & (first <= 0x4F) & (length >= 20) & (length <= room)
    fits4 |= (first >= 0x45) & (first <= 0x4F) & (length == 0) & (room > 0xFFFF)
    length = columns.u16[at + 4].astype(np.int64)
    fits6 = (first >> 4 == 6) & (room >= 40) & (length + 40 <= room)
    fits[held] = (fits4 & (version != 6)) | (fits6 & (version != 4))
    return fits


def _frame_is_inside(columns: Columns, rows: Rows) -> Mask:
    """Where an Ethernet frame begins that may hold IP, and does if it says so."""
    fits = np.zeros(len(rows), bool)
    held = np.flatnonzero(columns.end[rows] - columns.at[rows] >= 14)
    kind = columns.u16[columns.at[rows[held]] + 12]
    fits[held] = np.isin(kind, _TO_IP)
    for ethernet_type, version in ((IPV4, 4), (IPV6, 6)):
        these = held[kind == ethernet_type]
        columns.at[rows[these]] += 14
        fits[these] = _packet_is_inside(columns, rows[these], version)
        columns.at[rows[these]] -= 14
    return fits


def _vxlan(columns: Columns, rows: Rows) -> None:
    """RFC 7348 §5. Reserved bits are ignored, as it demands."""
    rows = columns.holding(rows, 8, "not_tcp")
    at = columns.at[rows]
    columns.at[rows] = at + 8
    good = (columns.buffer[at] & 0x08 != 0) & _frame_is_inside(columns, rows)
    rows, at = columns.keep(rows, good, "not_tcp"), at[good]
    columns.next[rows] = LINK + ETHERNET
    columns.enter(rows, "vxlan", (columns.u32[at + 4] >> 8).astype(np.int64), ends=False)


def _geneve(columns: Columns, rows: Rows) -> None:
    """RFC 8926 §3.4, with any options."""
    rows = columns.holding(rows, 8, "not_tcp")
    at = columns.at[rows]
    first = columns.buffer[at].astype(np.int64)
    columns.at[rows] = at + 8 + (first & 0x3F) * 4
    kind = columns.u16[at + 2]
    frame = (kind == _BRIDGED) & _frame_is_inside(columns, rows)
    packet = (kind == IPV4) & _packet_is_inside(columns, rows, 4)
    packet |= (kind == IPV6) & _packet_is_inside(columns, rows, 6)
    good = (first >> 6 == 0) & (columns.buffer[at + 1] & 0x3F == 0) & (frame | packet)
    rows, at, frame = columns.keep(rows, good, "not_tcp"), at[good], frame[good]
    columns.next[rows] = np.where(frame, LINK + ETHERNET, RAW_IP)
    columns.enter(rows, "geneve", (columns.u32[at + 4] >> 8).astype(np.int64), ends=False)


def _gtp(columns: Columns, rows: Rows) -> None:
    """GTP-U version 1 (3GPP TS 29.281 §5.1): a packet of a subscriber (T-PDU) behind optional
    fields and extension headers."""
    rows = columns.holding(rows, 8, "not_tcp")
    at = columns.at[rows]
    flags = columns.buffer[at]
    good = (flags & 0xF8 == 0x30) & (columns.buffer[at + 1] == 255)
    good &= columns.u16[at + 2] == columns.wire_end[rows] - at - 8
    rows, at, flags = columns.keep(rows, good, "not_tcp"), at[good], flags[good]
    optional = flags & 7 != 0
    columns.at[rows] = at + np.where(optional, 12, 8)
    extended = rows[flags & 4 != 0]
    for _ in range(_MAX_GTP_EXTENSIONS):
        # The last byte before names the next header; each tells its length in units of four.
        place = columns.at[extended]
        held = place + 4 <= columns.end[extended]
        extended, place = extended[held], place[held]
        more = columns.buffer[place - 1] != 0
        extended, place = extended[more], place[more]
        if not len(extended):
            break
        size = columns.buffer[place].astype(np.int64) * 4
        extended = extended[size > 0]
        columns.at[extended] += size[size > 0]
    rows = columns.keep(rows, _packet_is_inside(columns, rows), "not_tcp")
    columns.next[rows] = RAW_IP
    columns.enter(rows, "gtp")


def _teredo(columns: Columns, rows: Rows) -> None:
    """RFC 4380 §5.1.1: IPv6, behind an authentication header, an origin indication, or both.

    A Teredo address holds the server's, the client's and its port (§4), so it is the same host in
    any tunnel, and the relays of both directions may differ: nothing else tells the tunnel.
    """
    rows = columns.holding(rows, 40, "not_tcp")
    at = columns.at[rows]
    identified = columns.u16[at] == 1
    sizes = columns.buffer[at + 2].astype(np.int64) + columns.buffer[at + 3]
    at = np.where(identified, at + 13 + sizes, at)
    columns.at[rows] = at
    held = columns.end[rows] - at >= 40
    rows, at = columns.keep(rows, held, "not_tcp"), at[held]
    at = np.where(columns.u16[at] == 0, at + 8, at)
    columns.at[rows] = at
    rows = columns.keep(rows, _packet_is_inside(columns, rows, 6), "not_tcp")
    held = columns.end[rows] - columns.at[rows] >= 40
    rows = columns.keep(rows, held, "not_tcp")
    at = columns.at[rows]
    good = (columns.u32[at + 8] == _TEREDO_PREFIX) | (columns.u32[at + 24] == _TEREDO_PREFIX)
    good &= columns.u16[at + 4] + 40 == columns.wire_end[rows] - at
    rows = columns.keep(rows, good, "not_tcp")
    columns.next[rows] = IPV6
    columns.enter(rows, "teredo", ends=False)


def _ayiya(columns: Columns, rows: Rows) -> None:
    """draft-massar-v6ops-ayiya §3: IPv6 behind an identity and a signature."""
    rows = columns.holding(rows, 8, "not_tcp")
    at = columns.at[rows]
    identity = np.int64(1) << (columns.buffer[at] >> 4).astype(np.int64)
    signature = (columns.buffer[at + 1] >> 4).astype(np.int64) * 4
    forward = columns.buffer[at + 2] & 0x0F == _AYIYA_FORWARD
    columns.at[rows] = at + 8 + identity + signature
    good = forward & (columns.buffer[at + 3] == _IPV6_NEXT) & _packet_is_inside(columns, rows, 6)
    rows = columns.keep(rows, good, "not_tcp")
    columns.next[rows] = IPV6
    columns.enter(rows, "ayiya")


_IN_UDP: tuple[tuple[tuple[int, ...], Peel], ...] = (
    ((4789, 8472), _vxlan),
    ((6081,), _geneve),
    ((2152,), _gtp),
    ((3544,), _teredo),
    ((5072,), _ayiya),
)
_TUNNEL_AT = np.zeros(1 << 16, np.uint8)
"""By port: which of them, from 1; 0 for none."""
for _number, (_ports, _) in enumerate(_IN_UDP, 1):
    _TUNNEL_AT[list(_ports)] = _number

LAYERS: dict[int, Peel] = {
    IP_PROTOCOL + 4: _ip_in_ip,
    IP_PROTOCOL + 41: _ip_in_ip,
    IP_PROTOCOL + 94: _ip_in_ip,
    IP_PROTOCOL + 97: _ether_ip,
    IP_PROTOCOL + 137: _mpls_in_ip,
    IP_PROTOCOL + 47: _gre,
    _UDP: _udp,
}
