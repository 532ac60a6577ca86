"""What one check of a host finds, and what checks share."""

import shutil
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from wiretape.agent.privileges import (
    Account,
    Capability,
    PrivilegeError,
    account_for,
    as_root,
    standing,
)

EXAMPLE = ("capture-agent", "run", "-o", "rec.mcap")


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


def held_over_host() -> frozenset[Capability]:
    """Within a user namespace, capabilities are held over what belongs to it alone."""
    now = standing()
    return frozenset() if now.user_namespace else now.effective


def caller() -> Account:
    try:
        return account_for(None)
    except PrivilegeError as error:
        raise ValueError(str(error)) from None


def mounted(root: Path, kind: str) -> str:
    """Where the first filesystem of this kind is; empty where there is none."""
    for line in read(root / "proc/self/mounts").splitlines():
        fields = line.split()
        if len(fields) > 2 and fields[2] == kind:
            return fields[1]
    return ""


def install(package: str, what: str) -> str:
    if shutil.which("apt-get"):
        return as_root(f"apt-get install {package}")
    return f"install {what} with this system's package manager"


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def size(count: int) -> str:
    unit, shift = ("GiB", 30) if count >= 1 << 30 else ("MiB", 20)
    return f"{count / (1 << shift):.1f} {unit}"
