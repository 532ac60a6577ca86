"""Encapsulations that are peeled packet by packet: what comes out is what stood inside."""

import logging

import numpy as np
import pytest

logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.contrib.mpls import MPLS  # noqa: E402
from scapy.layers.inet import IP, TCP  # noqa: E402
from scapy.layers.inet6 import IPv6  # noqa: E402
from scapy.layers.l2 import GRE, Dot1Q, Ether  # noqa: E402
from scapy.layers.ppp import PPP, PPPoE  # noqa: E402
from scapy.packet import Packet, Raw  # noqa: E402

from wiretape.agent.packets import Decoder, PacketBatch  # noqa: E402
from wiretape.agent.packets.columns import LINK  # noqa: E402

FRAME = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
SEGMENT = TCP(sport=1234, dport=80, seq=7, ack=9, flags="PA") / b"GET / HTTP/1.1\r\n\r\n"
V4 = IP(src="10.1.1.1", dst="10.1.1.2") / SEGMENT
V6 = IPv6(src="2001:db8::1", dst="2001:db8::2") / SEGMENT
TUNNEL = IP(src="192.0.2.1", dst="192.0.2.2")
PADDING = bytes(6)


def batch_of(packets: list[bytes], link_type: int = 1) -> PacketBatch:
    sizes = np.array([len(packet) for packet in packets], np.int64)
    return PacketBatch(
        buffer=np.frombuffer(bytearray(b"".join(packets)), np.uint8),
        first=0,
        start=np.cumsum(sizes) - sizes,
        captured=sizes,
        wire=sizes,
        at_ns=np.arange(len(packets), dtype=np.int64),
        layer=np.full(len(packets), LINK + link_type),
    )


@pytest.mark.parametrize(
    ("packet", "link_type"),
    [
        (FRAME / PPPoE(sessionid=3) / PPP() / V4, 1),
        (FRAME / PPPoE(sessionid=3) / PPP() / V6, 1),
        (FRAME / Dot1Q(vlan=5) / PPPoE(sessionid=3) / PPP() / V4, 1),
        (FRAME / PPPoE(sessionid=3) / b"\x21" / V4, 1),
        (FRAME / MPLS(label=17, s=0) / MPLS(label=18, s=1) / V4, 1),
        (FRAME / MPLS(label=17, s=1) / V6, 1),
        (FRAME / MPLS(label=17, s=1) / bytes(4) / FRAME / V4, 1),
        (FRAME / PPPoE(sessionid=3) / PPP(proto=0x281) / MPLS(label=17, s=1) / V4, 1),
        (FRAME / TUNNEL / GRE() / V4, 1),
        (FRAME / TUNNEL / GRE(key_present=1, key=77, chksum_present=1) / V4, 1),
        (FRAME / TUNNEL / GRE(proto=0x6558) / FRAME / V4, 1),
        (PPP(b"\xff\x03\x00\x21" + bytes(V4)), 9),
        (Raw(b"\x00\x21" + bytes(V4)), 9),
        (Raw(b"\x57" + bytes(V6)), 9),
        (Raw(b"\xff\x03\x00\x57" + bytes(V6)), 50),
        (Raw(b"\x0f\x00\x08\x00" + bytes(V4)), 50),
        (Raw(b"\x8f\x00\x86\xdd" + bytes(V6)), 104),
        (PPPoE(sessionid=3) / PPP() / V4, 51),
        (Raw(b"\x00\x03\x00\x21" + bytes(V4)), 166),
        (Raw(b"\x01\x00\x21" + bytes(V4)), 204),
        (Raw(b"\x01\xff\x03\x00\x57" + bytes(V6)), 204),
    ],
)
@pytest.mark.parametrize("padding", [b"", PADDING])
def test_the_segment_inside_is_found(packet: Packet, link_type: int, padding: bytes) -> None:
    plain = bytes(FRAME / V4) if link_type == 1 else bytes(packet)
    packets = [bytes(packet) + padding, plain, bytes(packet)]
    segments, skipped, _ = Decoder().decode(batch_of(packets, link_type))
    assert skipped == {}
    assert segments.packet.tolist() == [0, 1, 2]
    for row in range(3):
        start, length = int(segments.start[row]), int(segments.length[row])
        assert segments.buffer[start : start + length].tobytes() == b"GET / HTTP/1.1\r\n\r\n"
        assert (int(segments.seq[row]), int(segments.ack[row])) == (7, 9)
        assert (int(segments.source_port[row]), int(segments.target_port[row])) == (1234, 80)
        assert int(segments.missing[row]) == 0


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (FRAME / PPPoE(code=9) / b"discovery", "not_ip"),
        (bytes(FRAME / PPPoE() / PPP() / V4)[:23], "truncated"),
        (bytes(FRAME / TUNNEL / GRE(key_present=1) / V4)[:39], "truncated"),
        (FRAME / MPLS(label=1, s=0), "not_ip"),
    ],
)
def test_what_holds_no_packet_is_counted(packet: Packet | bytes, reason: str) -> None:
    segments, skipped, _ = Decoder().decode(batch_of([bytes(packet)]))
    assert len(segments.packet) == 0
    assert skipped == {reason: 1}
