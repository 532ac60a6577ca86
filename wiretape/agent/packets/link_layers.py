"""What stands before IP: link types of captures, VLANs, LLC, PPP, PPPoE and MPLS.

Link types are those of https://www.tcpdump.org/linktypes.html.
"""

import numpy as np

from wiretape.agent.packets.columns import (
    ETHERNET,
    IPV4,
    IPV6,
    LINK,
    LLC,
    PPP,
    RAW_IP,
    Columns,
    Peel,
    Rows,
)

NULL, RAW_BSD, RAW_OPENBSD, RAW, LOOP, IPV4_ONLY, IPV6_ONLY = 0, 12, 14, 101, 108, 228, 229
LINUX_SLL, LINUX_SLL2, NFLOG = 113, 276, 239
PPP_LINK, PPP_HDLC, PPP_ETHER, C_HDLC, PPP_PPPD, PPP_WITH_DIRECTION = 9, 50, 51, 104, 166, 204

MPLS, PPPOE = 0x8847, 0x8864
_MPLS_MULTICAST = 0x8848
_VLAN_TYPES = (0x8100, 0x88A8, 0x9100, 0x9200, 0x9300)
_AF_INET6 = (10, 24, 28, 30)
"""Linux, NetBSD and OpenBSD, FreeBSD, Darwin."""
_SLL_LLC = 4
"""LINUX_SLL: what stands for an EtherType where there is none (ETH_P_802_2)."""
_NFULA_PAYLOAD = 9
_PPP_NEXT = {0x21: IPV4, 0x57: IPV6, 0x281: MPLS, 0x283: _MPLS_MULTICAST}
"""PPP protocol numbers (RFC 1332, 5072, 3032)."""


def ethernet(columns: Columns, rows: Rows) -> None:
    rows = columns.holding(rows, 14)
    at = columns.at[rows]
    kind = columns.u16[at + 12].astype(np.int64)
    columns.next[rows] = np.where(kind < 0x600, LLC, kind)
    columns.at[rows] = at + 14


def _linux_sll(columns: Columns, rows: Rows) -> None:
    rows = columns.holding(rows, 16)
    at = columns.at[rows]
    kind = columns.u16[at + 14].astype(np.int64)
    columns.next[rows] = np.where(kind == _SLL_LLC, LLC, kind)
    columns.at[rows] = at + 16


def _linux_sll2(columns: Columns, rows: Rows) -> None:
    """Tells the interface too."""
    rows = columns.holding(rows, 20)
    at = columns.at[rows]
    kind = columns.u16[at].astype(np.int64)
    columns.next[rows] = np.where(kind == _SLL_LLC, LLC, kind)
    columns.interface[rows] = columns.u32[at + 4]
    columns.at[rows] = at + 20


def _raw(columns: Columns, rows: Rows) -> None:
    columns.next[rows] = RAW_IP


def _ipv4_only(columns: Columns, rows: Rows) -> None:
    columns.next[rows] = IPV4


def _ipv6_only(columns: Columns, rows: Rows) -> None:
    columns.next[rows] = IPV6


def _null(columns: Columns, rows: Rows) -> None:
    """The protocol family, in the byte order of the host that captured (LOOP: of the network)."""
    rows = columns.holding(rows, 4)
    at = columns.at[rows]
    family = columns.u32[at].astype(np.int64)
    family = np.where(family > 0xFFFF, family.astype(">u4").view("<u4"), family)
    known = np.where(family == 2, IPV4, np.where(np.isin(family, _AF_INET6), IPV6, 0))
    columns.next[rows] = known
    columns.at[rows] = at + 4


def _nflog(columns: Columns, rows: Rows) -> None:
    """Address family and version, then attributes in the byte order of the host that captured.

    The first attribute is small, which tells the order.
    """
    rows = columns.holding(rows, 8)
    family = columns.buffer[columns.at[rows]]
    known = ((family == 2) | (family == 10)) & (columns.buffer[columns.at[rows] + 1] == 0)
    rows = columns.keep(rows, known, "not_ip")
    columns.next[rows] = np.where(columns.buffer[columns.at[rows]] == 2, IPV4, IPV6)
    little = columns.buffer[columns.at[rows] + 5] == 0
    columns.at[rows] += 4
    while len(rows):
        enough = columns.end[rows] - columns.at[rows] >= 4
        little = little[enough]
        rows = columns.keep(rows, enough, "not_ip")
        at = columns.at[rows]
        size, kind = columns.u16[at].astype(np.int64), columns.u16[at + 2].astype(np.int64)
        size = np.where(little, size >> 8 | (size & 0xFF) << 8, size)
        kind = np.where(little, kind >> 8 | (kind & 0xFF) << 8, kind)
        payload = (kind & 0x7FFF) == _NFULA_PAYLOAD
        columns.at[rows[payload]] += 4
        sound = size >= 4
        going = ~payload & sound
        columns.skip(rows[~payload & ~sound], "not_ip")
        columns.at[rows[going]] += size[going] + 3 & ~3
        rows, little = rows[going], little[going]


def raw_ip(columns: Columns, rows: Rows) -> None:
    rows = columns.holding(rows, 1)
    version = columns.buffer[columns.at[rows]] >> 4
    columns.next[rows] = np.where(version == 4, IPV4, np.where(version == 6, IPV6, 0))


def _vlan(columns: Columns, rows: Rows) -> None:
    """IEEE 802.1Q and 802.1ad, any depth; the innermost five identifiers tell traffic apart."""
    rows = columns.holding(rows, 4)
    at = columns.at[rows]
    identifier = (columns.u16[at] & 0x0FFF).astype(np.uint64)
    columns.vlans[rows] = columns.vlans[rows] << np.uint64(12) | identifier
    kind = columns.u16[at + 2].astype(np.int64)
    columns.next[rows] = np.where(kind < 0x600, LLC, kind)
    columns.at[rows] = at + 4


def _llc(columns: Columns, rows: Rows) -> None:
    """IEEE 802.2 with SNAP, where it carries an EtherType (RFC 1042, IEEE 802.1H)."""
    rows = columns.holding(rows, 8)
    at = columns.at[rows]
    organization = columns.u32[at + 2] & 0xFFFFFF
    snap = (columns.u32[at] >> 8 == 0xAAAA03) & ((organization == 0) | (organization == 0xF8))
    rows = columns.keep(rows, snap, "not_ip")
    at = columns.at[rows]
    columns.next[rows] = columns.u16[at + 6].astype(np.int64)
    columns.at[rows] = at + 8


def _ppp(columns: Columns, rows: Rows) -> None:
    """RFC 1661 §2, RFC 1662 §3.1; the address and the first byte of the protocol may be left out
    (RFC 1661 §6.5, §6.6)."""
    rows = columns.holding(rows, 4)
    at = columns.at[rows]
    at = at + np.where(columns.u16[at] == 0xFF03, 2, 0)
    short = columns.buffer[at] & 1 == 1
    protocol = np.where(short, columns.buffer[at], columns.u16[at]).astype(np.int64)
    columns.at[rows] = at + np.where(short, 1, 2)
    following = np.zeros(len(rows), np.int64)
    for number, kind in _PPP_NEXT.items():
        following[protocol == number] = kind
    columns.next[rows] = following


def _ppp_with_direction(columns: Columns, rows: Rows) -> None:
    """One byte says who sent it, in place of PPP's address or before it."""
    rows = columns.holding(rows, 2)
    control = columns.buffer[columns.at[rows] + 1] == 3
    columns.at[rows] += np.where(control, 2, 1)
    columns.next[rows] = PPP


def _hdlc(columns: Columns, rows: Rows) -> None:
    """PPP in HDLC-like framing, or Cisco's HDLC with an EtherType; its first byte tells."""
    rows = columns.holding(rows, 4)
    at = columns.at[rows]
    cisco = np.isin(columns.buffer[at], (0x0F, 0x8F))
    columns.next[rows] = np.where(cisco, columns.u16[at + 2].astype(np.int64), PPP)
    columns.at[rows] = np.where(cisco, at + 4, at)


def _pppoe(columns: Columns, rows: Rows) -> None:
    """RFC 2516 §4: a session's data. Behind it may stand padding of Ethernet."""
    rows = columns.holding(rows, 6, "not_ip")
    at = columns.at[rows]
    rows = columns.keep(rows, columns.u16[at] == 0x1100, "not_ip")
    columns.at[rows] += 6
    columns.next[rows] = PPP


def _mpls(columns: Columns, rows: Rows) -> None:
    """RFC 3032: labels up to the bottom of the stack, then IP as its version tells (RFC 4928 §3),
    or Ethernet behind a control word (RFC 4448 §4.6)."""
    rows = columns.holding(rows, 5, "not_ip")
    at = columns.at[rows]
    bottom = columns.buffer[at + 2] & 1 == 1
    columns.at[rows] = at + 4
    # Labels above the bottom: this layer again, which the limit on layers ends.
    rows, at = rows[bottom], at[bottom] + 4
    first = columns.buffer[at] >> 4
    columns.next[rows] = np.where(first == 0, LINK + ETHERNET, RAW_IP)
    columns.at[rows] = np.where(first == 0, at + 4, at)


LAYERS: dict[int, Peel] = {
    LINK + ETHERNET: ethernet,
    LINK + LINUX_SLL: _linux_sll,
    LINK + LINUX_SLL2: _linux_sll2,
    LINK + RAW: _raw,
    LINK + RAW_BSD: _raw,
    LINK + RAW_OPENBSD: _raw,
    LINK + IPV4_ONLY: _ipv4_only,
    LINK + IPV6_ONLY: _ipv6_only,
    LINK + NULL: _null,
    LINK + LOOP: _null,
    LINK + NFLOG: _nflog,
    LINK + PPP_LINK: _hdlc,
    LINK + PPP_HDLC: _hdlc,
    LINK + C_HDLC: _hdlc,
    LINK + PPP_ETHER: _pppoe,
    LINK + PPP_PPPD: _ppp_with_direction,
    LINK + PPP_WITH_DIRECTION: _ppp_with_direction,
    RAW_IP: raw_ip,
    LLC: _llc,
    PPP: _ppp,
    MPLS: _mpls,
    _MPLS_MULTICAST: _mpls,
    PPPOE: _pppoe,
    **dict.fromkeys(_VLAN_TYPES, _vlan),
}
"""By link type, EtherType, or our own numbers."""
