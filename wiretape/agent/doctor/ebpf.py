"""Whether sockets and TLS libraries can be looked at by eBPF."""

import os
import re
from pathlib import Path

from wiretape.agent.doctor.check import (
    EXAMPLE,
    Check,
    State,
    held_over_host,
    install,
    mounted,
    read,
)
from wiretape.agent.privileges import Capability, as_root, how_to_get
from wiretape.agent.sources.ebpf.tls_attacher import PROBES
from wiretape.agent.sources.ebpf.tls_programs import tls_programs

_KERNEL = (5, 8)
"""The first with a ring buffer, and with capabilities of eBPF's own."""
_MACHINES = ("x86_64", "aarch64")
_TOLD = 5
"""Processes; more are counted."""


def kernel(name: str, root: Path) -> Check:
    release = os.uname().release
    version = re.match(r"(\d+)\.(\d+)", release)
    if version is None or (int(version[1]), int(version[2])) < _KERNEL:
        wanted = ".".join(map(str, _KERNEL))
        return Check(name, State.NOTE, f"{release}: no eBPF", f"Linux {wanted} or newer")
    return Check(name, State.OK, release)


def processor(name: str, root: Path) -> Check:
    machine = os.uname().machine
    if machine in _MACHINES:
        return Check(name, State.OK, machine)
    return Check(name, State.NOTE, f"{machine}: no eBPF", " or ".join(_MACHINES))


def ebpf(name: str, root: Path) -> Check:
    held = held_over_host()
    wanted = (Capability.BPF, Capability.PERFMON)
    for enough in (wanted, (Capability.SYS_ADMIN,)):
        if held.issuperset(enough):
            return Check(name, State.OK, " and ".join(f"CAP_{c.name}" for c in enough))
    fix = how_to_get(EXAMPLE, *wanted)
    return Check(name, State.NOTE, "no CAP_BPF and CAP_PERFMON", fix)


def tracefs(name: str, root: Path) -> Check:
    if where := mounted(root, "tracefs"):
        return Check(name, State.OK, where)
    if "tracefs" not in read(root / "proc/filesystems").split():
        return Check(name, State.NOTE, "not in this kernel", "a kernel with CONFIG_FTRACE")
    fix = as_root("mount -t tracefs tracefs /sys/kernel/tracing")
    return Check(name, State.NOTE, "not mounted", fix)


def bcc(name: str, root: Path) -> Check:
    """Not imported: its library brings a compiler, and takes longer than all else here."""
    packages = root / "usr/lib/python3/dist-packages"
    module = (packages / "bcc/__init__.py").exists()
    library = any(root.glob("usr/lib/*/libbcc.so.0")) or any(root.glob("usr/lib*/libbcc.so.0"))
    if module and library:
        return Check(name, State.OK, f"{packages / 'bcc'}")
    found = f"its library is missing beside {packages / 'bcc'}" if module else "missing"
    return Check(name, State.NOTE, found, install("python3-bpfcc", "bcc for Python"))


def types(name: str, root: Path) -> Check:
    """What tells where the kernel keeps its sockets, in the place of headers."""
    types = root / "sys/kernel/btf/vmlinux"
    if types.exists():
        return Check(name, State.OK, f"{types}")
    return Check(name, State.NOTE, "missing", "a kernel with CONFIG_DEBUG_INFO_BTF")


def tls(name: str, root: Path) -> Check:
    """Processes with sockets, by how they speak TLS."""
    found = list(tls_programs(frozenset(PROBES)))
    unread = [program for program in found if program.by]
    read_from = sorted({Path(path).name for program in found for path in program.libraries})
    texts = [f"read from {', '.join(read_from)}"] if read_from else []
    if unread:
        told = [f"{each.command} ({each.by}, process {each.pid})" for each in unread[:_TOLD]]
        more = [f"{len(unread) - _TOLD} more"] if len(unread) > _TOLD else []
        texts.append(f"cannot be read: {', '.join([*told, *more])}")
        return Check(name, State.NOTE, "; ".join(texts), "capture in front of what speaks TLS")
    return Check(name, State.OK, *texts or ["in no process that is seen"])
