"""How processes speak TLS: by functions that programs can be attached to, or by code that has none.

The latter is told by what is left in a program that was stripped: names of packages and files, or a
library's version.
"""

import mmap
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from wiretape.agent.sources.ebpf import processes
from wiretape.agent.sources.ebpf.tls_libraries import Libraries

_LOADED = {
    "libjvm.so": "Java",
    "libnss3.so": "NSS",
    "libmbedtls.so": "Mbed TLS",
    "libwolfssl.so": "wolfSSL",
}
"""Files that a process maps."""
_CONTAINED = {
    b"crypto/tls.(*Conn)": "Go",
    b"rustls": "rustls",
    b"BoringSSL": "BoringSSL without symbols",
    b"s2n_connection": "s2n",
}
"""Texts that a program contains."""


class TlsProgram(NamedTuple):
    """A process that may speak TLS."""

    pid: int
    command: str
    libraries: tuple[str, ...]
    """Files in it whose plaintext can be read."""
    by: str
    """What it speaks TLS by where that cannot be read; empty where it can, or nothing was found."""


def tls_programs(names: frozenset[bytes]) -> Iterator[TlsProgram]:
    """The processes with sockets that have TLS in them, as far as they may be looked at.

    `names` are the functions that programs are attached to.
    """
    known: dict[tuple[int, int], str] = {}
    for pid in sorted(processes.pids()):
        home = processes.PROC / str(pid)
        try:
            if pid == os.getpid() or not _has_sockets(home):
                continue
            paths = tuple(sorted(library.path for library in Libraries(names).of(pid)))
            by = "" if paths else _by(home, known)
        except OSError:
            continue  # it is over, or another's
        if paths or by:
            command = processes.command(pid).decode(errors="replace")
            yield TlsProgram(pid, command, paths, by)


def _has_sockets(home: Path) -> bool:
    for each in (home / "fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            if str(each.readlink()).startswith("socket:"):
                return True
    return False


def _by(home: Path, known: dict[tuple[int, int], str]) -> str:
    maps = (home / "maps").read_text(errors="replace")
    for name, by in _LOADED.items():
        if f"/{name}" in maps:
            return by
    with (home / "exe").open("rb") as program:
        status = os.fstat(program.fileno())
        inode = status.st_dev, status.st_ino
        if inode not in known:
            with mmap.mmap(program.fileno(), 0, prot=mmap.PROT_READ) as content:
                known[inode] = next(
                    (by for text, by in _CONTAINED.items() if content.find(text) >= 0), ""
                )
    return known[inode]
