"""A recording with a hole in what must be replayed judges no build: exit 4."""

import struct
from collections.abc import Iterable
from pathlib import Path

import pytest
from builds import CAPTURE, PASS, UNFIT, Build, Recording, imported, judge

Packet = tuple[bytes, bytes]


def packets() -> tuple[bytes, list[Packet]]:
    """The file's header, and every packet: its header and its bytes."""
    data = CAPTURE.read_bytes()
    found, place = [], 24
    while place < len(data):
        length = struct.unpack_from("<I", data, place + 8)[0]
        found.append((data[place : place + 16], data[place + 16 : place + 16 + length]))
        place += 16 + length
    return data[:24], found


def written(path: Path, header: bytes, kept: Iterable[Packet]) -> Path:
    path.write_bytes(header + b"".join(head + packet for head, packet in kept))
    return path


def payload(packet: bytes) -> bytes:
    """What a TCP segment over IPv4 carries, "" for anything else."""
    if packet[12:14] != b"\x08\x00" or packet[23] != 6:
        return b""
    start = 14 + 4 * (packet[14] & 15)
    return packet[start + 4 * (packet[start + 12] >> 4) : 14 + int.from_bytes(packet[16:18], "big")]


# What the lost packet holds, the first such one.
LOST = {
    "the content of a request": b"Bitte beim Nachbarn",
    "a request": b"GET /products/CHAIR-9 HTTP",
    "the content of a response": b'"total_cents": 6129',
    "a chunk": b"BOOK-HTTP,",
    "a call": b"GET /stock/LAMP-01 HTTP",
    "the content of a call": b'"amount": 6129',
    "the answer to a call": b'"available": 38',
}


def outcome_of(path: Path, folder: Path, change: str = "") -> int:
    recording = Recording(imported(path, folder / "gaps.mcap"))
    done = judge(Build("shop", change, UNFIT), recording, folder)
    assert done.code != UNFIT or "\nUNFIT  " in done.out, done.out
    return done.code


@pytest.mark.parametrize("change", ["", "fault:wrong-total"])
@pytest.mark.parametrize("what", LOST)
def test_one_lost_packet(what: str, change: str, tmp_path: Path) -> None:
    header, all_packets = packets()
    place = next(n for n, (_, packet) in enumerate(all_packets) if LOST[what] in packet)
    kept = all_packets[:place] + all_packets[place + 1 :]
    assert outcome_of(written(tmp_path / "c.pcap", header, kept), tmp_path, change) == UNFIT


def test_a_lost_exchange(tmp_path: Path) -> None:
    header, all_packets = packets()
    first = next(n for n, (_, p) in enumerate(all_packets) if b"GET /products/PIANO" in p)
    last = next(n for n, (_, p) in enumerate(all_packets) if n > first and b" 404 " in payload(p))
    kept = all_packets[:first] + all_packets[last + 1 :]
    assert outcome_of(written(tmp_path / "c.pcap", header, kept), tmp_path) == UNFIT


@pytest.mark.parametrize("part", range(12))
def test_any_lost_segment(part: int, tmp_path: Path) -> None:
    header, all_packets = packets()
    carrying = [n for n, (_, packet) in enumerate(all_packets) if payload(packet)]
    place = carrying[(2 * part + 1) * len(carrying) // 24]
    kept = all_packets[:place] + all_packets[place + 1 :]
    assert outcome_of(written(tmp_path / "c.pcap", header, kept), tmp_path) == UNFIT


def test_packets_cut_short(tmp_path: Path) -> None:
    header, all_packets = packets()
    cut = [(h[:8] + struct.pack("<I", min(len(p), 300)) + h[12:], p[:300]) for h, p in all_packets]
    assert outcome_of(written(tmp_path / "c.pcap", header, cut), tmp_path) == UNFIT


def test_nothing_lost_is_fit(tmp_path: Path) -> None:
    header, all_packets = packets()
    # An acknowledgement that is not there takes nothing away.
    bare = next(n for n, (_, p) in enumerate(all_packets) if n > 50 and not payload(p))
    kept = all_packets[:bare] + all_packets[bare + 1 :]
    assert outcome_of(written(tmp_path / "c.pcap", header, kept), tmp_path) == PASS
