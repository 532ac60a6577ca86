"""Traffic made by hand: TCP conversations as packets, and what the pipeline makes of them.

Frames are packed with struct: hypothesis makes thousands of them, and scapy takes a millisecond
for each. `test_packets.py` holds the decoder against scapy instead.
"""

import ipaddress
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from wiretape.agent.ledger import Ledger
from wiretape.agent.packets import PacketBatch
from wiretape.agent.packets.columns import ETHERNET, LINK
from wiretape.agent.pipeline import Pipeline
from wiretape.agent.tcp.memory import Traffic
from wiretape.exchange.endpoints import ServiceEndpoint
from wiretape.exchange.records import CONNECTION_ENDS, EXCHANGES
from wiretape.exchange.v1 import exchange_pb2 as pb

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
BEGIN_NS = 1_700_000_000 * 10**9
MS, SECOND = 10**6, 10**9
MAX_CONTENT = 1 << 20
CLIENT, SERVER = ("10.0.0.1", 40000), ("10.0.0.2", 80)

Address = tuple[str, int]


@dataclass(frozen=True)
class Segment:
    """One TCP segment as it stands on the wire; `captured` bytes of its payload were kept."""

    source: Address
    target: Address
    seq: int
    ack: int = 0
    flags: int = ACK
    payload: bytes = b""
    at_ns: int = BEGIN_NS
    captured: int | None = None

    @property
    def frame(self) -> bytes:
        """Ethernet, IPv4 or IPv6, TCP; without checksums, as offloading leaves them."""
        addresses = b"".join(
            ipaddress.ip_address(a).packed for a in (self.source[0], self.target[0])
        )
        tcp = struct.pack(
            ">HHIIBBHHH",
            self.source[1], self.target[1], self.seq % 2**32, self.ack % 2**32,
            0x50, self.flags, 65535, 0, 0,
        )  # fmt: skip
        size = len(tcp) + len(self.payload)
        if len(addresses) == 8:
            network = struct.pack(">BBHHHBBH", 0x45, 0, 20 + size, 0, 0, 64, 6, 0) + addresses
            kind = 0x0800
        else:
            network = struct.pack(">IHBB", 0x60000000, size, 6, 64) + addresses
            kind = 0x86DD
        return bytes(12) + kind.to_bytes(2, "big") + network + tcp + self.payload


@dataclass
class Peers:
    """Two sides that talk; every method sends one or more segments and returns them.

    `numbers` are the next sequence numbers of client and server.
    """

    client: Address = CLIENT
    server: Address = SERVER
    numbers: list[int] = field(default_factory=lambda: [1000, 5000])
    at_ns: int = BEGIN_NS
    step_ns: int = MS
    sent: list[Segment] = field(default_factory=list)

    def segment(self, side: int, flags: int = ACK, payload: bytes = b"") -> Segment:
        ends = (self.client, self.server) if side == 0 else (self.server, self.client)
        ack = self.numbers[1 - side] if flags & ACK else 0
        made = Segment(*ends, self.numbers[side] % 2**32, ack % 2**32, flags, payload, self.at_ns)
        self.numbers[side] += len(payload) + bool(flags & SYN) + bool(flags & FIN)
        self.at_ns += self.step_ns
        self.sent.append(made)
        return made

    def open(self) -> list[Segment]:
        return [self.segment(0, SYN), self.segment(1, SYN | ACK), self.segment(0)]

    def say(self, side: int, data: bytes, size: int = 1460) -> list[Segment]:
        """`data` in segments of up to `size` bytes."""
        return [
            self.segment(side, ACK | PSH, data[at : at + size]) for at in range(0, len(data), size)
        ]

    def ask(self, data: bytes, size: int = 1460) -> list[Segment]:
        return self.say(0, data, size)

    def answer(self, data: bytes, size: int = 1460) -> list[Segment]:
        return self.say(1, data, size)

    def close(self, first: int = 0) -> list[Segment]:
        return [
            self.segment(first, FIN | ACK), self.segment(1 - first, FIN | ACK), self.segment(first),
        ]  # fmt: skip


def at_times(
    segments: Iterable[Segment], begin_ns: int = BEGIN_NS, step: int = MS
) -> list[Segment]:
    """The segments in the order given, each `step` after the one before."""
    return [replace(s, at_ns=begin_ns + n * step) for n, s in enumerate(segments)]


def batch_of(segments: Sequence[Segment], first: int = 0) -> PacketBatch:
    frames = [s.frame for s in segments]
    wire = [len(frame) for frame in frames]
    captured = [
        size if s.captured is None else size - len(s.payload) + s.captured
        for s, size in zip(segments, wire, strict=True)
    ]
    return raw_batch(
        [frame[:size] for frame, size in zip(frames, captured, strict=True)],
        first, [s.at_ns for s in segments], wire,
    )  # fmt: skip


def raw_batch(
    frames: Sequence[bytes],
    first: int = 0,
    at_ns: Sequence[int] | None = None,
    wire: Sequence[int] | None = None,
    link_type: int = ETHERNET,
) -> PacketBatch:
    """Captured bytes of packets as a batch, with some other bytes before and behind."""
    sizes = np.array([len(frame) for frame in frames], np.int64)
    buffer = b"\xaa" * 5 + b"".join(frames) + b"\xbb" * 8
    return PacketBatch(
        buffer=np.frombuffer(buffer, np.uint8),
        first=first,
        start=5 + np.cumsum(sizes) - sizes,
        captured=sizes,
        wire=sizes if wire is None else np.array(wire, np.int64),
        at_ns=np.array([BEGIN_NS] * len(frames) if at_ns is None else at_ns, np.int64),
        layer=np.full(len(frames), LINK + link_type),
    )


@dataclass
class Result:
    """What came out of a pipeline: records as (packet, channel, bytes), and the ledger."""

    records: list[tuple[int, int, bytes]]
    ledger: Ledger

    @property
    def encoded(self) -> list[tuple[int, bytes]]:
        """Channel and bytes: what a recording holds."""
        return [(channel, data) for _, channel, data in self.records]

    @property
    def exchanges(self) -> list[pb.Exchange]:
        return [pb.Exchange.FromString(d) for _, channel, d in self.records if channel == EXCHANGES]

    @property
    def ends(self) -> list[pb.ConnectionEnd]:
        return [
            pb.ConnectionEnd.FromString(data)
            for _, channel, data in self.records
            if channel == CONNECTION_ENDS
        ]

    @property
    def counts(self) -> dict[str, object]:
        """The ledger without what may differ between runs."""
        return {key: value for key, value in self.ledger.as_json().items() if key != "seconds"}


def batches_of(segments: Sequence[Segment], sizes: Sequence[int]) -> list[list[Segment]]:
    """`segments` cut into batches of `sizes`, repeated until all are taken; 0 takes all."""
    batches, at, turn = [], 0, 0
    while at < len(segments):
        size = sizes[turn % len(sizes)] or len(segments)
        batches.append(list(segments[at : at + size]))
        at += size
        turn += 1
    return batches


def run(
    segments: Sequence[Segment],
    sizes: Sequence[int] = (0,),
    fast: bool = True,
    services: Iterable[ServiceEndpoint] = (),
    max_content: int = MAX_CONTENT,
    traffic: Traffic | None = None,
) -> Result:
    """Feeds the segments in batches of `sizes`; checks the ledger and the order of records."""
    pipeline = Pipeline("pcap", max_content, services, fast)
    if traffic is not None:
        pipeline.traffic = traffic
    records: list[tuple[int, int, bytes]] = []
    first = 0
    for part in batches_of(segments, sizes):
        for packet, channel, parts, size, _ in pipeline.feed(batch_of(part, first)):
            records.append((packet, channel, joined(parts, size)))
        first += len(part)
    for packet, channel, parts, size, _ in pipeline.close():
        records.append((packet, channel, joined(parts, size)))
    assert pipeline.ledger.faults() == []
    return Result(records, pipeline.ledger)


def joined(parts: Iterable[bytes], size: int) -> bytes:
    encoded = b"".join(parts)
    assert len(encoded) == size, "parts do not add up to their size"
    return encoded


SPLITS: tuple[tuple[int, ...], ...] = ((1,), (2,), (7,), (3, 1, 5), (0,))


def run_all_ways(
    segments: Sequence[Segment],
    services: Sequence[ServiceEndpoint] = (),
    splits: Sequence[tuple[int, ...]] = SPLITS,
    exact: bool = True,
    traffic: Callable[[], Traffic] = Traffic,
    max_content: int = MAX_CONTENT,
) -> Result:
    """The result, after a check that neither batches nor the fast lane change it in any way.

    Not `exact`, the order of records and the names of reasons are left out.
    """
    reference = run(segments, splits[0], False, services, max_content, traffic())
    for sizes in splits:
        for fast in (False, True):
            other = run(segments, sizes, fast, services, max_content, traffic())
            way = f"batches of {sizes}, fast={fast}"
            if exact:
                assert other.encoded == reference.encoded, way
                assert other.counts == reference.counts, way
            else:
                assert unordered(other) == unordered(reference), way
    return reference


def unordered(result: Result) -> list[bytes]:
    ends = result.ends
    for end in ends:
        end.client.undecoded_reason = end.server.undecoded_reason = ""
    return sorted(m.SerializeToString() for m in (*result.exchanges, *ends))
