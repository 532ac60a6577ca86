"""Frames for filters of the kernel, and which selection takes them."""

import logging
from ipaddress import ip_address

from classic_bpf import Packet

logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.contrib.mpls import MPLS  # noqa: E402
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP, IPOption_RR  # noqa: E402
from scapy.layers.inet6 import (  # noqa: E402
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.layers.ipsec import AH  # noqa: E402
from scapy.layers.l2 import ARP, Dot1Q, Ether  # noqa: E402
from scapy.layers.ppp import PPPoE  # noqa: E402
from scapy.layers.vxlan import VXLAN  # noqa: E402
from scapy.packet import Packet as Layer  # noqa: E402

from wiretape.agent.sources.filter import Selection  # noqa: E402

LINK = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
QINQ = Ether(src=LINK.src, dst=LINK.dst, type=0x88A8) / Dot1Q(vlan=7)
LINK_0X9100 = Ether(src=LINK.src, dst=LINK.dst, type=0x9100)
A4, B4, C4 = "192.0.2.1", "192.0.2.2", "255.255.255.255"
A6, B6, C6 = "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"
V4, V6 = IP(src=A4, dst=B4), IPv6(src=A6, dst=B6)
WEB = TCP(sport=40000, dport=80) / b"GET / HTTP/1.1\r\n\r\n"
REPLY = TCP(sport=80, dport=40000) / b"HTTP/1.1 204 No Content\r\n\r\n"
SSH = TCP(sport=22, dport=50000) / b"SSH"
OPTIONS = IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(12))])
LATER = IPv6ExtHdrFragment(offset=100, nh=6, id=7)

FRAMES: dict[str, Layer | bytes] = {
    "request": LINK / V4 / WEB,
    "reply": LINK / IP(src=B4, dst=A4) / REPLY,
    "request over IPv6": LINK / V6 / WEB,
    "reply over IPv6": LINK / IPv6(src=B6, dst=A6) / REPLY,
    "other hosts": LINK / IP(src=B4, dst=C4) / WEB,
    "other hosts over IPv6": LINK / IPv6(src=B6, dst=C6) / WEB,
    "IPv4 options": LINK / IP(src=A4, dst=B4, options=[IPOption_RR(), IPOption_NOP()]) / WEB,
    "first IPv4 fragment": LINK / IP(src=A4, dst=B4, flags="MF") / WEB,
    "later IPv4 fragment": LINK / IP(src=A4, dst=B4, frag=100, proto=6) / b"\1\2\3\4\5\6",
    "later IPv4 fragment of UDP": LINK / IP(src=A4, dst=B4, frag=100, proto=17) / b"\1\2\3\4\5\6",
    "first IPv6 fragment": LINK / V6 / IPv6ExtHdrFragment(m=1, id=7) / WEB,
    "later IPv6 fragment": LINK / V6 / LATER / b"\1\2\3\4\5\6",
    "later IPv6 fragment of UDP": LINK / V6 / IPv6ExtHdrFragment(offset=9, nh=17) / b"\1\2\3\4",
    "hop by hop": LINK / V6 / IPv6ExtHdrHopByHop(options=[PadN(optdata=bytes(4))]) / WEB,
    "routing": LINK / V6 / IPv6ExtHdrRouting(addresses=[C6]) / WEB,
    "authentication": LINK / V6 / AH(nh=6, payloadlen=4, icv=bytes(12)) / WEB,
    "six headers": LINK / V6 / OPTIONS / OPTIONS / OPTIONS / OPTIONS / OPTIONS / OPTIONS / WEB,
    "seven headers": LINK
    / V6 / OPTIONS / OPTIONS / OPTIONS / OPTIONS / OPTIONS / OPTIONS / OPTIONS / SSH,
    "ssh": LINK / V4 / SSH,
    "ssh over IPv6": LINK / V6 / SSH,
    "ssh behind options over IPv6": LINK / V6 / OPTIONS / SSH,
    "one tag": LINK / Dot1Q(vlan=42) / V4 / WEB,
    "one tag and IPv6": LINK / Dot1Q(vlan=42) / V6 / WEB,
    "two tags": QINQ / Dot1Q(vlan=42) / V4 / WEB,
    "two tags and ssh": LINK / Dot1Q(vlan=7) / Dot1Q(vlan=42) / V4 / SSH,
    "tag of 0x9100": LINK_0X9100 / Dot1Q(vlan=7) / V4 / WEB,
    "UDP": LINK / V4 / UDP(sport=40000, dport=80) / b"\1\2\3\4",
    "UDP over IPv6": LINK / V6 / UDP(sport=40000, dport=80) / b"\1\2\3\4",
    "ICMP": LINK / V4 / ICMP(),
    "VXLAN": LINK / V4 / UDP(dport=4789) / VXLAN(vni=1) / LINK / V4 / WEB,
    "IP in IP": LINK / V4 / IP(src=A4, dst=B4) / WEB,
    "MPLS": LINK / MPLS(label=16, s=1) / V4 / WEB,
    "PPPoE": LINK / PPPoE(sessionid=1) / b"\0\x21" / V4 / WEB,
    "ARP": LINK / ARP(),
    "tagged ARP": LINK / Dot1Q(vlan=42) / ARP(),
    "LLDP": Ether(src="02:00:00:00:00:01", dst="01:80:c2:00:00:0e", type=0x88CC) / b"\2\7\4",
    "STP": bytes(LINK)[:12] + b"\0\x26\x42\x42\3" + bytes(35),
    "cut off in IPv4": bytes(LINK / V4 / WEB)[:20],
    "cut off in ports": bytes(LINK / V4 / WEB)[:37],
    "cut off in IPv6 options": bytes(LINK / V6 / OPTIONS / WEB)[:55],
}  # fmt: skip

_TCP = {
    "request", "reply", "request over IPv6", "reply over IPv6", "other hosts",
    "other hosts over IPv6", "IPv4 options", "first IPv4 fragment", "later IPv4 fragment",
    "first IPv6 fragment", "later IPv6 fragment", "hop by hop", "routing", "authentication",
    "six headers", "seven headers", "ssh", "ssh over IPv6", "ssh behind options over IPv6",
    "one tag", "one tag and IPv6", "two tags", "two tags and ssh", "tag of 0x9100",
}  # fmt: skip
_SSH = {"ssh", "ssh over IPv6", "ssh behind options over IPv6", "two tags and ssh"}
_NOT_IP = {"ARP", "tagged ARP", "LLDP", "STP"}
_IPV6 = {name for name in FRAMES if "IPv6" in name or "headers" in name} | {
    "hop by hop", "routing", "authentication",
}  # fmt: skip
_OTHER = {"other hosts", "other hosts over IPv6"}
_SSH_CONNECTION = (ip_address(B4), 50000, ip_address(A4), 22)
_MAPPED_SSH_CONNECTION = (ip_address(f"::ffff:{A4}"), 22, ip_address(f"::ffff:{B4}"), 50000)
_SSH6_CONNECTION = (ip_address(A6), 22, ip_address(B6), 50000)
_CUT = {name for name in FRAMES if "cut off" in name}

# What is cut off: no more than what is to be known is loaded.
SELECTIONS: list[tuple[Selection, set[str]]] = [
    (Selection(), FRAMES.keys() - _NOT_IP),
    (Selection(ports=(80,)), _TCP - _SSH),
    (Selection(ports=(22,)), _SSH | {
        "seven headers", "later IPv4 fragment", "later IPv6 fragment"}),
    (Selection(ports=(40000,)), _TCP - _SSH),
    (Selection(ports=(1, 443, 8443, 65535)), {
        "seven headers", "later IPv4 fragment", "later IPv6 fragment"}),
    (Selection(ports=tuple(range(70, 90))), _TCP - _SSH),
    (Selection(ports=tuple(range(65536))), _TCP),
    (Selection(hosts=(ip_address(A4),)), _TCP - _IPV6 - _OTHER | {"cut off in ports"}),
    (Selection(hosts=(ip_address("::ffff:192.0.2.1"),)),
        _TCP - _IPV6 - _OTHER | {"cut off in ports"}),
    (Selection(hosts=(ip_address(A6),)), _TCP & _IPV6 - _OTHER),
    (Selection(hosts=(ip_address(A4), ip_address(A6), ip_address("2001:db8::3"))),
        _TCP - _OTHER | {"cut off in ports"}),
    (Selection(hosts=(ip_address(C4), ip_address(C6))), _OTHER),
    (Selection(hosts=(ip_address("10.0.0.1"),)), set()),
    (Selection(hosts=(ip_address(A4),), ports=(22,)), {
        "ssh", "two tags and ssh", "later IPv4 fragment"}),
    (Selection(hosts=(ip_address(C4),), ports=(22,)), set()),
    (Selection(excluded=(_SSH_CONNECTION,)),
        FRAMES.keys() - _NOT_IP - {"ssh", "two tags and ssh"} - _CUT),
    (Selection(excluded=(_SSH_CONNECTION, _SSH6_CONNECTION)),
        FRAMES.keys() - _NOT_IP - _SSH - _CUT),
    (Selection(ports=(22,), excluded=(_MAPPED_SSH_CONNECTION, _SSH6_CONNECTION)),
        {"seven headers", "later IPv4 fragment", "later IPv6 fragment"}),
    (Selection(ports=(22, 80), excluded=(_SSH6_CONNECTION,)),
        _TCP - {"ssh over IPv6", "ssh behind options over IPv6"}),
    (Selection(hosts=(ip_address(A4),), excluded=(_SSH_CONNECTION, _SSH6_CONNECTION)),
        _TCP - _IPV6 - _OTHER - _SSH),
]  # fmt: skip


def bare(name: str) -> bytes | None:
    """The frame's IP packet, where it stands right behind the Ethernet header."""
    frame = bytes(FRAMES[name])
    return frame[14:] if frame[12:14] in (b"\x08\x00", b"\x86\xdd") else None


def variants(name: str) -> list[Packet]:
    """What a socket may be shown of one frame: its tag inside or taken out, its network header
    before or behind the tags; or without a link header."""
    frame = bytes(FRAMES[name])
    kind = int.from_bytes(frame[12:14], "big")
    shown = [Packet(frame, protocol=kind), Packet(frame, protocol=kind, hardware_type=772)]
    if kind in (0x8100, 0x88A8, 0x9100):
        shown.append(Packet(frame, protocol=kind, network=18))
        inner = int.from_bytes(frame[16:18], "big")
        shown.append(Packet(frame[:12] + frame[16:], protocol=inner, tag=42))
    if (packet := bare(name)) is not None:
        shown.append(Packet(packet, 0, kind, hardware_type=65534))
        shown.append(Packet(bytes(24) + packet, 24, kind, hardware_type=778))
    return shown
