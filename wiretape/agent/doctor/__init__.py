"""`capture-agent doctor`: what this host allows, and the command that would fix the rest.

Each check looks at the host itself (`root` is where its /proc, /sys and /usr are found) and never
fails: what cannot be seen is unknown. Only what live capture cannot do without is "no"; what an
option, eBPF or replay's interception needs is a note.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from wiretape.agent.doctor import ebpf, host, packets
from wiretape.agent.doctor.check import Check, State
from wiretape.agent.privileges import raise_permitted

__all__ = ["Check", "State", "can_capture", "doctor", "examine", "table"]

_OK, _NO_SOURCE = 0, 5
_RED, _PLAIN = "\x1b[31m", "\x1b[0m"
_FOR_EBPF = ("kernel", "processor", "eBPF", "tracefs", "bcc", "kernel types")


def doctor(out: TextIO) -> int:
    """Print all checks; the exit code says whether anything can be captured."""
    raise_permitted()
    checks = list(examine())
    out.write(table(checks, colour=out.isatty() and "NO_COLOR" not in os.environ))
    return _OK if can_capture(checks) else _NO_SOURCE


def can_capture(checks: list[Check]) -> bool:
    """Whether one of the sources works."""
    working = {check.name for check in checks if check.state is State.OK}
    return "packet ring" in working or working.issuperset(_FOR_EBPF)


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
        ("packets", packets.packets),
        ("packet ring", packets.ring),
        ("libpcap", packets.libpcap),
        ("--netns", packets.netns),
        ("memory", host.memory),
        ("disk", host.disk),
        ("Python", host.python),
        ("kernel", ebpf.kernel),
        ("processor", ebpf.processor),
        ("eBPF", ebpf.ebpf),
        ("tracefs", ebpf.tracefs),
        ("bcc", ebpf.bcc),
        ("kernel types", ebpf.types),
        ("TLS", ebpf.tls),
        ("cgroup v2", host.cgroup),
        ("user namespaces", host.user_namespaces),
    )
    for name, check in checks:
        try:
            yield check(name, root)
        except OSError as error:
            yield Check(name, State.NOTE, f"unknown: {error.strerror or error}")
        except ValueError as error:
            yield Check(name, State.NOTE, f"unknown: {error}")
