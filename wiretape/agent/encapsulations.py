"""Encapsulations that are rare in front of a service, peeled packet by packet by dpkt.

What stands before nearly every packet (Ethernet, VLANs, IP) is peeled for a whole batch at once in
`packets`. These are not worth a column function each: PPP, PPPoE, MPLS and GRE.
"""

import struct
from collections.abc import Callable

import dpkt

_ETHERNET_TYPES = (0x8847, 0x8848, 0x8864)
"""MPLS unicast and multicast, PPPoE session."""
GRE = 47
PPP_LINK_TYPES = (9, 50)
"""LINKTYPE_PPP and LINKTYPE_PPP_HDLC."""

_BROKEN = (
    dpkt.Error, struct.error, ValueError, TypeError, LookupError, AttributeError, RecursionError,
)  # fmt: skip
"""What dpkt raises for bytes that are not what they claim to be."""

Peel = Callable[[bytes], bytes | None]
"""From the bytes at a layer to the IP packet inside, or None where there is none."""


def by_ethernet_type(kind: int) -> Peel | None:
    """What peels the payload of this EtherType, or None where nothing here does."""
    if kind not in _ETHERNET_TYPES:
        return None
    header = bytes(12) + kind.to_bytes(2, "big")
    return lambda payload: _inner_packet(dpkt.ethernet.Ethernet, header + payload)


def by_ip_protocol(protocol: int) -> Peel | None:
    if protocol != GRE:
        return None
    return lambda payload: _inner_packet(dpkt.gre.GRE, payload)


def by_link_type(link_type: int) -> Peel | None:
    if link_type not in PPP_LINK_TYPES:
        return None
    return lambda payload: _inner_packet(dpkt.ppp.PPP, payload)


def _inner_packet(layer: Callable[[bytes], object], data: bytes) -> bytes | None:
    """The IP packet somewhere inside, or None where there is none."""
    try:
        found = layer(data)
        while isinstance(found, dpkt.Packet):
            if isinstance(found, dpkt.ip.IP | dpkt.ip6.IP6):
                # Padding behind it is left out; a checksum of 0 is filled in, which nobody reads.
                return bytes(found)
            found = found.data
    except _BROKEN:
        pass
    return None
