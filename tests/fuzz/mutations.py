"""Makes broken traffic of good one: bytes of a file, packets of a capture, pieces of a stream."""

import struct
from random import Random

_HEADER, _RECORD = struct.Struct("<IHHiIII"), struct.Struct("<IIII")
_LITTLE = b"\xd4\xc3\xb2\xa1"
MAX_INPUT = 512 << 10
_NUMBERS = (b"\0", b"\xff", b"\x7f", b"\x80", b"\x01", b"\r\n", b"\n", b"0", b"-", b" ", b"\0" * 4)
_WORDS = (
    b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"Transfer-Encoding: chunked\r\n",
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 101 X\r\n", b"HTTP/1.1 100 Go\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\n", b"\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n", b"HEAD / HTTP/1.1\r\n\r\n", b"GET /\r\n", b"Upgrade: x\r\n",
    b"ffffffffffffffff\r\n", b"0\r\n\r\n", b"5\r\n", b": ", b"\n ", b"99999999999999999999",
)  # fmt: skip


def of_bytes(data: bytes, random: Random, other: bytes = b"") -> bytes:
    """A few flips, cuts, doubled blocks, inserted words, or a block of `other`."""
    out = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 3, 8))):
        if not out:
            break
        at = random.randrange(len(out))
        size = min(random.choice((1, 2, 4, 16, 64, 1000)), len(out) - at)
        kind = random.randrange(7)
        if kind == 0:
            out[at] ^= 1 << random.randrange(8)
        elif kind == 1:
            piece = random.choice(_NUMBERS)
            out[at : at + len(piece)] = piece
        elif kind == 2:
            del out[at : at + size]
        elif kind == 3:
            out[at:at] = out[at : at + size] * random.choice((1, 1, 2, 20))
        elif kind == 4 and other:
            begin = random.randrange(len(other))
            out[at : at + size] = other[begin : begin + size]
        elif kind == 5:
            out[at:at] = random.choice(_WORDS)
        elif kind == 6 and random.randrange(4) == 0:
            del out[at:]
    return bytes(out[:MAX_INPUT])


Packet = tuple[int, int, int, bytes]
"""Seconds, fraction, length on the wire, captured bytes."""


def packets_of(capture: bytes) -> tuple[bytes, list[Packet]] | None:
    """The header and the packets of a plain pcap file in little-endian; None of another file."""
    if not capture.startswith(_LITTLE) or len(capture) < _HEADER.size:
        return None
    packets, at = [], _HEADER.size
    while at + _RECORD.size <= len(capture):
        seconds, fraction, size, wire = _RECORD.unpack_from(capture, at)
        at += _RECORD.size
        packets.append((seconds, fraction, wire, capture[at : at + size]))
        at += size
    return capture[: _HEADER.size], packets


def capture_of(header: bytes, packets: list[Packet]) -> bytes:
    return header + b"".join(
        _RECORD.pack(seconds & 0xFFFFFFFF, fraction, len(data), max(wire, len(data))) + data
        for seconds, fraction, wire, data in packets
    )


def of_packets(packets: list[Packet], random: Random, others: list[Packet]) -> list[Packet]:
    """Some lost, doubled, moved, cut short, changed, delayed, or taken from another capture."""
    out = list(packets)
    for _ in range(random.choice((1, 2, 4, 8, 16))):
        if not out:
            break
        at = random.randrange(len(out))
        seconds, fraction, wire, data = out[at]
        kind = random.randrange(9)
        if kind == 0:
            del out[at]
        elif kind == 1:
            out.insert(random.randrange(len(out) + 1), out[at])
        elif kind == 2:
            out.insert(random.randrange(len(out)), out.pop(at))
        elif kind == 3:
            out[at] = seconds, fraction, wire, data[: random.randrange(len(data) + 1)]
        elif kind == 4:
            out[at] = seconds, fraction, wire, of_bytes(data, random)[:65535]
        elif kind == 5 and len(data) > 54:  # other bytes in the payload, or in the headers
            place = random.randrange(54, len(data)) if random.randrange(2) else random.randrange(54)
            changed = data[:place] + bytes((random.randrange(256),)) + data[place + 1 :]
            out.insert(min(at + random.randrange(4), len(out)), (seconds, fraction, wire, changed))
        elif kind == 6:
            later = random.choice((-1, 1, 2, 61, 3700))
            moved = [(max(s + later, 0), f, w, d) for s, f, w, d in out[at:]]
            out[at:] = moved if random.randrange(2) else [moved[0], *out[at + 1 :]]
        elif kind == 7 and others:
            begin = random.randrange(len(others))
            out[at:at] = others[begin : begin + random.randrange(1, 9)]
        elif kind == 8 and len(data) > 54:  # sequence and acknowledgment numbers, flags
            place = random.choice((38, 40, 41, 42, 44, 45, 47))
            changed = data[:place] + bytes((random.randrange(256),)) + data[place + 1 :]
            out[at] = seconds, fraction, wire, changed
    return out
