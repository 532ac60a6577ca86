"""Where TLS libraries lie that processes have loaded, and where in them their functions begin.

A library is told by what it defines, not by its name: OpenSSL may be part of a program, as of Node.
"""

import mmap
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from wiretape.agent.sources.ebpf.processes import PROC

_DECISIVE = (b"SSL_read", b"gnutls_record_recv")
"""Who defines one of these has plaintext pass through it."""
_NOT_ITSELF = "libgnutls-openssl"
"""Has OpenSSL's names, and passes on to GnuTLS, which is looked at."""
_PLACES = ("lib", "lib64", "usr/lib", "usr/lib64", "usr/lib/*-linux-gnu", "usr/local/lib")
_COMMON = ("libssl.so.3", "libssl.so.1.1", "libgnutls.so.30")

_HEADER = struct.Struct("<16xHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_SYMBOL = struct.Struct("<IBxHQ8x")
_SYMBOL_TYPES, _FUNCTION = (2, 11), 2
_LOAD = 1
_MAX_TABLE_BYTES = 1 << 28

Inode = tuple[int, int]


class _Section(NamedTuple):
    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry: int


def function_offsets(file: int, names: frozenset[bytes]) -> dict[bytes, int]:
    """Where in an ELF file of 64 bits the named functions begin, as far as it defines them.

    `file` is a descriptor. Whatever is no such file, or a broken one, defines none.
    """
    try:
        with mmap.mmap(file, 0, prot=mmap.PROT_READ) as content:
            return _functions(content, names)
    except (OSError, ValueError, OverflowError, struct.error, IndexError):
        return {}


def _functions(content: mmap.mmap, names: frozenset[bytes]) -> dict[bytes, int]:
    if content[:6] != b"\x7fELF\x02\x01":
        return {}
    _, _, _, _, at_segments, at_sections, _, _, step, count, each, number, _ = _HEADER.unpack_from(
        content
    )
    sections = [
        _Section(*_SECTION.unpack_from(content, at_sections + n * each)) for n in range(number)
    ]
    segments = [_SEGMENT.unpack_from(content, at_segments + n * step) for n in range(count)]
    found: dict[bytes, int] = {}
    for section in sections:
        if section.kind not in _SYMBOL_TYPES:
            continue
        text = sections[section.link]
        for name, address in _symbols(content, section, text, names):
            for kind, _, offset, start, _, size, _, _ in segments:
                if kind == _LOAD and start <= address < start + size:
                    found.setdefault(name, address - start + offset)
    return found


def _symbols(
    content: mmap.mmap, table: _Section, text: _Section, names: frozenset[bytes]
) -> Iterator[tuple[bytes, int]]:
    """Names and addresses of functions that are defined."""
    end = text.offset + text.size
    if max(table.size, text.size) > _MAX_TABLE_BYTES or end > len(content):
        return
    places: dict[int, bytes] = {}
    if not any(content.find(name + b"\0", text.offset, end) >= 0 for name in _DECISIVE):
        return
    for name in names:
        # A name may be the end of another one.
        at = content.find(name + b"\0", text.offset, end)
        while at >= 0:
            places[at - text.offset] = name
            at = content.find(name + b"\0", at + 1, end)
    symbols = content[table.offset : table.offset + table.size // _SYMBOL.size * _SYMBOL.size]
    for place, info, section, value in _SYMBOL.iter_unpack(symbols):
        if place in places and info & 15 == _FUNCTION and section:
            yield places[place], value


class Library(NamedTuple):
    """A file that processes run, which defines functions of TLS."""

    path: str
    """As the process sees it."""
    file: int
    """A descriptor of it."""
    functions: Mapping[bytes, int]


class Libraries:
    """What processes have loaded: each file is told of once, whichever process loads it."""

    def __init__(self, names: frozenset[bytes]) -> None:
        """`names` of the functions that matter."""
        self._names = names
        self._seen: set[Inode] = set()
        self._sizes: dict[int, tuple[bytes, ...]] = {}
        """Of processes: since when they run, and how much is mapped."""

    def common(self) -> Iterator[Library]:
        """What lies where the system's linker looks, for processes that do not run yet."""
        for place in _PLACES:
            for name in _COMMON:
                for path in Path("/").glob(f"{place}/{name}"):
                    yield from self._new(str(path), path)

    def of(self, pid: int) -> Iterator[Library]:
        """What a process has loaded since this was last asked. Raises PermissionError."""
        try:
            size = _size(pid)
            if self._sizes.get(pid) == size:
                return
            home = PROC / str(pid)
            mapped = list(_mapped(home))
        except PermissionError:
            self._sizes[pid] = size
            raise
        except OSError:
            self._sizes.pop(pid, None)  # it is over
            return
        self._sizes[pid] = size
        program = _link(home / "exe")
        for path, addresses in mapped:
            if path == program:
                yield from self._new(path, home / "exe")
            elif _NOT_ITSELF not in path:
                yield from self._new(path, home / "root" / path[1:], home / "map_files" / addresses)

    def forget(self, pids: set[int]) -> None:
        """All processes but these are over."""
        self._sizes = {pid: size for pid, size in self._sizes.items() if pid in pids}

    def _new(self, path: str, *places: Path) -> Iterator[Library]:
        for place in places:
            try:
                file = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError:
                continue
            status = os.fstat(file)
            inode = (status.st_dev, status.st_ino)
            functions: Mapping[bytes, int] = {}
            if inode not in self._seen:
                self._seen.add(inode)
                functions = function_offsets(file, self._names)
            if functions:
                yield Library(path, file, functions)
            os.close(file)
            return


def _size(pid: int) -> tuple[bytes, ...]:
    """What changes when a process loads a library, or is another one."""
    # Of all processes, again and again.
    file = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    try:
        fields = os.read(file, 4096).rpartition(b")")[2].split(None, 21)
    finally:
        os.close(file)
    return fields[19], fields[20]


def _mapped(home: Path) -> Iterator[tuple[str, str]]:
    """Files with code that a process has mapped, and at which addresses."""
    told = set()
    for line in (home / "maps").read_bytes().splitlines():
        fields = line.split(None, 5)
        if len(fields) < 6 or b"x" not in fields[1] or not fields[5].startswith(b"/"):
            continue
        path = os.fsdecode(fields[5].removesuffix(b" (deleted)"))
        if path not in told:
            told.add(path)
            yield path, os.fsdecode(fields[0])


def _link(place: Path) -> str:
    try:
        return os.readlink(place).removesuffix(" (deleted)")  # noqa: PTH115
    except OSError:
        return ""
