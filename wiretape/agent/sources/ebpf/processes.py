"""Processes as /proc tells of them: who descends from whom, in which cgroup, who listens."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

PROC = Path("/proc")

_CONTAINER = re.compile(r"(?:^|[/:-])([0-9a-f]{64})(?:\.scope)?(?=/|$)")
_LISTENS = "0A"


def pids() -> Iterator[int]:
    for place in PROC.iterdir():
        if place.name.isdecimal():
            yield int(place.name)


def command(pid: int) -> bytes:
    """The process's name, of up to 15 bytes; empty where it is gone."""
    try:
        return (PROC / str(pid) / "comm").read_bytes().rstrip(b"\n")
    except OSError:
        return b""


def descendants(roots: Iterable[int]) -> set[int]:
    """These processes, as far as they are there, and all that descend from them."""
    parents = {pid: parent for pid in pids() if (parent := _parent(pid)) is not None}
    found = {pid for pid in roots if pid in parents}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _parent(pid: int) -> int | None:
    try:
        text = (PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The name stands in parentheses, and may hold anything.
    return int(text.rpartition(b")")[2].split()[1])


def cgroup(pid: int) -> str:
    """The path of its cgroup, of version 2 where that says more than the root; empty where it is
    gone."""
    try:
        lines = (PROC / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return ""
    paths = [line.split(":", 2)[2] for line in lines if line.count(":") >= 2]
    second = next((line[3:] for line in lines if line.startswith("0::")), "/")
    return second if second != "/" else max(paths, key=len, default="/")


def container(path: str) -> str:
    """The container's id in a cgroup's path; empty where it is no container's."""
    found = _CONTAINER.findall(path)
    return found[-1] if found else ""


def listening_ports(pid: int) -> set[int]:
    """Ports of TCP that someone listens on in the process's network namespace."""
    ports = set()
    for name in ("tcp", "tcp6"):
        try:
            lines = (PROC / str(pid) / "net" / name).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if len(fields) > 3 and fields[3] == _LISTENS:
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports
