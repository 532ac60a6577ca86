"""Which programs the kernel holds, and what keeps them attached, as bpf(2) numbers them."""

import ctypes
import errno
import os
import re
import struct
from pathlib import Path

_NUMBER = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
_PROG_GET_NEXT_ID, _LINK_GET_NEXT_ID = 11, 31
_libc = ctypes.CDLL(None, use_errno=True)


def loaded_programs() -> set[int]:
    return _all(_PROG_GET_NEXT_ID)


def loaded_links() -> set[int]:
    return _all(_LINK_GET_NEXT_ID)


def programs_of(pid: int) -> set[int]:
    """Those to which a process has descriptors."""
    return _told(pid, "prog_id")


def links_of(pid: int) -> set[int]:
    return _told(pid, "link_id")


def _told(pid: int, name: str) -> set[int]:
    found: set[int] = set()
    for file in Path(f"/proc/{pid}/fdinfo").iterdir():
        text = file.read_text()
        # A link tells of its program too, of which we may have no descriptor any more.
        found |= {int(n) for n in re.findall(rf"^{name}:\s+(\d+)", text, re.MULTILINE)}
    return found


def _all(command: int) -> set[int]:
    found: set[int] = set()
    ident = 0
    while True:
        attributes = ctypes.create_string_buffer(struct.pack("=II", ident, 0), 128)
        if _libc.syscall(_NUMBER, command, attributes, 128):
            assert ctypes.get_errno() == errno.ENOENT
            return found
        ident = struct.unpack_from("=II", attributes.raw)[1]
        found.add(ident)
