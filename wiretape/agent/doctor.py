"""`capture-agent doctor`: what this host allows, and the command that would fix the rest.

Each check looks at the host itself (`root` is where its /proc, /sys and /usr are found) and never
fails: what cannot be seen is unknown. Only what live capture cannot do without is "no"; what an
option needs, or what eBPF and replay's interception will need, is a note.
"""

import ctypes
import mmap
import os
import re
import shutil
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import NamedTuple, TextIO

from wiretape.agent.privileges import (
    Account,
    Capability,
    PrivilegeError,
    account_for,
    as_root,
    become,
    effective_capabilities,
    how_to_get,
    in_child,
    may_capture_packets,
    raise_permitted,
    standing,
    write_refusal,
)

_OK, _NO_SOURCE = 0, 5
_RED, _PLAIN = "\x1b[31m", "\x1b[0m"

# linux/if_packet.h
_SOL_PACKET, _PACKET_RX_RING, _PACKET_VERSION, _TPACKET_V3 = 263, 5, 10, 2
_RING_BLOCKS, _RING_FRAME_BYTES = 4, 2048

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_DUMPABLE = 4

_EBPF_KERNEL = (5, 8)
"""The first with a ring buffer, and with capabilities of eBPF's own."""
_EBPF_MACHINES = ("x86_64", "aarch64")
_LIBPCAP = ("libpcap.so.0.8", "libpcap.so.1")
"""As Debian and as others call it."""
_ENOUGH_MEMORY, _ENOUGH_DISK, _NO_DISK = 512 << 20, 1 << 30, 16 << 20
_EXAMPLE = ("capture-agent", "run", "-o", "rec.mcap")


class State(Enum):
    OK = "ok"
    NO = "no"
    NOTE = "note"


class Check(NamedTuple):
    name: str
    state: State
    found: str
    fix: str = ""
    """One command, or one change."""


def doctor(out: TextIO) -> int:
    """Print all checks; the exit code says whether anything can be captured."""
    raise_permitted()
    checks = list(examine())
    out.write(table(checks, colour=out.isatty() and "NO_COLOR" not in os.environ))
    return _OK if can_capture(checks) else _NO_SOURCE


def can_capture(checks: list[Check]) -> bool:
    """Whether one of the sources works; packets are the only one so far."""
    return any(c.name == "packet ring" and c.state is State.OK for c in checks)


def table(checks: list[Check], *, colour: bool = False) -> str:
    rows = [("check", "state", "found", "fix"), *((c.name, c.state.value, *c[2:]) for c in checks)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = []
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        line = "  ".join([*cells, row[3]]).rstrip()
        lines.append(f"{_RED}{line}{_PLAIN}" if colour and row[1] == State.NO.value else line)
    return "\n".join(lines) + "\n"


def examine(root: Path = Path("/")) -> Iterator[Check]:
    """All checks, in the order in which they matter."""
    checks: tuple[tuple[str, Callable[[str, Path], Check]], ...] = (
        ("packets", _packets),
        ("packet ring", _ring),
        ("libpcap", _libpcap),
        ("--netns", _netns),
        ("memory", _memory),
        ("disk", _disk),
        ("Python", _python),
        ("kernel", _kernel),
        ("processor", _processor),
        ("eBPF", _ebpf),
        ("tracefs", _tracefs),
        ("bcc", _bcc),
        ("kernel types", _types),
        ("cgroup v2", _cgroup),
        ("user namespaces", _user_namespaces),
    )
    for name, check in checks:
        try:
            yield check(name, root)
        except OSError as error:
            yield Check(name, State.NOTE, f"unknown: {error.strerror or error}")
        except ValueError as error:
            yield Check(name, State.NOTE, f"unknown: {error}")


def _packets(name: str, root: Path) -> Check:
    if may_capture_packets():
        return Check(name, State.OK, "CAP_NET_RAW: packet sockets open")
    held = Capability.NET_RAW in effective_capabilities()
    found = "CAP_NET_RAW, but no packet socket opens" if held else "no CAP_NET_RAW"
    return Check(name, State.NO, found, how_to_get(_EXAMPLE, Capability.NET_RAW))


def _ring(name: str, root: Path) -> Check:
    """Opens one that is bound to no protocol, so that nothing enters it."""
    block_bytes = max(mmap.PAGESIZE, 1 << 16)
    size = _RING_BLOCKS * block_bytes
    frames = size // _RING_FRAME_BYTES
    request = struct.pack("7I", block_bytes, _RING_BLOCKS, _RING_FRAME_BYTES, frames, 60, 0, 0)
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as opened:
            opened.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V3)
            opened.setsockopt(_SOL_PACKET, _PACKET_RX_RING, request)
            mmap.mmap(opened.fileno(), size).close()
    except PermissionError:
        return Check(name, State.NO, "not tried: no packet socket opens", "as for packets")
    except OSError as error:
        fix = "a Linux kernel with CONFIG_PACKET and CONFIG_PACKET_MMAP"
        return Check(name, State.NO, f"TPACKET_V3: {error.strerror}", fix)
    return Check(name, State.OK, "TPACKET_V3 opens")


def _libpcap(name: str, root: Path) -> Check:
    for library in _LIBPCAP:
        try:
            version = ctypes.CDLL(library).pcap_lib_version
        except (OSError, AttributeError):
            continue
        version.restype = ctypes.c_char_p
        text = version().decode("ascii", "replace")
        return Check(name, State.OK, " ".join(re.sub(r"\(.*", "", text).split()[-1:]))
    return Check(name, State.NOTE, "missing: no --filter", _install("libpcap0.8", "libpcap"))


def _netns(name: str, root: Path) -> Check:
    if Capability.SYS_ADMIN in _held_over_host():
        return Check(name, State.OK, "CAP_SYS_ADMIN")
    fix = how_to_get((*_EXAMPLE, "--netns", "NAME"), Capability.SYS_ADMIN)
    return Check(name, State.NOTE, "no CAP_SYS_ADMIN: no --netns", fix)


def _memory(name: str, root: Path) -> Check:
    text = _read(root / "proc/meminfo")
    found = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    if found is None:
        raise ValueError("no MemAvailable in /proc/meminfo")
    available = int(found[1]) << 10
    if available < _ENOUGH_MEMORY:
        fix = "capture-agent run --max-memory 128M …"
        return Check(name, State.NOTE, f"{_size(available)} available", fix)
    return Check(name, State.OK, f"{_size(available)} available")


def _disk(name: str, root: Path) -> Check:
    here = Path()
    usage = os.statvfs(here)
    free = usage.f_bavail * usage.f_frsize
    found = f"{_size(free)} free in this directory"
    account = _account()
    if write_refusal(account, here):
        return Check(name, State.NO, f"{account.name} may not write here", 'cd "$HOME"')
    if free < _NO_DISK:
        return Check(name, State.NO, found, "capture-agent run -o DIRECTORY_ELSEWHERE/ …")
    if free < _ENOUGH_DISK:
        fix = f"capture-agent run --max-disk {free // 2 >> 20}MB …"
        return Check(name, State.NOTE, found, fix)
    return Check(name, State.OK, found)


def _python(name: str, root: Path) -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check(name, State.OK, f"{version} ({sys.executable})")


def _kernel(name: str, root: Path) -> Check:
    release = os.uname().release
    version = re.match(r"(\d+)\.(\d+)", release)
    if version is None or (int(version[1]), int(version[2])) < _EBPF_KERNEL:
        wanted = ".".join(map(str, _EBPF_KERNEL))
        return Check(name, State.NOTE, f"{release}: no eBPF", f"Linux {wanted} or newer")
    return Check(name, State.OK, release)


def _processor(name: str, root: Path) -> Check:
    machine = os.uname().machine
    if machine in _EBPF_MACHINES:
        return Check(name, State.OK, machine)
    return Check(name, State.NOTE, f"{machine}: no eBPF", " or ".join(_EBPF_MACHINES))


def _ebpf(name: str, root: Path) -> Check:
    held = _held_over_host()
    wanted = (Capability.BPF, Capability.PERFMON)
    for enough in (wanted, (Capability.SYS_ADMIN,)):
        if held.issuperset(enough):
            return Check(name, State.OK, " and ".join(f"CAP_{c.name}" for c in enough))
    fix = how_to_get(_EXAMPLE, *wanted)
    return Check(name, State.NOTE, "no CAP_BPF and CAP_PERFMON", fix)


def _tracefs(name: str, root: Path) -> Check:
    if where := _mounted(root, "tracefs"):
        return Check(name, State.OK, where)
    if "tracefs" not in _read(root / "proc/filesystems").split():
        return Check(name, State.NOTE, "not in this kernel", "a kernel with CONFIG_FTRACE")
    fix = as_root("mount -t tracefs tracefs /sys/kernel/tracing")
    return Check(name, State.NOTE, "not mounted", fix)


def _bcc(name: str, root: Path) -> Check:
    """Not imported: its library brings a compiler, and takes longer than all else here."""
    packages = root / "usr/lib/python3/dist-packages"
    module = (packages / "bcc/__init__.py").exists()
    library = any(root.glob("usr/lib/*/libbcc.so.0")) or any(root.glob("usr/lib*/libbcc.so.0"))
    if module and library:
        return Check(name, State.OK, f"{packages / 'bcc'}")
    found = f"its library is missing beside {packages / 'bcc'}" if module else "missing"
    return Check(name, State.NOTE, found, _install("python3-bpfcc", "bcc for Python"))


def _types(name: str, root: Path) -> Check:
    """What tells where the kernel keeps its sockets, in the place of headers."""
    types = root / "sys/kernel/btf/vmlinux"
    if types.exists():
        return Check(name, State.OK, f"{types}")
    return Check(name, State.NOTE, "missing", "a kernel with CONFIG_DEBUG_INFO_BTF")


def _cgroup(name: str, root: Path) -> Check:
    if where := _mounted(root, "cgroup2"):
        return Check(name, State.OK, where)
    command = "sh -c 'mkdir -p /run/cgroup2 && mount -t cgroup2 cgroup2 /run/cgroup2'"
    return Check(name, State.NOTE, "not mounted", as_root(command))


def _user_namespaces(name: str, root: Path) -> Check:
    """Makes one with a network of its own in a child, as the user who will replay."""
    account = _account()
    if in_child(lambda: _unshares(account)):
        return Check(name, State.OK, f"allowed to {account.name}")
    for key, enough in (
        ("user.max_user_namespaces", 10_000),
        ("kernel.unprivileged_userns_clone", 1),
        ("kernel.apparmor_restrict_unprivileged_userns", 0),
    ):
        setting = root / "proc/sys" / key.replace(".", "/")
        if setting.exists() and (int(_read(setting)) == 0) == (enough != 0):
            fix = as_root(f"sysctl {key}={enough}")
            return Check(name, State.NOTE, f"{key} forbids them", fix)
    fix = "outside of this container, or in one whose profile allows unshare(2)"
    return Check(name, State.NOTE, f"not allowed to {account.name}", fix)


def _unshares(account: Account) -> bool:
    become(account)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return False
    # Who changed their user may not write below /proc/self. Ubuntu lets namespaces be made, and
    # nothing be mapped into them.
    libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
    Path("/proc/self/uid_map").write_text(f"0 {account.uid} 1", encoding="ascii")
    return True


def _held_over_host() -> frozenset[Capability]:
    """Within a user namespace, capabilities are held over what belongs to it alone."""
    now = standing()
    return frozenset() if now.user_namespace else now.effective


def _account() -> Account:
    try:
        return account_for(None)
    except PrivilegeError as error:
        raise ValueError(str(error)) from None


def _mounted(root: Path, kind: str) -> str:
    """Where the first filesystem of this kind is; empty where there is none."""
    for line in _read(root / "proc/self/mounts").splitlines():
        fields = line.split()
        if len(fields) > 2 and fields[2] == kind:
            return fields[1]
    return ""


def _install(package: str, what: str) -> str:
    if shutil.which("apt-get"):
        return as_root(f"apt-get install {package}")
    return f"install {what} with this system's package manager"


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _size(count: int) -> str:
    unit, shift = ("GiB", 30) if count >= 1 << 30 else ("MiB", 20)
    return f"{count / (1 << shift):.1f} {unit}"
