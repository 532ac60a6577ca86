"""Where the kernel keeps what is read of it: places from its own type information (BTF).

The format is that of the kernel's Documentation/bpf/btf.rst: types numbered from 1, each with a
fixed part of three words and a part that its kind and length tell, then the names.
"""

import struct
from collections.abc import Iterator

_MAGIC = 0xEB9F
_STRUCT, _UNION = 4, 5
_QUALIFIERS = (8, 9, 10, 11, 18)
"""Kinds that only stand before a type: typedef, volatile, const, restrict, a tag."""
_TAIL_BYTES = {1: 4, 3: 12, 14: 4, 17: 4}
_TAIL_BYTES_EACH = {_STRUCT: 12, _UNION: 12, 6: 8, 13: 8, 15: 12, 19: 12}
"""Of each member, enumerator, parameter or variable."""


class Types:
    """The types of one BTF blob, as in /sys/kernel/btf/vmlinux. Raises ValueError."""

    def __init__(self, blob: bytes) -> None:
        try:
            magic, header, types, size, names, _ = struct.unpack_from("<HxxIIIII", blob)
            if magic != _MAGIC:
                raise ValueError("not BTF")
            self._blob = blob
            self._names = header + names
            self._places = [0, *self._walk(header + types, header + types + size)]
        except struct.error as error:
            raise ValueError(f"BTF that is cut off: {error}") from None
        self._composites: dict[bytes, int] = {}
        for place in self._places[1:]:
            name, info, size = struct.unpack_from("<3I", blob, place)
            if name and info >> 24 & 31 in (_STRUCT, _UNION):
                self._composites.setdefault(self._name(name), place)

    def offset(self, path: str) -> int:
        """In bytes, of a member: "task_struct.files", or deeper "socket.wq.flags".

        Members of unnamed structures count as those of the structure around. Raises ValueError.
        """
        name, *members = path.split(".")
        place = self._composites.get(name.encode())
        bits = 0
        for member in members:
            found = None if place is None else self._find(place, member.encode())
            if found is None:
                raise ValueError(f"this kernel has no {path}")
            offset, kind = found
            bits += offset
            place = self._composite(kind)
        return bits >> 3

    def _walk(self, place: int, end: int) -> Iterator[int]:
        unpack = struct.Struct("<I").unpack_from
        tail, each = _TAIL_BYTES.get, _TAIL_BYTES_EACH.get
        while place < end:
            yield place
            info = unpack(self._blob, place + 4)[0]
            kind = info >> 24 & 31
            place += 12 + tail(kind, 0) + each(kind, 0) * (info & 0xFFFF)

    def _name(self, at: int) -> bytes:
        begin = self._names + at
        return self._blob[begin : self._blob.index(b"\0", begin)]

    def _composite(self, number: int) -> int | None:
        """The place of the structure or union that this type is, under its other names."""
        while True:
            place = self._places[number]
            info, number = struct.unpack_from("<2I", self._blob, place + 4)
            kind = info >> 24 & 31
            if kind in (_STRUCT, _UNION):
                return place
            if kind not in _QUALIFIERS:
                return None

    def _find(self, place: int, wanted: bytes) -> tuple[int, int] | None:
        """A member's offset in bits, and its type."""
        info = struct.unpack_from("<I", self._blob, place + 4)[0]
        for n in range(info & 0xFFFF):
            name, kind, offset = struct.unpack_from("<3I", self._blob, place + 12 + 12 * n)
            if info >> 31:
                offset &= 0xFFFFFF
            if name:
                if self._name(name) == wanted:
                    return offset, kind
                continue
            inner = self._composite(kind)
            found = self._find(inner, wanted) if inner is not None else None
            if found is not None:
                return offset + found[0], found[1]
        return None
