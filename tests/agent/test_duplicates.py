"""Copies of packets count once; retransmissions are none."""

import random
import struct
from dataclasses import dataclass

import numpy as np
import pytest
from tcp_traffic import ACK, BEGIN_NS, MS, SYN, Peers, Result, raw_batch
from tcp_traffic import Segment as Sent

from wiretape.agent import duplicates
from wiretape.agent.packets.link_layers import LINUX_SLL2
from wiretape.agent.pipeline import Pipeline

US = 1000


@dataclass
class Packet:
    sent: Sent
    at_ns: int
    ident: int = 0
    interface: int = -1
    hops: int = 64
    vlan: int = 0
    captured: int | None = None

    @property
    def frame(self) -> bytes:
        frame = bytearray(self.sent.frame)
        if frame[12:14] == b"\x08\0":
            frame[18:20] = self.ident.to_bytes(2, "big")
            frame[22] = self.hops
        else:
            frame[14 + 7] = self.hops
        if self.vlan:
            frame[12:12] = struct.pack(">HH", 0x8100, self.vlan)
        return bytes(frame)


def conversation(ident: int = 100, v6: bool = False, step_ns: int = MS) -> list[Packet]:
    ends = {"client": ("::1", 4000), "server": ("::2", 80)} if v6 else {}
    peers = Peers(step_ns=step_ns, **ends)  # type: ignore[arg-type]
    peers.open()
    for number in range(3):
        peers.ask(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
        peers.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n" + bytes(900), 500)
        peers.segment(0)
    peers.close()
    return [Packet(s, s.at_ns, ident + n if ident else 0) for n, s in enumerate(peers.sent)]


def copied(
    packets: list[Packet], after_ns: int, interface: int = -1, **changes: int
) -> list[Packet]:
    """Each packet, and a copy of it some time later, in the order of time."""
    copies = [
        Packet(**{**vars(p), "at_ns": p.at_ns + after_ns, "interface": interface, **changes})
        for p in packets
    ]
    return sorted([*packets, *copies], key=lambda p: p.at_ns)


def imported(packets: list[Packet], size: int = 0) -> Result:
    pipeline = Pipeline("pcap", 1 << 20)
    records = []
    size = size or len(packets)
    for first in range(0, len(packets), size):
        part = packets[first : first + size]
        frames = [p.frame for p in part]
        kept = [f[: p.captured] for f, p in zip(frames, part, strict=True)]
        batch = raw_batch(kept, first, [p.at_ns for p in part], [len(f) for f in frames])
        batch.interface = np.array([p.interface for p in part], np.int64)
        records += pipeline.feed(batch)
    records += pipeline.close()
    assert pipeline.ledger.faults() == []
    return Result([(p, c, b"".join(parts)) for p, c, parts, _, _ in records], pipeline.ledger)


def in_all_batches(packets: list[Packet]) -> Result:
    whole = imported(packets)
    for size in (1, 2, 7):
        other = imported(packets, size)
        assert other.encoded == whole.encoded
        assert other.counts == whole.counts
    return whole


ONE, OTHER = {"interface": 0}, {"interface": 3}


@pytest.mark.parametrize(
    ("packets", "what_of_it"),
    [
        (copied(conversation(), 5 * US), "all"),
        (copied(conversation(), 30 * MS), "all"),
        (copied(conversation(), 120 * MS), "none"),
        (copied(conversation(), 5 * US, hops=63), "all"),
        (copied(conversation(), 5 * US, ident=7), "none"),
        (copied(conversation(0), 5 * US), "data"),
        (copied(conversation(0), 2 * MS), "none"),
        (copied(conversation(0, v6=True), 5 * US), "data"),
        (copied(conversation(0, v6=True), 5 * US, hops=63), "data"),
        (copied(conversation(0, v6=True), 150 * US), "none"),
    ],
)
def test_copies_where_the_interface_is_not_told(packets: list[Packet], what_of_it: str) -> None:
    result = in_all_batches(packets)
    check(result, packets, what_of_it)


@pytest.mark.parametrize(
    ("v6", "after_ns", "what_of_it"),
    [
        (False, 5 * US, "all"),
        (True, 5 * US, "all"),
        (True, 7 * MS, "all"),
        (True, 30 * MS, "none"),
    ],
)
def test_copies_of_another_interface(v6: bool, after_ns: int, what_of_it: str) -> None:
    packets = conversation(0 if v6 else 9, v6)
    for packet in packets:
        packet.interface = 1
    packets = copied(packets, after_ns, 2)
    check(in_all_batches(packets), packets, what_of_it)


def check(result: Result, packets: list[Packet], what_of_it: str) -> None:
    copies = {
        "none": 0,
        "all": len(packets) // 2,
        "data": sum(bool(p.sent.payload) for p in packets) // 2,
    }[what_of_it]
    ledger = result.ledger
    assert ledger.duplicate_packets == copies
    assert ledger.packets == ledger.packets_decoded == len(packets)
    assert ledger.complete == ledger.exchanges == 3
    payload = sum(len(p.sent.payload) for p in packets) // 2
    assert ledger.payload_bytes == (payload if copies else 2 * payload)
    assert ledger.delivered_bytes == payload


def test_a_packet_seen_three_times_counts_once() -> None:
    packets = conversation()
    packets = copied(copied(packets, 5 * US), 11 * US)
    assert in_all_batches(packets).ledger.duplicate_packets == len(packets) * 3 // 4


def test_retransmissions_are_none() -> None:
    """Whatever of it: sent anew by the host, so it has an identification of its own, or comes later
    than any loss could have been noticed."""
    first = conversation()
    again = [Packet(p.sent, p.at_ns + MS // 2, p.ident + 1000) for p in first]
    result = in_all_batches(sorted(first + again, key=lambda p: p.at_ns))
    assert result.ledger.duplicate_packets == 0
    assert result.ledger.retransmitted_bytes == sum(len(p.sent.payload) for p in first)


def test_other_bytes_are_no_copy() -> None:
    """Offloading leaves equal checksums, so equal headers tell nothing of the bytes."""
    peers = Peers()
    peers.open()
    peers.ask(b"GET /0 HTTP/1.1\r\n\r\n")
    sent = peers.sent[-1]
    for payload, copies in ((sent.payload + b"GET", 0), (b"P" + sent.payload[1:], 0)):
        other = Sent(sent.source, sent.target, sent.seq, sent.ack, sent.flags, payload)
        packets = [Packet(s, s.at_ns, 5) for s in (*peers.sent, other)]
        packets[-1].at_ns = packets[-2].at_ns + US
        assert in_all_batches(packets).ledger.duplicate_packets == copies


def test_vlans_are_told_apart() -> None:
    """A trunk and an access port: nothing proves that both are one network."""
    packets = conversation()
    tagged = copied(packets, 5 * US, vlan=7)
    result = in_all_batches(tagged)
    assert result.ledger.duplicate_packets == 0
    assert result.ledger.connections == 2


def test_copies_are_remembered_so_far_and_no_farther(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "REACH", 5)
    packets = [Packet(p.sent, p.at_ns, p.ident) for p in conversation(step_ns=US)]
    for distance, copies in ((4, 1), (5, 1), (6, 0)):
        again = [*packets[: 3 + distance], packets[3], *packets[3 + distance :]]
        assert in_all_batches(again).ledger.duplicate_packets == copies


def test_as_many_bytes_are_compared_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    packets = conversation(step_ns=US)
    place = next(n for n, p in enumerate(packets) if p.sent.payload)
    for between in range(1, len(packets) - place):
        again = [*packets[: place + between], packets[place], *packets[place + between :]]
        size = sum(len(p.sent.payload) for p in again[place + 1 : place + between + 1])
        for limit, copies in ((size, 1), (size - 1, 0)):
            monkeypatch.setattr(duplicates, "COMPARED_BYTES", limit)
            assert in_all_batches(again).ledger.duplicate_packets == copies


def test_interfaces_of_cooked_captures() -> None:
    """LINKTYPE_LINUX_SLL2 tells them, "any" in a classic capture."""
    packets = conversation(0, v6=True)
    frames, times = [], []
    for packet in packets:
        for interface in (2, 5):
            head = struct.pack(">HHIHBB8s", 0x86DD, 0, interface, 1, 0, 6, bytes(8))
            frames.append(head + packet.frame[14:])
            times.append(packet.at_ns + interface * 50 * US)
    pipeline = Pipeline("pcap", 1 << 20)
    pipeline.feed(raw_batch(frames, 0, times, link_type=LINUX_SLL2))
    pipeline.close()
    assert pipeline.ledger.duplicate_packets == len(packets)


def test_random_copies_in_random_batches() -> None:
    chance = random.Random(5)
    packets: list[Packet] = []
    for flow in range(6):
        peers = Peers(client=("10.0.0.1", 5000 + flow), at_ns=BEGIN_NS + flow, step_ns=20 * US)
        peers.open()
        for number in range(200):
            peers.segment(0, ACK, b"x" * 5) if number % 3 else peers.segment(1, ACK)
        packets += [Packet(s, s.at_ns, chance.randrange(1, 65536)) for s in peers.sent]
    copies = [
        Packet(p.sent, p.at_ns + chance.randrange(90 * US), p.ident)
        for p in packets
        if chance.random() < 0.4
    ]
    both = sorted(packets + copies, key=lambda p: p.at_ns)
    whole = imported(both)
    assert whole.ledger.duplicate_packets == len(copies)
    assert [p.sent.flags for p in both].count(SYN) >= 6
    for size in (1, 3, 50, 997):
        assert imported(both, size).counts == whole.counts
