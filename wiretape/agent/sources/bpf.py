"""Classic BPF: instructions, and an assembler that knows labels (linux/filter.h).

A program has an accumulator A, an index X and 16 words of scratch memory. It only jumps forward.
"""

import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

LOAD_WORD, LOAD_HALF, LOAD_BYTE = 0x20, 0x28, 0x30
"""A = packet[k]; from k = ANCILLARY on, what the kernel knows beside the packet's bytes."""
LOAD_WORD_AT_X, LOAD_HALF_AT_X, LOAD_BYTE_AT_X = 0x40, 0x48, 0x50
"""A = packet[X + k]."""
LOAD_X_HEADER_LENGTH = 0xB1
"""X = 4 * (packet[k] & 15)."""
LOAD_X_IMMEDIATE, LOAD_MEMORY, LOAD_X_MEMORY, STORE, STORE_X = 0x01, 0x60, 0x61, 0x02, 0x03
ADD, ADD_X, AND, SHIFT_LEFT, SHIFT_RIGHT, X_FROM_A, A_FROM_X = 4, 0x0C, 0x54, 0x64, 0x74, 0x07, 0x87
JUMP, IF_EQUAL, IF_AT_LEAST, IF_ANY_BIT = 0x05, 0x15, 0x35, 0x45
RETURN = 0x06

NETWORK = 0xFFF00000
"""SKF_NET_OFF: loads from here on count from the network header, whatever stands before it."""
ANCILLARY = 0xFFFFF000
"""SKF_AD_OFF."""
PROTOCOL, PACKET_TYPE, INTERFACE, HARDWARE_TYPE = (ANCILLARY + place for place in (0, 4, 8, 28))

MAX_INSTRUCTIONS = 4096
"""BPF_MAXINSNS."""
_MAX_CONDITIONAL = 255
_WORDS = 1 << 32


class Instruction(NamedTuple):
    """`struct sock_filter`; `hit` and `miss` are how many instructions a test passes over."""

    code: int
    hit: int
    miss: int
    k: int


Program = tuple[Instruction, ...]


class Label:
    """A place in a program, marked once, behind all jumps to it."""


class _Test(NamedTuple):
    code: int
    k: int
    hit: Label | None
    miss: Label | None


class Assembler:
    def __init__(self) -> None:
        self._lines: list[Instruction | _Test | Label] = []

    def add(self, code: int, k: int = 0) -> None:
        self._lines.append(Instruction(code, 0, 0, k))

    def embed(self, program: Program) -> None:
        """A whole program: what it returns is returned."""
        self._lines += program

    def mark(self, label: Label) -> None:
        self._lines.append(label)

    def go(self, label: Label) -> None:
        self._lines.append(_Test(JUMP, 0, label, None))

    def test(self, code: int, k: int, hit: Label | None = None, miss: Label | None = None) -> None:
        """Compares A with k; None is the next instruction."""
        self._lines.append(_Test(code, k, hit, miss))

    def one_of(self, values: Iterable[int], hit: Label, miss: Label) -> None:
        """Goes on at `hit` where A is among `values`."""
        self.switch(dict.fromkeys(values, hit), miss)

    def switch(self, cases: Mapping[int, Label], miss: Label) -> None:
        """Goes on where A says, by binary search; values in a row that lead to one place are one
        range."""
        edges = [(0, miss)]
        for value in sorted(cases):
            for start, target in ((value, cases[value]), (value + 1, miss)):
                if edges[-1][0] == start:
                    edges.pop()
                if start < _WORDS and (not edges or edges[-1][1] is not target):
                    edges.append((start, target))
        if len(edges) == 1:
            self.go(edges[0][1])
        else:
            self._search(edges)

    def _search(self, edges: list[tuple[int, Label]]) -> None:
        """`edges`, two or more: from which value on A leads where."""
        if len(edges) == 3 and edges[0][1] is edges[2][1] and edges[1][0] + 1 == edges[2][0]:
            self.test(IF_EQUAL, edges[1][0], edges[1][1], edges[0][1])
            return
        middle = len(edges) // 2
        halves = edges[:middle], edges[middle:]
        below, above = (half[0][1] if len(half) == 1 else Label() for half in halves)
        self.test(IF_AT_LEAST, edges[middle][0], above, below)
        for half, label in zip(halves, (below, above), strict=True):
            if len(half) > 1:
                self.mark(label)
                self._search(half)

    def program(self) -> Program:
        """From its end, since then it is known how far each jump goes.

        A test reaches 255 instructions far; for more it leads to a jump within its reach.
        ValueError: longer than the kernel takes.
        """
        out: list[Instruction] = []
        places: dict[Label, int] = {}
        relays: dict[int, int] = {}
        for line in reversed(self._lines):
            if isinstance(line, Label):
                places[line] = len(out)
            elif isinstance(line, Instruction):
                out.append(line)
            elif line.code == JUMP:
                assert line.hit is not None
                if distance := len(out) - places[line.hit]:
                    out.append(Instruction(JUMP, 0, 0, distance))
            else:
                here = len(out)
                ends = [here if to is None else places[to] for to in (line.hit, line.miss)]
                for index, end in enumerate(ends):
                    if len(out) - relays.get(end, end) < _MAX_CONDITIONAL:  # room for one more
                        ends[index] = relays.get(end, end)
                    else:
                        out.append(Instruction(JUMP, 0, 0, len(out) - end))
                        ends[index] = relays[end] = len(out)
                hit, miss = (len(out) - end for end in ends)
                out.append(Instruction(line.code, hit, miss, line.k))
        if len(out) > MAX_INSTRUCTIONS:
            raise ValueError(
                f"the filter takes {len(out)} instructions, and the kernel takes "
                f"{MAX_INSTRUCTIONS} at most: name fewer ports, hosts or interfaces"
            )
        return tuple(reversed(out))


def packed(program: Program) -> bytes:
    """As an array of `struct sock_filter`."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def relative_to_network(program: Program) -> Program:
    """The same program, written for packets without a link header, for those that may have one."""
    loads = (
        LOAD_WORD, LOAD_HALF, LOAD_BYTE, LOAD_WORD_AT_X, LOAD_HALF_AT_X, LOAD_BYTE_AT_X,
        LOAD_X_HEADER_LENGTH,
    )  # fmt: skip
    return tuple(
        one._replace(k=one.k + NETWORK) if one.code in loads and one.k < NETWORK else one
        for one in program
    )
