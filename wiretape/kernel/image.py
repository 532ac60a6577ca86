"""Programs and maps as bpf(2) takes them, but for what only the process that loads them knows."""

import base64
import json
import struct
from collections.abc import Mapping
from typing import NamedTuple, Self

INSTRUCTION_BYTES = 8


class MapImage(NamedTuple):
    """A map's definition."""

    name: str
    kind: int
    key_bytes: int
    value_bytes: int
    entries: int
    flags: int


class ProgramImage(NamedTuple):
    """A program; of types as bpf(2) numbers them."""

    name: str
    kind: int
    attached: int
    """Its attach type; -1 for none."""
    code: bytes
    references: tuple[tuple[int, str], ...]
    """Instructions by number, each of which loads 64 bits: the descriptor of a map of the image, or
    what the loader says under that name."""

    def linked(self, numbers: Mapping[str, int]) -> bytes:
        """The instructions, with these numbers in the places that refer to them."""
        code = bytearray(self.code)
        for at, name in self.references:
            low, high = numbers[name] & 0xFFFFFFFF, numbers[name] >> 32
            struct.pack_into("<I", code, INSTRUCTION_BYTES * at + 4, low)
            struct.pack_into("<I", code, INSTRUCTION_BYTES * (at + 1) + 4, high)
        return bytes(code)


class Image(NamedTuple):
    """What is compiled as one."""

    maps: tuple[MapImage, ...]
    programs: tuple[ProgramImage, ...]

    def to_bytes(self) -> bytes:
        programs = [each._replace(code=base64.b64encode(each.code)) for each in self.programs]
        return json.dumps([self.maps, programs], default=bytes.decode).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Of what to_bytes() gave."""
        maps, programs = json.loads(content)
        return cls(
            tuple(MapImage(*each) for each in maps),
            tuple(
                ProgramImage(
                    name, kind, attached, base64.b64decode(code), tuple(map(tuple, references))
                )
                for name, kind, attached, code, references in programs
            ),
        )
