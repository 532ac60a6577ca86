"""Captures as files: every form of them, cut anywhere, and what is none."""

import gzip
import io
import os
import struct
import threading
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import zstandard
from capture_files import block, enhanced, interface, obsolete, option, pcap, section, simple
from tcp_traffic import BEGIN_NS, MS, Peers, Segment

from wiretape.agent.packets.columns import LINK
from wiretape.agent.sources.pcap_file import CaptureError, open_capture

Packet = tuple[bytes, int, int, int]
"""Captured bytes, time, length on the wire, link type."""


def conversation(count: int = 6) -> list[Segment]:
    peers = Peers(at_ns=BEGIN_NS + 123_456_789, step_ns=MS + 1001)
    peers.open()
    for number in range(count):
        peers.ask(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
    return peers.sent


SEGMENTS = conversation()
FRAMES = [s.frame for s in SEGMENTS]


def packets_of(path: Path | str, batch_bytes: int = 1 << 16) -> list[Packet]:
    """All packets; checks that they are numbered one after the other."""
    packets: list[Packet] = []
    with open_capture(str(path), batch_bytes) as capture:
        collect(capture.batches(), packets)
    return packets


def collect(batches: object, packets: list[Packet]) -> None:
    for batch in batches:  # type: ignore[attr-defined]
        assert batch.first == len(packets)
        columns = batch.start, batch.captured, batch.at_ns, batch.wire, batch.layer - LINK
        for start, captured, at_ns, wire, link in zip(*(c.tolist() for c in columns), strict=True):
            packets.append((batch.buffer[start : start + captured].tobytes(), at_ns, wire, link))


def readable_part(path: Path | str, batch_bytes: int = 1 << 16) -> tuple[list[Packet], str | None]:
    """The packets that were read, and why not more; the message is one line."""
    packets: list[Packet] = []
    try:
        with open_capture(str(path), batch_bytes) as capture:
            collect(capture.batches(), packets)
    except CaptureError as error:
        why = str(error)
    else:
        return packets, None
    assert why
    assert "\n" not in why
    return packets, why


def write(folder: Path, data: bytes, name: str = "capture") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def expected(units_ns: int = 1, segments: Sequence[Segment] = SEGMENTS) -> list[Packet]:
    return [(s.frame, s.at_ns // units_ns * units_ns, len(s.frame), 1) for s in segments]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("ns", [False, True])
@pytest.mark.parametrize("batch_bytes", [200, 333, 1 << 16])
def test_classic(tmp_path: Path, order: str, ns: bool, batch_bytes: int) -> None:
    path = write(tmp_path, pcap(SEGMENTS, order, ns))
    assert packets_of(path, batch_bytes) == expected(1 if ns else 1000)


def test_classic_with_flags_in_its_link_type_and_snapped_packets(tmp_path: Path) -> None:
    frame = FRAMES[3]
    path = write(
        tmp_path, pcap([(frame[:40], BEGIN_NS, len(frame))], link_type=0x10000001 & ~1 | 1)
    )
    assert packets_of(path) == [(frame[:40], BEGIN_NS, len(frame), 1)]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("resolution", "per_second"),
    [(None, 10**6), (3, 10**3), (9, 10**9), (0x80 | 10, 2**10), (12, 10**12), (0x80 | 30, 2**30)],
)
def test_pcapng_resolutions(
    tmp_path: Path, order: str, resolution: int | None, per_second: int
) -> None:
    options = [] if resolution is None else [option(9, bytes([resolution]), order)]
    units = [s.at_ns * per_second // 10**9 % 2**64 for s in SEGMENTS]
    data = section(order) + interface(order, options=options)
    data += b"".join(enhanced(f, u, order=order) for f, u in zip(FRAMES, units, strict=True))
    found = packets_of(write(tmp_path, data))
    assert [p[0] for p in found] == FRAMES
    assert [p[1] for p in found] == [u * 10**9 // per_second for u in units]


def test_pcapng_time_offset(tmp_path: Path) -> None:
    options = [option(9, b"\x09"), option(14, (1000).to_bytes(8, "little"))]
    data = section() + interface(options=options) + enhanced(FRAMES[0], 5)
    assert packets_of(write(tmp_path, data))[0][1] == 1000 * 10**9 + 5


@pytest.mark.parametrize(
    ("options", "units"),
    [
        ([], 2**64 - 1),
        ([option(9, b"\x00")], 2**63),
        ([option(9, b"\x7f")], 10**18),
        ([option(9, b"\xff")], 10**18),
        ([option(14, b"\xff" * 8)], 0),
        ([option(14, b"\xff" * 7 + b"\x7f")], 10**15),
    ],
    ids=["latest", "seconds", "10^-127", "2^-127", "before the epoch", "farthest offset"],
)
def test_pcapng_times_that_no_clock_shows(tmp_path: Path, options: list[bytes], units: int) -> None:
    """They are bad data, no reason to stop: times stay what a recording can hold."""
    data = section() + interface(options=options) + enhanced(FRAMES[0], units)
    data += enhanced(FRAMES[1], units)
    found = packets_of(write(tmp_path, data))
    assert [p[0] for p in found] == FRAMES[:2]
    assert all(0 <= p[1] < 2**63 for p in found)


def mixed_capture() -> tuple[bytes, list[Packet]]:
    """Two sections of different byte order, three interfaces, every kind of block."""
    us = [s.at_ns // 1000 for s in SEGMENTS]
    ns = [s.at_ns for s in SEGMENTS]
    raw = [frame[14:] for frame in FRAMES]
    data = (
        section("<")
        + block(0x0BAD, b"custom, of an odd length")
        + interface("<", options=[option(2, b"eth0")])
        + enhanced(FRAMES[0], us[0], options=option(1, b"a comment") + option(0, b""))
        + interface("<", link_type=101, options=[option(9, b"\x09")])
        + enhanced(raw[1], ns[1], number=1)
        + block(5, bytes(12))
        + obsolete(FRAMES[2], us[2])
        + simple(FRAMES[3])
        + section(">")
        + interface(">", snap_length=60, options=[option(9, b"\x09", ">")])
        + enhanced(FRAMES[4], ns[4], order=">")
        + simple(FRAMES[5][:60], len(FRAMES[5]), ">")
        + block(4, bytes(4), ">")
    )
    wanted = [
        (FRAMES[0], us[0] * 1000, len(FRAMES[0]), 1),
        (raw[1], ns[1], len(raw[1]), 101),
        (FRAMES[2], us[2] * 1000, len(FRAMES[2]), 1),
        (FRAMES[3], 0, len(FRAMES[3]), 1),
        (FRAMES[4], ns[4], len(FRAMES[4]), 1),
        (FRAMES[5][:60], 0, len(FRAMES[5]), 1),
    ]
    return data, wanted


@pytest.mark.parametrize("batch_bytes", [160, 256, 1 << 16])
def test_pcapng_blocks(tmp_path: Path, batch_bytes: int) -> None:
    data, wanted = mixed_capture()
    assert packets_of(write(tmp_path, data), batch_bytes) == wanted


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("batch_bytes", [300, 1 << 16])
def test_blocks_that_hold_no_packets(tmp_path: Path, order: str, batch_bytes: int) -> None:
    """Secrets, names, statistics, journals, custom and unknown ones, larger than any buffer too."""
    us = [s.at_ns // 1000 for s in SEGMENTS]
    data = section(order) + interface(order)
    kinds = [4, 5, 9, 10, 0x0BAD, 0x40000BAD, 0x80000001]
    for size in (0, 7, 5000, 200_000):
        for kind, frame, at in zip(kinds, FRAMES, us, strict=False):
            data += block(kind, bytes(size), order) + enhanced(frame, at, order=order)
    data += block(10, bytes(100_000), order)
    found = packets_of(write(tmp_path, data), batch_bytes)
    assert [p[0] for p in found] == FRAMES[: len(kinds)] * 4
    packets, why = readable_part(write(tmp_path, data[:-50]), batch_bytes)
    assert packets == found
    assert why
    assert "cut in the middle of the block" in why


def test_section_of_a_known_length(tmp_path: Path) -> None:
    inner = interface() + enhanced(FRAMES[0], 5)
    head = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, len(inner))
    data = (block(0x0A0D0D0A, head) + inner) * 2
    assert [p[0] for p in packets_of(write(tmp_path, data))] == [FRAMES[0]] * 2


def test_interfaces_are_told(tmp_path: Path) -> None:
    data = section() + interface() + interface() + enhanced(FRAMES[0], 1, number=1)
    data += obsolete(FRAMES[1], 2, 0) + simple(FRAMES[2])
    with open_capture(str(write(tmp_path, data))) as capture:
        (batch,) = capture.batches()
        assert batch.interface is not None
        assert batch.interface.tolist() == [1, 0, 0]


def test_simple_packets_are_cut_at_the_snap_length(tmp_path: Path) -> None:
    data = section() + interface(snap_length=60) + simple(FRAMES[5][:60], 9000)
    assert packets_of(write(tmp_path, data)) == [(FRAMES[5][:60], 0, 9000, 1)]


@pytest.mark.parametrize("order", ["<", ">"])
def test_kuznetsov(tmp_path: Path, order: str) -> None:
    """Record headers are eight bytes longer: interface number, protocol, packet type."""
    plain = pcap(SEGMENTS, order)
    data = (b"\x34\xcd\xb2\xa1" if order == "<" else b"\xa1\xb2\xcd\x34") + plain[4:24]
    at = 24
    for frame in FRAMES:
        data += plain[at : at + 16] + struct.pack(order + "IHBx", 3, 8, 0) + frame
        at += 16 + len(frame)
    assert packets_of(write(tmp_path, data)) == expected(1000)


def test_large_packets(tmp_path: Path) -> None:
    """BIG TCP; and one that no network carries is damage."""
    frame = FRAMES[3] + bytes(180_000)
    good = pcap([(frame, BEGIN_NS, len(frame))] * 2)
    assert [len(p[0]) for p in packets_of(write(tmp_path, good), 1 << 20)] == [len(frame)] * 2
    bad = pcap([(FRAMES[0], BEGIN_NS, 0), (bytes(9 << 20), BEGIN_NS, 0)], snap_length=0x7FFFFFFF)
    packets, why = readable_part(write(tmp_path, bad), 16 << 20)
    assert len(packets) == 1
    assert why
    assert "damaged" in why


# -- compression and standard input


@pytest.mark.parametrize("batch_bytes", [300, 1 << 16])
def test_compressed(tmp_path: Path, batch_bytes: int) -> None:
    plain = pcap(SEGMENTS)
    half = len(plain) // 2
    forms = {
        "gzip": gzip.compress(plain),
        "two members": gzip.compress(plain[:half]) + gzip.compress(plain[half:]),
        "padded": gzip.compress(plain) + bytes(500),
        "members of nothing": gzip.compress(b"") + gzip.compress(plain) + gzip.compress(b""),
        "zstd": zstandard.compress(plain),
        "two frames": zstandard.compress(plain[:half]) + zstandard.compress(plain[half:]),
        "gzip of pcapng": gzip.compress(mixed_capture()[0]),
    }
    for name, data in forms.items():
        found = packets_of(write(tmp_path, data), batch_bytes)
        assert found == (mixed_capture()[1] if "pcapng" in name else expected(1000)), name


def test_standard_input(tmp_path: Path) -> None:
    read, write_end = os.pipe()
    before = os.dup(0)
    try:
        os.dup2(read, 0)
        os.close(read)
        os.write(write_end, gzip.compress(pcap(SEGMENTS)))
        os.close(write_end)
        assert packets_of("-") == expected(1000)
    finally:
        os.dup2(before, 0)
        os.close(before)


@pytest.mark.parametrize("compressed", [None, "gzip", "zstd"])
def test_what_grows_is_read_as_it_comes(compressed: str | None) -> None:
    """A batch for what there is, not for a full buffer."""
    compressor: Any = {
        "gzip": zlib.compressobj(wbits=31), "zstd": zstandard.ZstdCompressor().compressobj(),
    }.get(compressed or "")  # fmt: skip
    flush = zlib.Z_SYNC_FLUSH if compressed == "gzip" else zstandard.COMPRESSOBJ_FLUSH_BLOCK

    def send(data: bytes) -> None:
        data = compressor.compress(data) + compressor.flush(flush) if compressor else data
        os.write(write_end, data)

    read, write_end = os.pipe()
    before = os.dup(0)
    try:
        os.dup2(read, 0)
        os.close(read)
        parts = [pcap(SEGMENTS[:2]), *(pcap([s])[24:] for s in SEGMENTS[2:5])]
        send(parts[0])
        with open_capture("-") as capture:
            batches = capture.batches()
            packets = 0
            for count, part in enumerate([*parts[1:], b""], 2):
                while packets < count:
                    packets += len(next(batches).start)
                    assert capture.paused
                assert packets == count
                send(part)
            if compressor:
                os.write(write_end, compressor.flush())
            os.close(write_end)
            assert next(batches, None) is None
    finally:
        os.dup2(before, 0)
        os.close(before)


def test_what_grows_fast_is_read_in_large_batches() -> None:
    data = pcap(conversation(20_000))
    read, write_end = os.pipe()
    before = os.dup(0)
    with os.fdopen(write_end, "wb") as stream:
        writer = threading.Thread(target=lambda: (stream.write(data), stream.flush()))
        try:
            os.dup2(read, 0)
            os.close(read)
            writer.start()
            with open_capture("-") as capture:
                assert len(next(capture.batches()).start) > 5000
        finally:
            os.dup2(before, 0)
            os.close(before)


# -- cut and damaged


@pytest.mark.parametrize("batch_bytes", [300, 1 << 16])
def test_classic_cut_anywhere(tmp_path: Path, batch_bytes: int) -> None:
    """Every whole packet is read; only at the end of a packet is a cut no fault."""
    data = pcap(SEGMENTS)
    whole = 0
    ends = [24]
    for frame in FRAMES:
        ends.append(ends[-1] + 16 + len(frame))
    for cut in range(len(data)):
        whole = sum(end <= cut for end in ends) - 1
        packets, why = readable_part(write(tmp_path, data[:cut]), batch_bytes)
        assert packets == expected(1000)[: max(whole, 0)], cut
        assert (why is None) == (cut in ends), (cut, why)
        if whole >= 0 and why:
            assert f"packet {whole + 1}" in why
            assert f"byte {ends[whole]}" in why


@pytest.mark.parametrize("batch_bytes", [300, 1 << 16])
def test_pcapng_cut_anywhere(tmp_path: Path, batch_bytes: int) -> None:
    data, wanted = mixed_capture()
    seen = []
    for cut in range(len(data)):
        packets, why = readable_part(write(tmp_path, data[:cut]), batch_bytes)
        assert packets == wanted[: len(packets)], cut
        seen.append(len(packets))
        if cut < 28:
            assert why
    assert seen == sorted(seen)
    assert set(seen) == set(range(len(wanted) + 1))


def zstd_in_blocks(data: bytes) -> bytes:
    """As tcpdump's output comes out of a pipe: a block for what there was."""
    frame = zstandard.ZstdCompressor().compressobj()
    flush = zstandard.COMPRESSOBJ_FLUSH_BLOCK
    steps = [data[at : at + 4096] for at in range(0, len(data), 4096)]
    return b"".join(frame.compress(step) + frame.flush(flush) for step in steps) + frame.flush()


@pytest.mark.parametrize("compress", [gzip.compress, zstd_in_blocks])
def test_compression_cut_anywhere_says_so(
    tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    """And what could be decompressed is read."""
    segments = conversation(400)
    wanted = expected(1000, segments)
    data = compress(pcap(segments))
    most = 0
    for cut in [*range(5, 40), *range(40, len(data), 97), len(data) - 1]:
        packets, why = readable_part(write(tmp_path, data[:cut]))
        assert packets == wanted[: len(packets)], cut
        assert why, cut
        most = max(most, len(packets))
    assert most > len(wanted) // 2


def test_gzip_that_is_damaged_gives_what_came_before(tmp_path: Path) -> None:
    segments = conversation(3000)
    data = bytearray(gzip.compress(pcap(segments)))
    data[-6] ^= 0xFF  # of its length or checksum: everything was read by then
    packets, why = readable_part(write(tmp_path, bytes(data)))
    assert packets == expected(1000, segments)
    assert why


def test_damage_in_classic_keeps_what_came_before(tmp_path: Path) -> None:
    data = bytearray(pcap(SEGMENTS))
    position = 24 + 16 + len(FRAMES[0])
    data[position + 8 : position + 12] = b"\xff\xff\xff\x7f"
    packets, why = readable_part(write(tmp_path, bytes(data)))
    assert packets == expected(1000)[:1]
    assert why
    assert f"packet 2 at byte {position}" in why


@pytest.mark.parametrize("length", [0, 4, 8, 11, 33, 2**32 - 4])
def test_damage_in_pcapng_keeps_what_came_before(tmp_path: Path, length: int) -> None:
    good = section() + interface() + enhanced(FRAMES[0], 1000) + enhanced(FRAMES[1], 1001)
    bad = bytearray(enhanced(FRAMES[2], 1002))
    bad[4:8] = length.to_bytes(4, "little")
    packets, why = readable_part(write(tmp_path, good + bytes(bad) + enhanced(FRAMES[3], 1003)))
    assert [p[0] for p in packets] == FRAMES[:2]
    assert why
    assert f"byte {len(good)}" in why


def test_packet_of_an_unknown_interface_keeps_what_came_before(tmp_path: Path) -> None:
    good = section() + interface() + enhanced(FRAMES[0], 1000)
    bad = enhanced(FRAMES[1], 1001, number=7)
    packets, why = readable_part(write(tmp_path, good + bad + enhanced(FRAMES[2], 1002)))
    assert [p[0] for p in packets] == FRAMES[:1]
    assert why
    assert f"byte {len(good)}" in why


@pytest.mark.parametrize(
    "short", [block(6, b""), block(6, bytes(16)), block(3, b""), block(1, b"")]
)
def test_blocks_without_room_for_their_own_header(tmp_path: Path, short: bytes) -> None:
    """Be they the last bytes of the buffer."""
    good = section() + interface() + enhanced(FRAMES[0], 1000)
    data = good + short
    for batch_bytes in (len(data), len(data) + 1, 1 << 16):
        packets, why = readable_part(write(tmp_path, data), batch_bytes)
        assert [p[0] for p in packets] == FRAMES[:1]
        assert why
        assert f"byte {len(good)}" in why


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"\xd4", "not a capture"),
        (b"hello, world\n" * 9, "not a capture"),
        (b"\xd4\xc3\xb2\xa1", "cut"),
        (b"\x0a\x0d\x0d\x0a", "cut"),
        (gzip.compress(b"", mtime=0), "empty"),
        (gzip.compress(b"hello", mtime=0), "not a capture"),
        (b"\x1f\x8b", ""),
        (b"\x1f\x8bnonsense", ""),
        (b"\x28\xb5\x2f\xfdnonsense", ""),
        (section()[:-4], "cut"),
        (b"\x0a\x0d\x0d\x0a\x1c\0\0\0nonsense" + bytes(20), "byte-order magic"),
    ],
)
def test_what_is_no_capture(tmp_path: Path, data: bytes, says: str) -> None:
    packets, why = readable_part(write(tmp_path, data))
    assert packets == []
    assert why
    assert says in why


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    assert readable_part(tmp_path / "missing")[1] == "No such file or directory"
    assert readable_part(tmp_path)[1] == "Is a directory"


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """All batches lie in one buffer."""
    path = write(tmp_path, pcap(conversation(500)))
    with open_capture(str(path), 4096) as capture:
        buffers = {id(batch.buffer) for batch in capture.batches()}
    assert len(buffers) == 1


def test_a_stream_that_fails_keeps_what_came_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk or network error in the middle of reading."""
    path = write(tmp_path, pcap(conversation(2000)))

    class Failing(io.FileIO):
        reads = 0

        def readinto(self, buffer: Any) -> int | None:
            self.reads += 1
            if self.reads > 3:
                raise OSError(5, "Input/output error")
            return super().readinto(memoryview(buffer)[:8192])

    monkeypatch.setattr(Path, "open", lambda self, mode: io.BufferedReader(Failing(str(self))))
    packets, why = readable_part(path)
    assert why == "Input/output error"
    assert len(packets) > 100
