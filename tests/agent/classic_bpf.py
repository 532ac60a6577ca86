"""An interpreter of classic BPF, after the kernel's description (networking/filter), and what a
packet socket shows it."""

import struct
from dataclasses import dataclass

_ANCILLARY, _NETWORK = -0x1000, -0x100000


@dataclass(frozen=True)
class Packet:
    """`network`: where in data the kernel's network header is; `tag`: TCI, taken out of data."""

    data: bytes
    network: int = 14
    protocol: int = 0x0800
    hardware_type: int = 1
    packet_type: int = 0
    interface: int = 1
    tag: int | None = None

    def load(self, offset: int, size: int) -> int | None:
        """None: beyond the packet's end."""
        offset = (offset & 0xFFFFFFFF) - (1 << 32 if offset & 0x80000000 else 0)
        if _ANCILLARY <= offset < 0:
            return {
                0: self.protocol,
                4: self.packet_type,
                8: self.interface,
                28: self.hardware_type,
                44: self.tag or 0,
                48: int(self.tag is not None),
            }[offset - _ANCILLARY]
        if offset < 0:
            offset += self.network - _NETWORK
        part = self.data[offset : offset + size]
        return int.from_bytes(part, "big") if len(part) == size else None


def instructions(program: bytes) -> list[tuple[int, int, int, int]]:
    return list(struct.iter_unpack("=HBBI", program))


def run(program: bytes, packet: Packet) -> int:
    """What it returns: how many bytes are kept."""
    return trace(program, packet)[0]


def trace(program: bytes, packet: Packet) -> tuple[int, int]:
    """What it returns, and after how many instructions."""
    lines = instructions(program)
    a = x = at = steps = 0
    memory: dict[int, int] = {}
    while True:
        code, hit, miss, k = lines[at]
        at += 1
        steps += 1
        kind, mode = code & 7, code & 0xE0
        size = {0x00: 4, 0x08: 2, 0x10: 1}.get(code & 0x18, 0)
        if kind in (0, 1):
            value: int | None
            if mode == 0x20:
                value = packet.load(k, size)
            elif mode == 0x40:
                value = packet.load(x + k, size)
            elif mode == 0xA0:
                value = packet.load(k, 1)
                value = None if value is None else 4 * (value & 15)
            elif mode == 0x80:
                value = len(packet.data)
            else:
                value = memory[k] if mode == 0x60 else k
            if value is None:
                return 0, steps
            a, x = (value, x) if kind == 0 else (a, value)
        elif kind in (2, 3):
            memory[k] = a if kind == 2 else x
        elif kind == 4:
            other = x if code & 8 else k
            a = {
                0x00: lambda a, b: a + b,
                0x10: lambda a, b: a - b,
                0x40: lambda a, b: a | b,
                0x50: lambda a, b: a & b,
                0x60: lambda a, b: a << b,
                0x70: lambda a, b: a >> b,
            }[code & 0xF0](a, other) & 0xFFFFFFFF
        elif code == 0x05:
            at += k
        elif kind == 5:
            other = x if code & 8 else k
            holds = {0x10: a == other, 0x20: a > other, 0x30: a >= other, 0x40: bool(a & other)}
            at += hit if holds[code & 0xF0] else miss
        elif kind == 6:
            return (a if code & 0x18 == 0x10 else k), steps
        else:
            a, x = (x, x) if code & 0x80 else (a, a)
