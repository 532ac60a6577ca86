"""The decoder's columns against scapy, which made the packets."""

import ipaddress
import struct
from collections.abc import Sequence

import numpy as np
import pytest
from scapy.all import (
    IP,
    LLC,
    SNAP,
    TCP,
    UDP,
    CookedLinux,
    CookedLinuxV2,
    Dot1AD,
    Dot1Q,
    Dot11,
    Dot11QoS,
    Ether,
    IPOption_NOP,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    Loopback,
    Packet,
    RadioTap,
    Raw,
    fragment,
    fragment6,
)
from tcp_traffic import raw_batch

from wiretape.agent.packets import Decoded, Decoder
from wiretape.agent.packets.columns import ETHERNET, LINK
from wiretape.agent.packets.link_layers import (
    IPV4_ONLY,
    IPV6_ONLY,
    LINUX_SLL,
    LINUX_SLL2,
    LOOP,
    NFLOG,
    NULL,
    RAW,
    RAW_BSD,
)
from wiretape.agent.packets.wireless import IEEE802_11, IEEE802_11_RADIOTAP

V4 = {"src": "10.0.0.1", "dst": "192.168.7.9"}
V6 = {"src": "2001:db8::1", "dst": "fe80::9"}
MACS = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}
ETHER = Ether(**MACS)
WLAN = {f"addr{n}": f"02:00:00:00:00:0{n}" for n in (1, 2, 3)}
"""With addresses of its own: scapy would ask the network for them."""
DATA = b"GET / HTTP/1.1\r\n\r\n"


def tcp(data: bytes = DATA, **changes: object) -> Packet:
    return TCP(**{"sport": 40000, "dport": 80, "seq": 7, "ack": 9, "flags": "PA", **changes}) / data


def decode(frames: Sequence[bytes], link_type: int = ETHERNET, **columns: object) -> Decoded:
    return Decoder().decode(raw_batch(frames, link_type=link_type, **columns))  # type: ignore[arg-type]


def address(high: int, low: int) -> str:
    whole = ipaddress.IPv6Address(int(high) << 64 | int(low))
    return str(whole.ipv4_mapped or whole)


def check(decoded: Decoded, packets: Sequence[Packet], data: bytes = DATA) -> None:
    """Every packet gave one segment, whose columns are what scapy says of it."""
    s = decoded.segments
    assert decoded.skipped == {}
    assert s.packet.tolist() == list(range(len(packets)))
    for row, packet in enumerate(packets):
        segment = packet[TCP]
        network = segment.underlayer
        while not isinstance(network, IP | IPv6):
            network = network.underlayer
        assert address(s.source_high[row], s.source_low[row]) == network.src
        assert address(s.target_high[row], s.target_low[row]) == network.dst
        assert (s.source_port[row], s.target_port[row]) == (segment.sport, segment.dport)
        assert (s.seq[row], s.ack[row]) == (segment.seq, segment.ack)
        assert s.flags[row] == int(segment.flags) & 0xFF
        assert s.missing[row] == 0
        start = int(s.start[row])
        assert s.buffer[start : start + int(s.length[row])].tobytes() == data


def built(packet: Packet) -> Packet:
    """With lengths and checksums filled in."""
    made: Packet = type(packet)(bytes(packet))
    return made


SNAP_V4, SNAP_V6 = (LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(code=c) for c in (0x800, 0x86DD))

LINKS = [
    (ETHERNET, lambda p: ETHER / p),
    (LINUX_SLL, lambda p: CookedLinux(proto=0x0800 if IP in p else 0x86DD) / p),
    (LINUX_SLL2, lambda p: CookedLinuxV2(proto=0x0800 if IP in p else 0x86DD) / p),
    (LINUX_SLL, lambda p: CookedLinux(proto=4) / (SNAP_V4 if IP in p else SNAP_V6) / p),
    (RAW, lambda p: p),
    (RAW_BSD, lambda p: p),
    (14, lambda p: p),
    (NULL, lambda p: Loopback(type=2 if IP in p else 30) / p),
    (NULL, lambda p: Raw((2 if IP in p else 10).to_bytes(4, "big")) / p),
    (LOOP, lambda p: Raw((2 if IP in p else 24).to_bytes(4, "big")) / p),
]


@pytest.mark.parametrize(("link_type", "over"), LINKS)
def test_link_types(link_type: int, over: object) -> None:
    packets = [built(IP(**V4) / tcp()), built(IPv6(**V6) / tcp())]
    frames = [bytes(over(p)) for p in packets]  # type: ignore[operator]
    check(decode(frames, link_type), packets)


def attribute(kind: int, value: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "HH", len(value) + 4, kind) + value + bytes(-len(value) % 4)


@pytest.mark.parametrize("order", ["<", ">"])
def test_nflog(order: str) -> None:
    packets = [built(IP(**V4) / tcp()), built(IPv6(**V6) / tcp())]
    frames = [
        bytes([family, 0, 0, 5])
        + attribute(1, bytes(4), order)
        + attribute(10, b"odd length\0", order)
        + attribute(0x8000 | 19, bytes(40), order)
        + attribute(9, bytes(packet), order)
        for family, packet in zip((2, 10), packets, strict=True)
    ]
    check(decode(frames, NFLOG), packets)
    without = [f[: 4 + 8 + 16] for f in frames] + [
        b"\x02\0\0\0" + bytes(8),
        b"\x07" + frames[0][1:],
    ]
    assert decode(without, NFLOG).skipped == {"not_ip": 4}
    for cut in range(len(frames[0])):
        decoded = decode([frames[0][:cut]], NFLOG, wire=[len(frames[0])])
        assert len(decoded.segments.packet) + sum(decoded.skipped.values()) == 1


WIRELESS = [
    Dot11(type=2, subtype=0, FCfield=1, **WLAN),
    Dot11(type=2, subtype=0, FCfield=0x0A, **WLAN),
    Dot11(type=2, subtype=0, FCfield=3, addr4="02:00:00:00:00:09", **WLAN),
    Dot11(type=2, subtype=8, FCfield=1, **WLAN) / Dot11QoS(TID=5),
    Dot11(type=2, subtype=8, FCfield=3, addr4="02:00:00:00:00:09", **WLAN)
    / Dot11QoS(),
    Dot11(type=2, subtype=8, FCfield=0x81, **WLAN) / Dot11QoS() / Raw(bytes(4)),
]  # fmt: skip
RADIOTAPS = [
    b"",
    bytes(RadioTap()),
    b"\0\0\x0c\0\x04\x80\0\0\x02\0\x18\0",
    bytes(RadioTap(present="TSFT+Flags+Rate", mac_timestamp=9, Flags="FCS", Rate=2)),
    b"\0\0\x14\0\x03\0\0\xa0\x02\0\0\0" + bytes(8),
]


@pytest.mark.parametrize("radio", RADIOTAPS)
@pytest.mark.parametrize("frame", WIRELESS)
def test_wireless(frame: Packet, radio: bytes) -> None:
    packets = [built(IP(**V4) / tcp()), built(IPv6(**V6) / tcp())]
    frames = [
        radio + bytes(frame / snap / packet) + b"\xfc\xfc\xfc\xfc"
        for snap, packet in zip((SNAP_V4, SNAP_V6), packets, strict=True)
    ]
    link_type = IEEE802_11_RADIOTAP if radio else IEEE802_11
    check(decode(frames, link_type), packets)
    for cut in range(len(frames[0])):
        decoded = decode([frames[0][:cut]], link_type, wire=[len(frames[0])])
        assert len(decoded.segments.packet) + sum(decoded.skipped.values()) == 1


@pytest.mark.parametrize("time", [b"", bytes(8)])
def test_wireless_with_a_padded_header(time: bytes) -> None:
    radio = bytes([0, 0, 9 + len(time), 0, 3 if time else 2, 0, 0, 0]) + time + b"\x20"
    packet = built(IP(**V4) / tcp())
    frame = bytes(Dot11(type=2, subtype=8, FCfield=1, **WLAN) / Dot11QoS())
    assert len(frame) == 26
    frames = [radio + frame + b"\0\0" + bytes(SNAP_V4 / packet)]
    check(decode(frames, IEEE802_11_RADIOTAP), [packet])


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (Dot11(type=0, subtype=8, **WLAN), "not_ip"),
        (Dot11(type=1, subtype=13), "not_ip"),
        (Dot11(type=2, subtype=4, **WLAN), "not_ip"),
        (Dot11(type=2, subtype=12, **WLAN), "not_ip"),
        (Dot11(type=2, subtype=0, FCfield=0x40, **WLAN), "encrypted"),
        (Dot11(type=2, subtype=0, FCfield=4, **WLAN), "wlan_in_pieces"),
        (Dot11(type=2, subtype=0, SC=3, **WLAN), "wlan_in_pieces"),
        (Dot11(type=2, subtype=8, **WLAN) / Dot11QoS(A_MSDU_Present=1), "wlan_in_pieces"),
    ],
)
def test_wireless_without_a_packet(frame: Packet, reason: str) -> None:
    decoded = decode([bytes(frame / SNAP_V4 / IP(**V4) / tcp())], IEEE802_11)
    assert decoded.skipped == {reason: 1}


def test_radiotap_that_is_none() -> None:
    for start in (b"\1\0\x08\0", b"\0\0\x07\0", b"\0\0\xff\xff"):
        assert len(decode([start + bytes(60)], IEEE802_11_RADIOTAP).segments.packet) == 0


def test_link_types_of_one_ip_version() -> None:
    v4, v6 = built(IP(**V4) / tcp()), built(IPv6(**V6) / tcp())
    check(decode([bytes(v4)], IPV4_ONLY), [v4])
    check(decode([bytes(v6)], IPV6_ONLY), [v6])


def test_link_types_of_one_batch() -> None:
    packet = built(IP(**V4) / tcp())
    batch = raw_batch([bytes(ETHER / packet), bytes(packet)])
    batch.layer = LINK + np.array([ETHERNET, RAW])
    check(Decoder().decode(batch), [packet, packet])


@pytest.mark.parametrize("link_type", [195, 999, 0x20000, 0x0FFFFFFF])
def test_unknown_link_type_is_counted(link_type: int) -> None:
    decoded = decode([bytes(50)], link_type)
    assert list(decoded.skipped.values()) == [1]
    assert str(link_type) in next(iter(decoded.skipped))


@pytest.mark.parametrize("inner", [IP(**V4), IPv6(**V6)])
def test_vlans(inner: Packet) -> None:
    tags = [
        (Dot1Q(vlan=5),),
        (Dot1AD(vlan=100), Dot1Q(vlan=200)),
        (Dot1Q(vlan=1), Dot1Q(vlan=2), Dot1Q(vlan=3), Dot1Q(vlan=4)),
    ]
    packets = []
    for layers in tags:
        packet = ETHER
        for layer in layers:
            packet = packet / layer
        packets.append(built(packet / inner / tcp()))
    decoded = decode([bytes(p) for p in packets])
    check(decoded, packets)
    assert decoded.segments.vlans.tolist() == [
        5, 100 << 12 | 200, 1 << 36 | 2 << 24 | 3 << 12 | 4,
    ]  # fmt: skip


def test_snap() -> None:
    packet = built(ETHER / LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(code=0x800) / IP(**V4) / tcp())
    frame = bytes(packet)
    frame = frame[:12] + (len(frame) - 14).to_bytes(2, "big") + frame[14:]
    check(decode([frame]), [packet])


def test_options_of_ip_and_tcp() -> None:
    packets = [
        built(ETHER / IP(**V4, options=[IPOption_NOP()] * n) / tcp(options=o))
        for n in (0, 4, 40)
        for o in ([], [("MSS", 1460)], [("Timestamp", (1, 2)), ("NOP", None), ("WScale", 7)])
    ]
    check(decode([bytes(p) for p in packets]), packets)


def test_ipv6_extension_headers() -> None:
    chains = [
        IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt(), IPv6ExtHdrRouting(addresses=["::1"]),
        IPv6ExtHdrHopByHop() / IPv6ExtHdrRouting() / IPv6ExtHdrDestOpt(),
        IPv6ExtHdrFragment(id=3),
    ]  # fmt: skip
    packets = [built(ETHER / IPv6(**V6) / chain / tcp()) for chain in chains]
    check(decode([bytes(p) for p in packets]), packets)


def test_ip_in_ip() -> None:
    packets = [
        built(ETHER / IP(src="1.1.1.1", dst="2.2.2.2") / IP(**V4) / tcp()),
        built(ETHER / IP(src="1.1.1.1", dst="2.2.2.2") / IPv6(**V6) / tcp()),
    ]
    decoded = decode([bytes(p) for p in packets])
    check(decoded, packets)


def test_padding_of_ethernet_is_no_payload() -> None:
    packets = [built(ETHER / IP(**V4) / tcp(b"")), built(ETHER / IPv6(**V6) / tcp(b"a"))]
    for packet, data in zip(packets, (b"", b"a"), strict=True):
        check(decode([bytes(packet) + bytes(30)]), [packet], data)


def test_jumbograms() -> None:
    """RFC 2675: the length stands in an option; Linux calls it BIG TCP."""
    data = bytes(range(256)) * 400
    segment = bytes(IPv6(**V6, plen=0) / tcp(data))[40:]
    length = 8 + len(segment)
    head = bytes(ETHER / IPv6(**V6, nh=0, plen=0))
    hop_by_hop = b"\x06\0\xc2\x04" + length.to_bytes(4, "big")
    v4 = bytearray(bytes(ETHER / IP(**V4) / tcp())[: 14 + 20]) + segment
    v4[16:18] = b"\0\0"
    for frame in (head + hop_by_hop + segment, bytes(v4)):
        s, skipped, _ = decode([frame])
        assert skipped == {}
        assert (s.length[0], s.missing[0]) == (len(data), 0)
        s = decode([frame[:1000]], wire=[len(frame)]).segments
        assert s.length[0] + s.missing[0] == len(data)


def test_wrong_checksums_of_ipv4_are_counted_and_accepted() -> None:
    packets = [
        built(ETHER / IP(**V4, options=[IPOption_NOP()] * n, id=i) / tcp())
        for n in (0, 4, 12, 40)
        for i in (0, 7, 0xFFFF)
    ]
    frames = [bytes(p) for p in packets]
    assert decode(frames).bad_checksums == 0
    wrong = [f[:24] + bytes(2) + f[26:] for f in frames]
    decoded = decode(wrong + frames)
    assert decoded.bad_checksums == len(wrong)
    check(decoded, packets * 2)
    # Options that were not captured prove nothing.
    assert decode([frames[-1][:50]], wire=[len(frames[-1])]).bad_checksums == 0


def test_lengths_of_zero_are_those_of_offloaded_segments() -> None:
    v4, v6 = built(ETHER / IP(**V4) / tcp()), built(ETHER / IPv6(**V6) / tcp())
    zero4 = bytes(v4)[:16] + b"\0\0" + bytes(v4)[18:]
    zero6 = bytes(v6)[:18] + b"\0\0" + bytes(v6)[20:]
    check(decode([zero4, zero6]), [v4, v6])


def test_snapped_packets() -> None:
    """Wherever the cut is: what was captured of the payload, and how much more was sent."""
    packet = built(ETHER / IP(**V4) / tcp(options=[("MSS", 1460)]))
    whole = bytes(packet)
    header = len(whole) - len(DATA)
    for cut in range(len(whole)):
        decoded = decode([whole[:cut]], wire=[len(whole)])
        s = decoded.segments
        if cut < 14 + 20 + 20:
            assert decoded.skipped == {"truncated": 1}, cut
            assert len(s.packet) == 0
        else:
            assert decoded.skipped == {}
            assert (s.length[0], s.missing[0]) == (
                max(cut - header, 0), len(DATA) - max(cut - header, 0),
            ), cut  # fmt: skip


MALFORMED = [
    bytes(ETHER / IP(**V4, ihl=4) / tcp()),
    bytes(ETHER / IP(**V4, version=5) / tcp()),
    bytes(ETHER / IP(**V4, len=19) / tcp()),
    bytes(Ether(**MACS, type=0x86DD) / IP(**V4) / tcp()),
    bytes(Ether(**MACS, type=0x800) / IPv6(**V6) / tcp()),
    bytes(ETHER / IP(**V4) / tcp(dataofs=4)),
    bytes(ETHER / IP(**V4) / tcp(dataofs=15)),
    bytes(ETHER / IP(**V4, len=39) / tcp()),
    bytes(ETHER / IP(**V4) / UDP() / Raw(b"x")),
    bytes(Ether(**MACS, type=0x806) / Raw(bytes(28))),
    b"",
    b"\xff" * 13,
    b"\xff" * 2000,
    bytes(2000),
    bytes(ETHER / IPv6(**V6, nh=0) / Raw(bytes(8) * 40)),
    bytes(ETHER / IPv6(**V6, nh=51) / Raw(bytes([6, 200]) + bytes(30))),
]


@pytest.mark.parametrize("frame", MALFORMED)
def test_malformed_packets_are_counted_and_disturb_nobody(frame: bytes) -> None:
    good = built(ETHER / IP(**V4) / tcp())
    decoded = decode([bytes(good), frame, bytes(good)])
    assert sum(decoded.skipped.values()) == 1
    assert decoded.segments.packet.tolist() == [0, 2]


def test_sums_hold_for_packets_cut_and_changed_anywhere() -> None:
    """Every byte of every header set to some value, every length: a segment or a reason."""
    frames = []
    for packet in (
        ETHER / Dot1Q() / IP(**V4) / tcp(),
        ETHER / IPv6(**V6) / IPv6ExtHdrDestOpt() / tcp(),
    ):
        whole = bytes(packet)
        frames += [whole[:cut] for cut in range(len(whole))]
        frames += [
            whole[:at] + bytes([value]) + whole[at + 1 :]
            for at in range(len(whole))
            for value in (0, 1, 0x2C, 0x45, 0x7F, 0x86, 0xFF)
        ]
    decoded = decode(frames)
    assert len(decoded.segments.packet) + sum(decoded.skipped.values()) == len(frames)
    assert (decoded.segments.length >= 0).all()
    assert (decoded.segments.missing >= 0).all()


# -- fragments

BIG = bytes(range(256)) * 20


def v4_fragments(ident: int = 5) -> tuple[Packet, list[bytes]]:
    packet = built(IP(**V4, id=ident) / tcp(BIG))
    return packet, [bytes(ETHER / p) for p in fragment(packet, 1000)]


def v6_fragments(ident: int = 5) -> tuple[Packet, list[bytes]]:
    packet = IPv6(**V6) / IPv6ExtHdrFragment(id=ident) / tcp(BIG)
    whole = built(IPv6(**V6) / tcp(BIG))
    return whole, [bytes(ETHER / p) for p in fragment6(packet, 1000)]


@pytest.mark.parametrize("make", [v4_fragments, v6_fragments])
@pytest.mark.parametrize("arrange", ["in order", "reversed", "twice", "interleaved"])
def test_fragments(make: object, arrange: str) -> None:
    packet, frames = make()  # type: ignore[operator]
    others = make(6)[1]  # type: ignore[operator]
    assert len(frames) > 3
    last = {
        "in order": frames,
        "reversed": frames[::-1],
        "twice": [frames[0], frames[0], *frames[1:]],
        "interleaved": [f for pair in zip(frames, others, strict=True) for f in pair],
    }[arrange]
    for size in (1, 3, 1000):
        decoder = Decoder()
        found: list[tuple[int, bytes]] = []
        skipped = 0
        for first in range(0, len(last), size):
            decoded = decoder.decode(raw_batch(last[first : first + size], first))
            s = decoded.segments
            skipped += sum(decoded.skipped.values())
            assert set(decoded.skipped) <= {"ip_fragment"}
            for row in range(len(s.packet)):
                start = int(s.start[row])
                found.append(
                    (int(s.packet[row]), s.buffer[start : start + int(s.length[row])].tobytes())
                )
        whole = 2 if arrange == "interleaved" else 1
        assert [data for _, data in found] == [BIG] * whole
        assert found[-1][0] == len(last) - 1
        assert skipped == len(last) - whole
    assert packet[TCP].payload.load == BIG


@pytest.mark.parametrize("make", [v4_fragments, v6_fragments])
def test_lost_fragment_gives_no_segment(make: object) -> None:
    _, frames = make()  # type: ignore[operator]
    for lost in range(len(frames)):
        decoded = decode(frames[:lost] + frames[lost + 1 :])
        assert len(decoded.segments.packet) == 0
        assert decoded.skipped == {"ip_fragment": len(frames) - 1}


def test_snapped_fragments_are_not_put_together() -> None:
    _, frames = v4_fragments()
    wire = [len(frame) for frame in frames]
    frames[1] = frames[1][:-1]
    decoded = decode(frames, wire=wire)
    assert len(decoded.segments.packet) == 0
    assert sum(decoded.skipped.values()) == len(frames)
