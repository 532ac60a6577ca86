"""Which processes and ports are looked at, as the kernel's programs are told."""

import os
import struct
from dataclasses import dataclass, field
from pathlib import Path

from wiretape.agent.sources.ebpf import processes
from wiretape.agent.sources.ebpf.loader import EbpfError, EbpfPermissionError, Loaded
from wiretape.kernel.bpf import Map

_MOUNTS = Path("/proc/self/mounts")
_NAME_BYTES = 16


@dataclass(frozen=True)
class Selection:
    """Of several kinds of conditions, all must hold; of several of one kind, any. The agent itself
    is never selected; without conditions all other processes are."""

    pids: tuple[int, ...] = ()
    """And all that descends from them."""
    commands: tuple[str, ...] = ()
    """Names of processes, as in /proc/PID/comm: what is beyond 15 bytes does not count."""
    cgroups: tuple[str, ...] = ()
    """Paths in the cgroup v2 hierarchy, with or without where it is mounted; what is below them
    too."""
    ports: tuple[int, ...] = ()
    """At either end."""


@dataclass(frozen=True)
class _Group:
    id: int
    level: int


@dataclass
class KernelSelection:
    """A selection on its way into the kernel. Raises EbpfError: no such process or cgroup."""

    selection: Selection
    _groups: list[_Group] = field(init=False)

    def __post_init__(self) -> None:
        for pid in self.selection.pids:
            if not (processes.PROC / str(pid)).is_dir():
                raise EbpfError(f"no process {pid}")
        self._groups = [_group(path) for path in self.selection.cgroups]

    @property
    def macros(self) -> dict[str, int]:
        chosen = self.selection
        return {
            "SELECT_PIDS": len(chosen.pids),
            "SELECT_NAMES": len(chosen.commands),
            "SELECT_CGROUPS": len(chosen.cgroups),
            "SELECT_PORTS": len(chosen.ports),
        }

    @property
    def maps(self) -> list[str]:
        chosen = self.selection
        there = {
            "processes": chosen.pids or chosen.commands,
            "names": chosen.commands,
            "groups": chosen.cgroups,
            "ports": chosen.ports,
        }
        return [name for name, wanted in there.items() if wanted]

    def prepare(self, loaded: Loaded) -> None:
        """What does not change; before any program is attached."""
        maps = {name: Map(descriptor) for name, descriptor in loaded.maps.items()}
        for name in self.selection.commands:
            maps["names"][_name(os.fsencode(name))] = b"\1"
        for n, group in enumerate(self._groups):
            maps["groups"][struct.pack("=I", n)] = struct.pack("=QII", group.id, group.level, 0)
        for port in self.selection.ports:
            maps["ports"][struct.pack("=H", port)] = b"\1"

    def scan(self, loaded: Loaded) -> None:
        """The processes that are there; once those that fork, exec and exit are followed."""
        chosen = self.selection
        if "processes" not in loaded.maps:
            return
        known = Map(loaded.maps["processes"])
        names = {_name(os.fsencode(name)) for name in chosen.commands}
        seen: dict[int, tuple[bool, bool]] = {}
        # What forked before its parent was known here is found by looking again.
        while True:
            descend = processes.descendants(chosen.pids)
            found = {}
            for pid in processes.pids():
                named = bool(names) and _name(processes.command(pid)) in names
                if named or pid in descend:
                    found[pid] = (pid in descend, named)
            if found.items() <= seen.items():
                return
            for pid, state in found.items():
                known[struct.pack("=I", pid)] = bytes(state)
            seen |= found


def _name(text: bytes) -> bytes:
    return text[: _NAME_BYTES - 1].ljust(_NAME_BYTES, b"\0")


def _group(path: str) -> _Group:
    mounted = _mounted()
    if mounted is None:
        raise EbpfError("no cgroup v2 hierarchy is mounted (mount -t cgroup2 cgroup2 /run/cgroup2)")
    place = Path(path)
    if not place.is_relative_to(mounted):
        place = mounted / path.lstrip("/")
    try:
        return _Group(place.stat().st_ino, len(place.relative_to(mounted).parts))
    except PermissionError as error:
        raise EbpfPermissionError(f"cgroup {path}: {error.strerror}") from None
    except OSError as error:
        raise EbpfError(f"no cgroup {path}: {place}: {error.strerror}") from None


def _mounted() -> Path | None:
    for line in _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines():
        fields = line.split()
        if len(fields) > 2 and fields[2] == "cgroup2":
            return Path(fields[1])
    return None
