"""What the host has room for, and what replay's interception takes."""

import ctypes
import os
import re
import sys
from pathlib import Path

from wiretape.agent.doctor.check import Check, State, caller, mounted, read, size
from wiretape.agent.privileges import Account, as_root, become, in_child, write_refusal

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_DUMPABLE = 4
_ENOUGH_MEMORY, _ENOUGH_DISK, _NO_DISK = 512 << 20, 1 << 30, 16 << 20


def memory(name: str, root: Path) -> Check:
    text = read(root / "proc/meminfo")
    found = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    if found is None:
        raise ValueError("no MemAvailable in /proc/meminfo")
    available = int(found[1]) << 10
    if available < _ENOUGH_MEMORY:
        fix = "capture-agent run --max-memory 128M …"
        return Check(name, State.NOTE, f"{size(available)} available", fix)
    return Check(name, State.OK, f"{size(available)} available")


def disk(name: str, root: Path) -> Check:
    here = Path()
    usage = os.statvfs(here)
    free = usage.f_bavail * usage.f_frsize
    found = f"{size(free)} free in this directory"
    account = caller()
    if write_refusal(account, here):
        return Check(name, State.NO, f"{account.name} may not write here", 'cd "$HOME"')
    if free < _NO_DISK:
        return Check(name, State.NO, found, "capture-agent run -o DIRECTORY_ELSEWHERE/ …")
    if free < _ENOUGH_DISK:
        fix = f"capture-agent run --max-disk {free // 2 >> 20}MB …"
        return Check(name, State.NOTE, found, fix)
    return Check(name, State.OK, found)


def python(name: str, root: Path) -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check(name, State.OK, f"{version} ({sys.executable})")


def cgroup(name: str, root: Path) -> Check:
    if where := mounted(root, "cgroup2"):
        return Check(name, State.OK, where)
    command = "sh -c 'mkdir -p /run/cgroup2 && mount -t cgroup2 cgroup2 /run/cgroup2'"
    return Check(name, State.NOTE, "not mounted", as_root(command))


def user_namespaces(name: str, root: Path) -> Check:
    """Makes one with a network of its own in a child, as the user who will replay."""
    account = caller()
    if in_child(lambda: _unshares(account)):
        return Check(name, State.OK, f"allowed to {account.name}")
    for key, enough in (
        ("user.max_user_namespaces", 10_000),
        ("kernel.unprivileged_userns_clone", 1),
        ("kernel.apparmor_restrict_unprivileged_userns", 0),
    ):
        setting = root / "proc/sys" / key.replace(".", "/")
        if setting.exists() and (int(read(setting)) == 0) == (enough != 0):
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
