"""bpf(2), as far as the standard library does not reach it; structures of <linux/bpf.h>."""

import ctypes
import errno
import mmap
import os
import platform
import resource
import struct
from collections.abc import Iterator

_NUMBERS = {"x86_64": 321, "aarch64": 280}
_MAP_CREATE, _LOOKUP, _UPDATE, _DELETE, _NEXT_KEY = 0, 1, 2, 3, 4
_PROG_LOAD, _PROG_ATTACH, _RAW_TRACEPOINT_OPEN = 5, 8, 17
_ALLOW_MULTI = 2
_RING_BUFFER = 27
_MAX_NAME = 15
_LOG_BYTES = (16 << 20) - 1
"""What kernels before 5.2 take at most; of a longer log newer ones keep the end."""
_MAX_TRIES = 5

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


def _create(command: int, attributes: bytes) -> int:
    """As _bpf(), for what takes memory."""
    try:
        return _bpf(command, attributes)
    except OSError as error:
        # Before Linux 5.11 it counts as locked memory, of which little is allowed.
        before = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        if error.errno != errno.EPERM or not _set_memory_limit((resource.RLIM_INFINITY,) * 2):
            raise
        try:
            return _bpf(command, attributes)
        finally:
            # Only its making is counted: who is started later may lock no more than before.
            _set_memory_limit(before)


def _set_memory_limit(limit: tuple[int, int]) -> bool:
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, limit)
    except (OSError, ValueError):
        return False
    return True


def create_map(
    kind: int, key_bytes: int, value_bytes: int, entries: int, flags: int, name: str
) -> int:
    """The descriptor of a new map, of a type as bpf(2) numbers it. Raises OSError."""
    known_as = name.encode()[:_MAX_NAME]
    attributes = struct.pack("<7I16s", kind, key_bytes, value_bytes, entries, flags, 0, 0, known_as)
    return _create(_MAP_CREATE, attributes)


def create_ring(size: int, name: str) -> int:
    """The descriptor of a new ring buffer of so many bytes, a power of two. Raises OSError."""
    return create_map(_RING_BUFFER, 0, 0, size, 0, name)


def load_program(kind: int, attached: int, code: bytes, name: str) -> int:
    """The descriptor of a program, of types as bpf(2) numbers them; -1 for no attach type.

    Raises OSError: with EPERM where the process may not; of others, its notes are what the verifier
    said.
    """
    try:
        return _load(kind, attached, code, name)
    except OSError as error:
        if error.errno == errno.EPERM:
            raise
        refused = error
    # Once more, now with all that is to be said of it.
    with mmap.mmap(-1, _LOG_BYTES) as log:
        try:
            return _load(kind, attached, code, name, log)
        except OSError:
            refused.add_note(log[: log.find(b"\0")].decode(errors="replace"))
    raise refused


def _load(kind: int, attached: int, code: bytes, name: str, log: mmap.mmap | None = None) -> int:
    instructions = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack(
        "<IIQQIIQII16sII",
        kind,
        len(code) // 8,
        ctypes.addressof(instructions),
        ctypes.addressof(licence),
        0 if log is None else 1,
        0 if log is None else len(log),
        0 if log is None else ctypes.addressof(ctypes.c_char.from_buffer(log)),
        0,  # the kernel's version, which none asks for since Linux 5.0
        0,
        name.encode()[:_MAX_NAME],
        0,
        max(attached, 0),
    )
    for _ in range(_MAX_TRIES):
        try:
            return _create(_PROG_LOAD, attributes)
        except BlockingIOError as error:
            interrupted = error  # by a signal
    raise interrupted


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
