"""bpf(2), as far as the standard library does not reach it; structures of <linux/bpf.h>."""

import ctypes
import os
import platform
import struct
from collections.abc import Iterator

_NUMBERS = {"x86_64": 321, "aarch64": 280}
_MAP_CREATE, _LOOKUP, _UPDATE, _DELETE, _NEXT_KEY = 0, 1, 2, 3, 4
_PROG_ATTACH, _RAW_TRACEPOINT_OPEN = 8, 17
_ALLOW_MULTI = 2
_RING_BUFFER = 27

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _bpf(command: int, attributes: bytes) -> int:
    number = _NUMBERS.get(platform.machine())
    if number is None:
        raise OSError(38, f"no eBPF on {platform.machine()}")
    buffer = ctypes.create_string_buffer(attributes, 128)
    result = _libc.syscall(
        ctypes.c_long(number), ctypes.c_long(command), buffer, ctypes.c_long(128)
    )
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return int(result)


def create_ring(size: int, name: str) -> int:
    """The descriptor of a new ring buffer of so many bytes, a power of two. Raises OSError."""
    attributes = struct.pack("<7I16s", _RING_BUFFER, 0, 0, size, 0, 0, 0, name.encode())
    return _bpf(_MAP_CREATE, attributes)


def attach_raw_tracepoint(name: str, program: int) -> int:
    """The descriptor that holds a program to a tracepoint; closed, it is off. Raises OSError."""
    text = ctypes.create_string_buffer(name.encode())
    return _bpf(_RAW_TRACEPOINT_OPEN, struct.pack("<QI", ctypes.addressof(text), program))


def attach_to_cgroup(cgroup: int, program: int, kind: int) -> None:
    """Attach a program to a control group, beside those that are there; until that is removed.

    `kind` is the attach type, as bpf(2) numbers it. Raises OSError.
    """
    _bpf(_PROG_ATTACH, struct.pack("<4I", cgroup, program, kind, _ALLOW_MULTI))


class Map:
    """A map by its descriptor, with keys and values as bytes."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._call(_UPDATE, key, ctypes.create_string_buffer(value, len(value)))

    def __delitem__(self, key: bytes) -> None:
        self._call(_DELETE, key, None)

    def keys(self, size: int) -> Iterator[bytes]:
        """All keys, of so many bytes each; of those that come and go meanwhile, some."""
        at, following = None, ctypes.create_string_buffer(size)
        while True:
            try:
                self._call(_NEXT_KEY, at, following)
            except OSError:
                return
            at = following.raw
            yield at

    def _call(
        self, command: int, key: bytes | None, value: "ctypes.Array[ctypes.c_char] | None"
    ) -> None:
        place = None if key is None else ctypes.create_string_buffer(key, len(key))
        attributes = struct.pack(
            "<IxxxxQQQ",
            self.descriptor,
            ctypes.addressof(place) if place else 0,
            ctypes.addressof(value) if value else 0,
            0,
        )
        _bpf(command, attributes)
