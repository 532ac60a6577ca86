"""Programs at functions in files, whatever process runs them (perf_event_open(2))."""

import ctypes
import fcntl
import os
import platform
import struct
from pathlib import Path

_NUMBERS = {"x86_64": 298, "aarch64": 241}
_UPROBE = Path("/sys/bus/event_source/devices/uprobe")
_ONLINE = Path("/sys/devices/system/cpu/online")
_ATTRIBUTES = struct.Struct("<IIQQQQQIIQQ")
_ATTRIBUTES_BYTES = 112
_CLOSE_ON_EXEC = 8
_SET_PROGRAM, _ENABLE = 0x40042408, 0x2400

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def attach_uprobe(file: int, offset: int, returns: bool, program: int) -> int:
    """The descriptor that holds a program to a place in a file, in whatever process; closed, it is
    off. Raises OSError."""
    path = ctypes.create_string_buffer(f"/proc/self/fd/{file}".encode())
    attributes = _ATTRIBUTES.pack(
        int((_UPROBE / "type").read_text(encoding="ascii")),
        _ATTRIBUTES_BYTES,
        _return_bit() if returns else 0,
        0, 0, 0, 0, 0, 0,
        ctypes.addressof(path),
        offset,
    )  # fmt: skip
    buffer = ctypes.create_string_buffer(attributes, _ATTRIBUTES_BYTES)
    processor = int(_ONLINE.read_text(encoding="ascii").replace("-", ",").split(",")[0])
    descriptor = _libc.syscall(
        ctypes.c_long(_NUMBERS[platform.machine()]),
        buffer,
        ctypes.c_long(-1),
        ctypes.c_long(processor),
        ctypes.c_long(-1),
        ctypes.c_long(_CLOSE_ON_EXEC),
    )
    if descriptor < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    try:
        fcntl.ioctl(descriptor, _SET_PROGRAM, program)
        fcntl.ioctl(descriptor, _ENABLE, 0)
    except OSError:
        os.close(descriptor)
        raise
    return int(descriptor)


def _return_bit() -> int:
    text = (_UPROBE / "format/retprobe").read_text(encoding="ascii")
    return 1 << int(text.strip().removeprefix("config:"))
