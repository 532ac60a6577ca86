"""Tunnels: what is inside is found, told apart, and never seen where there is none."""

import ipaddress
import logging
import struct
from collections.abc import Callable
from typing import Any

import pytest
from tcp_traffic import Peers, Result, raw_batch

logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.contrib.erspan import ERSPAN_II, ERSPAN_III  # noqa: E402
from scapy.contrib.geneve import GENEVE, GeneveOptions  # noqa: E402
from scapy.contrib.gtp import (  # noqa: E402
    GTP_U_Header,
    GTPPDUSessionContainer,
)
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment  # noqa: E402
from scapy.layers.inet6 import IPv6  # noqa: E402
from scapy.layers.l2 import ARP, GRE, Dot1Q, Ether  # noqa: E402
from scapy.layers.vxlan import VXLAN  # noqa: E402
from scapy.packet import Packet, Raw  # noqa: E402

from wiretape.agent.packets import Decoder, Tunnel  # noqa: E402
from wiretape.agent.packets.decoder import MAX_LAYERS  # noqa: E402
from wiretape.agent.pipeline import Pipeline  # noqa: E402
from wiretape.exchange.v1 import exchange_pb2 as pb  # noqa: E402

DATA = b"GET / HTTP/1.1\r\n\r\n"
FRAME = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
SEGMENT = TCP(sport=1234, dport=80, seq=7, ack=9, flags="PA") / DATA
V4 = IP(src="10.1.1.1", dst="10.1.1.2") / SEGMENT
V6 = IPv6(src="2001:db8::1", dst="2001:db8::2") / SEGMENT
TEREDO = IPv6(src="2001:0:53aa:64c:1::1", dst="2001:db8::2") / SEGMENT
FORTH, BACK = ("192.0.2.1", "192.0.2.2"), ("192.0.2.2", "192.0.2.1")


def outer(ends: tuple[str, str] = FORTH) -> Packet:
    return FRAME / IP(src=ends[0], dst=ends[1])


def over_udp(
    port: int, header: bytes | Packet, inside: Packet, ends: tuple[str, str] = FORTH
) -> Packet:
    return outer(ends) / UDP(sport=49152, dport=port) / header / inside


def vxlan(inside: Packet, ends: tuple[str, str] = FORTH, vni: int = 42) -> Packet:
    return over_udp(4789, VXLAN(vni=vni, flags=8), FRAME / inside, ends)


def geneve(inside: Packet, ends: tuple[str, str] = FORTH, vni: int = 42) -> Packet:
    return over_udp(6081, GENEVE(vni=vni), FRAME / inside, ends)


def gtp(inside: Packet, ends: tuple[str, str] = FORTH, teid: int = 42) -> Packet:
    return over_udp(2152, GTP_U_Header(teid=teid, gtp_type=255), inside, ends)


def gre(inside: Packet, ends: tuple[str, str] = FORTH, key: int = 42) -> Packet:
    return outer(ends) / GRE(key_present=1, key=key) / inside


def ip_in_ip(inside: Packet, ends: tuple[str, str] = FORTH, _: int = 0) -> Packet:
    return outer(ends) / inside


def teredo(inside: Packet, ends: tuple[str, str] = FORTH, _: int = 0) -> Packet:
    return over_udp(3544, b"", inside, ends)


def ayiya(inside: Packet, ends: tuple[str, str] = FORTH, _: int = 0) -> Packet:
    header = bytes([0x41, 0x52, 0x11, 41]) + bytes(4 + 16 + 20)
    return over_udp(5072, header, inside, ends)


ERSPAN_1 = Raw(struct.pack(">HH", 0, 0x88BE))
ERSPAN_3_WITH_PLATFORM = bytes(ERSPAN_III(o=1))[:12] + bytes(8)

SHAPES: dict[str, Packet] = {
    "vxlan": vxlan(V4),
    "vxlan, an older port": over_udp(8472, VXLAN(vni=1, flags=8), FRAME / V6),
    "vxlan from its port": outer() / UDP(sport=4789, dport=9) / VXLAN(flags=8) / FRAME / V4,
    "vxlan with reserved bits": over_udp(4789, b"\xff\x01\xd1\xf2\0\0\x0b\xff", FRAME / V4),
    "vxlan of a vlan": vxlan(Dot1Q(vlan=7) / V4),
    "vxlan over ipv6": FRAME / IPv6(src="::1", dst="::2") / UDP(dport=4789) / VXLAN() / FRAME / V4,
    "geneve": geneve(V4),
    "geneve with options": over_udp(
        6081,
        GENEVE(vni=9, options=[GeneveOptions(type=n, data=bytes(4 * n)) for n in (1, 3, 0, 20)]),
        FRAME / V6,
    ),
    "geneve of ip": over_udp(6081, GENEVE(proto=0x0800), V4),
    "geneve of ipv6": over_udp(6081, GENEVE(proto=0x86DD), V6),
    "gtp": gtp(V4),
    "gtp of ipv6": gtp(V6),
    "gtp with a sequence number": over_udp(2152, GTP_U_Header(teid=1, gtp_type=255, S=1), V4),
    "gtp with extensions": over_udp(
        2152,
        GTP_U_Header(teid=1, gtp_type=255, E=1, next_ex=0x85) / GTPPDUSessionContainer(QFI=3),
        V4,
    ),
    "gtp with two extensions": over_udp(
        2152,
        struct.pack(">BBHIHBB", 0x34, 255, 4 + 4 + 8 + len(V4), 1, 0, 0, 0xC0)
        + b"\x01\x00\x01\x85" + b"\x02" + bytes(7), V4,
    ),
    "teredo": teredo(TEREDO),
    "teredo with an origin": over_udp(3544, bytes(8), TEREDO),
    "teredo with both": over_udp(3544, b"\0\x01\x02\x03" + bytes(5 + 9) + bytes(8), TEREDO),
    "ayiya": ayiya(V6),
    "gre": gre(V4),
    "gre of everything": outer() / GRE(chksum_present=1, key_present=1, seqnum_present=1) / V6,
    "gre of ethernet": outer() / GRE(proto=0x6558) / FRAME / Dot1Q(vlan=3) / V4,
    "gre of mpls": outer() / GRE(proto=0x8847) / b"\0\0\x11\xff" / V4,
    "pptp": outer() / Raw(b"\x30\x81\x88\x0b\0\x40\0\x07" + bytes(8) + b"\xff\x03\0\x21") / V4,
    "erspan I": outer() / ERSPAN_1 / FRAME / V4,
    "erspan II": outer() / GRE(proto=0x88BE, seqnum_present=1) / ERSPAN_II() / FRAME / V4,
    "erspan III": outer() / GRE(proto=0x22EB, seqnum_present=1) / ERSPAN_III() / FRAME / V6,
    "erspan III with more": outer() / Raw(b"\x10\0\x22\xeb" + bytes(4)) / ERSPAN_3_WITH_PLATFORM
    / FRAME / V4,
    "ip in ip": ip_in_ip(V4),
    "6in4": ip_in_ip(V6),
    "4in6": FRAME / IPv6(src="::1", dst="::2") / V4,
    "etherip": outer() / Raw(b"\x30\0" + bytes(FRAME / V4)),
    "mpls in ip": outer() / Raw(b"\0\0\x11\xff" + bytes(V4)),
    "three of them": vxlan(IP(src="1.1.1.1", dst="2.2.2.2") / GRE() / gtp(V4)[IP]),
}  # fmt: skip
SHAPES["etherip"][IP].proto = 97
SHAPES["mpls in ip"][IP].proto = 137
for _name in ("erspan I", "pptp", "erspan III with more"):
    SHAPES[_name][IP].proto = 47


def payloads(frames: list[bytes], wire: list[int] | None = None) -> tuple[list[bytes], int]:
    """Of all segments; how many packets were skipped."""
    s, skipped, _ = Decoder().decode(raw_batch(frames, wire=wire))
    found = [s.buffer[a : a + n].tobytes() for a, n in zip(s.start, s.length, strict=True)]
    return found, sum(skipped.values())


@pytest.mark.parametrize("name", SHAPES)
def test_the_segment_inside_is_found(name: str) -> None:
    frame, plain = bytes(SHAPES[name]), bytes(FRAME / V4)
    s, skipped, bad = Decoder().decode(raw_batch([frame, plain, frame]))
    assert skipped == {}
    assert bad == 0
    assert s.packet.tolist() == [0, 1, 2]
    assert s.source_port.tolist() == [1234] * 3
    assert s.seq.tolist() == [7] * 3
    assert s.missing.tolist() == [0] * 3
    assert payloads([frame, plain, frame]) == ([DATA] * 3, 0)
    assert s.tunnels[0] == s.tunnels[2] > 0
    assert s.tunnels[1] == 0
    low = ipaddress.ip_address(s.source_low[0].item() & 0xFFFFFFFF)
    assert str(low) == "10.1.1.1" or s.source_high[0] >> 96 - 64 != 0


@pytest.mark.parametrize("name", SHAPES)
def test_cut_anywhere(name: str) -> None:
    """Never an error; where the segment's head is there, it says what is missing."""
    whole = bytes(SHAPES[name])
    found = 0
    for cut in range(len(whole)):
        s, skipped, _ = Decoder().decode(raw_batch([whole[:cut]], wire=[len(whole)]))
        assert len(s.packet) + sum(skipped.values()) == 1
        if len(s.packet):
            found += 1
            assert s.length[0] + s.missing[0] == len(DATA)
    assert found == len(DATA)


def test_changed_anywhere() -> None:
    frames = []
    for packet in SHAPES.values():
        whole = bytes(packet)
        frames += [
            whole[:at] + bytes([value]) + whole[at + 1 :]
            for at in range(len(whole))
            for value in (0, 1, 8, 0x45, 0x60, 0x7F, 0xFF)
        ]
    s, skipped, _ = Decoder().decode(raw_batch(frames))
    assert len(s.packet) + sum(skipped.values()) == len(frames)
    assert (s.length >= 0).all()
    assert (s.missing >= 0).all()


NO_TUNNELS = {
    "dns from a tunnel's port": (4789, bytes.fromhex("080001000001000000000000") + b"\3www\2de\0"),
    "vxlan without a VNI": (4789, bytes(8) + bytes(FRAME / V4)),
    "vxlan of arp": (4789, bytes(VXLAN()) + bytes(FRAME / ARP(pdst="1.1.1.1"))),
    "vxlan of what only says it is ip": (
        4789,
        bytes(VXLAN()) + bytes(Ether(type=0x800)) + DATA * 3,
    ),
    "geneve of another version": (6081, b"\x40" + bytes(GENEVE() / FRAME / V4)[1:]),
    "geneve of nothing": (6081, bytes(GENEVE())),
    "gtp echo": (2152, bytes(GTP_U_Header(gtp_type=1)) + bytes(V4)),
    "gtp of another length": (2152, struct.pack(">BBHI", 0x30, 255, 999, 1) + bytes(V4)),
    "gtp prime": (2152, struct.pack(">BBHI", 0x20, 255, len(V4), 1) + bytes(V4)),
    "teredo of other addresses": (3544, bytes(V6)),
    "teredo that is longer": (3544, bytes(TEREDO) + b"x"),
    "teredo bubble": (3544, bytes(IPv6(src="2001:0::1", dst="2001:0::2", nh=59))),
    "ayiya heartbeat": (5072, bytes([0x41, 0x52, 0x10, 59]) + bytes(40)),
    "ayiya without signature": (5072, b"\x41\x52\x11\x29" + bytes(V6)),
    "text": (2152, b"hello, world\n" * 9),
    "another port": (4790, bytes(VXLAN(flags=8) / FRAME / V4)),
}


@pytest.mark.parametrize("name", NO_TUNNELS)
def test_ordinary_udp_is_no_tunnel(name: str) -> None:
    port, data = NO_TUNNELS[name]
    frames = [bytes(outer() / UDP(sport=5, dport=port) / data)]
    frames.append(bytes(outer() / UDP(sport=port, dport=5) / data))
    s, skipped, _ = Decoder().decode(raw_batch(frames))
    assert len(s.packet) == 0
    assert sum(skipped.values()) == 2
    assert set(skipped) <= {"not_tcp"}


def test_udp_that_is_longer_or_shorter_than_it_says() -> None:
    whole = bytes(vxlan(V4))
    lengths = [whole[:38] + n.to_bytes(2, "big") + whole[40:] for n in (7, 30, 2000)]
    assert payloads(lengths) == ([], 3)
    assert payloads([whole[:38] + b"\0\0" + whole[40:]]) == ([DATA], 0)


def test_fragments_of_a_tunnel() -> None:
    packet = vxlan(IP(src="10.1.1.1", dst="10.1.1.2") / TCP(sport=1234, dport=80) / (DATA * 200))
    frames = [bytes(FRAME / part) for part in fragment(packet[IP], 1000)]
    assert len(frames) > 2
    assert payloads(frames) == ([DATA * 200], len(frames) - 1)


def test_tunnels_in_tunnels_end_somewhere() -> None:
    packet: Packet = V4
    for _ in range(MAX_LAYERS):
        packet = IP(src="1.1.1.1", dst="2.2.2.2") / packet
    s, skipped, _ = Decoder().decode(raw_batch([bytes(FRAME / packet)]))
    assert len(s.packet) == 0
    assert skipped == {"nested": 1}


def test_ping_in_a_tunnel_is_no_tcp() -> None:
    frame = bytes(vxlan(IP(src="10.1.1.1", dst="10.1.1.2") / ICMP()))
    assert Decoder().decode(raw_batch([frame])).skipped == {"not_tcp": 1}


# -- which tunnel it is

Wrap = Callable[..., Packet]


def conversation(wraps: list[tuple[Wrap, int, tuple[str, str]]]) -> list[bytes]:
    """The same conversation in each of the tunnels, packet by packet in turn."""
    frames = []
    for number, (wrap, key, ends) in enumerate(wraps):
        peers = Peers(numbers=[1000 * number, 7000 + number])
        peers.open()
        peers.ask(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
        peers.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number)
        peers.close()
        client = peers.sent[0].source
        frames.append(
            [
                bytes(wrap(IP(s.frame[14:]), ends if s.source == client else ends[::-1], key))
                for s in peers.sent
            ]
        )
    return [frame for turn in zip(*frames, strict=True) for frame in turn]


def imported(frames: list[bytes], size: int) -> Result:
    pipeline = Pipeline("pcap", 1 << 20)
    records = []
    for first in range(0, len(frames), size):
        records += pipeline.feed(raw_batch(frames[first : first + size], first))
    records += pipeline.close()
    assert pipeline.ledger.faults() == []
    return Result([(p, c, b"".join(parts)) for p, c, parts, _, _ in records], pipeline.ledger)


OTHER = ("192.0.2.1", "192.0.2.9")


@pytest.mark.parametrize(
    "wraps",
    [
        [(vxlan, 1, FORTH), (vxlan, 2, FORTH)],
        [(geneve, 1, FORTH), (geneve, 2, FORTH), (vxlan, 1, FORTH), (vxlan, 2, OTHER)],
        [(gtp, 1, FORTH), (gtp, 2, OTHER)],
        [(gre, 1, FORTH), (gre, 2, FORTH), (gre, 1, OTHER)],
        [(ip_in_ip, 0, FORTH), (ip_in_ip, 0, OTHER), (gre, 0, FORTH)],
    ],
)
def test_the_same_endpoints_in_different_tunnels(wraps: list[tuple[Wrap, int, Any]]) -> None:
    """Both directions meet, and nothing else does, in whatever batches."""
    frames = conversation(wraps)
    whole = imported(frames, len(frames))
    for size in (1, 3, 7):
        assert imported(frames, size).encoded == whole.encoded
    assert whole.ledger.complete == whole.ledger.exchanges == len(wraps)
    assert whole.ledger.connections == len(wraps)
    assert len({e.connection.id for e in whole.exchanges}) == len(wraps)


def test_both_directions_of_gtp_have_other_identifiers() -> None:
    frames = conversation([(gtp, 1, FORTH)])
    for row in range(0, len(frames), 2):
        packet = Ether(frames[row])
        packet[GTP_U_Header].teid = 77 + row
        del packet[IP].chksum
        frames[row] = bytes(packet)
    assert imported(frames, 4).ledger.complete == 1


def test_what_the_recording_says_of_tunnels() -> None:
    frames = [bytes(Ether(f)) for f in conversation([(vxlan, 7, FORTH)])]
    nested = [bytes(outer() / GRE() / Ether(f)[IP]) for f in frames]
    for given, wanted in (
        (frames, [pb.Tunnel(kind="vxlan", key=7)]),
        (nested, [pb.Tunnel(kind="gre", addresses=FORTH), pb.Tunnel(kind="vxlan", key=7)]),
    ):
        (exchange,) = imported(given, 3).exchanges
        assert list(exchange.connection.tunnels) == wanted


def test_identifiers_do_not_depend_on_other_tunnels() -> None:
    alone = imported(conversation([(vxlan, 2, FORTH)]), 1).exchanges[0]
    both = imported(conversation([(vxlan, 2, FORTH), (vxlan, 1, FORTH)]), 1).exchanges
    assert alone.connection.id in {e.connection.id for e in both}


def test_too_many_tunnels_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wiretape.agent.packets.columns.MAX_PATHS", 3)
    frames = [bytes(vxlan(V4, vni=n)) for n in (1, 2, 3, 1)]
    s, skipped, _ = Decoder().decode(raw_batch(frames))
    assert len(s.packet) == 3
    assert skipped == {"too_many_tunnels": 1}
    assert s.paths[1:] == [(Tunnel("vxlan", 1, ()),), (Tunnel("vxlan", 2, ()),)]
