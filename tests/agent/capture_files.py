"""Capture files made by hand: classic pcap and pcapng, block by block."""

import struct
from collections.abc import Iterable, Sequence

from tcp_traffic import Segment

HEAD_BYTES, RECORD_BYTES = 24, 16


def pcap(
    segments: Iterable[Segment | tuple[bytes, int, int]],
    order: str = "<",
    ns: bool = False,
    link_type: int = 1,
    snap_length: int = 262144,
) -> bytes:
    """A classic capture; packets are segments or (captured bytes, at_ns, wire length)."""
    magic = 0xA1B23C4D if ns else 0xA1B2C3D4
    out = [struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, snap_length, link_type)]
    for packet in segments:
        frame, at_ns, wire = packet_of(packet)
        second, rest = divmod(at_ns, 10**9)
        part = rest if ns else rest // 1000
        out.append(struct.pack(order + "IIII", second, part, len(frame), wire) + frame)
    return b"".join(out)


def packet_of(packet: Segment | tuple[bytes, int, int]) -> tuple[bytes, int, int]:
    if isinstance(packet, Segment):
        frame = packet.frame
        kept = len(frame)
        if packet.captured is not None:
            kept += packet.captured - len(packet.payload)
        return frame[:kept], packet.at_ns, len(frame)
    return packet


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    length = len(body) + 12
    return struct.pack(order + "II", kind, length) + body + struct.pack(order + "I", length)


def option(code: int, value: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(
    order: str = "<", link_type: int = 1, snap_length: int = 0, options: Sequence[bytes] = ()
) -> bytes:
    body = struct.pack(order + "HHI", link_type, 0, snap_length) + b"".join(options)
    return block(1, body + (option(0, b"", order) if options else b""), order)


def enhanced(
    frame: bytes,
    units: int,
    wire: int | None = None,
    number: int = 0,
    order: str = "<",
    options: bytes = b"",
) -> bytes:
    head = struct.pack(
        order + "IIIII", number, units >> 32 & 0xFFFFFFFF, units & 0xFFFFFFFF,
        len(frame), len(frame) if wire is None else wire,
    )  # fmt: skip
    return block(6, head + frame + bytes(-len(frame) % 4) + options, order)


def obsolete(frame: bytes, units: int, number: int = 0, order: str = "<") -> bytes:
    head = struct.pack(
        order + "HHIIII", number, 0xFFFF, units >> 32, units & 0xFFFFFFFF, len(frame), len(frame)
    )
    return block(2, head + frame, order)


def simple(frame: bytes, wire: int | None = None, order: str = "<") -> bytes:
    return block(3, struct.pack(order + "I", len(frame) if wire is None else wire) + frame, order)
