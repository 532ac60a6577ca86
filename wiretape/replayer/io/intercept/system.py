"""Whom and what the build finds on its machine: the user, and the files that lead to addresses."""

from __future__ import annotations

import os
import pwd
import socket
from dataclasses import dataclass
from pathlib import Path

_HIDDEN = ("/run/nscd",)
"""Where services answer for names by other ways than DNS, whatever nsswitch.conf says."""
_SWITCH = Path("/etc/nsswitch.conf")


@dataclass(frozen=True, slots=True)
class InvokingUser:
    """Who called sudo: user, group and supplementary groups, and the variables that name them."""

    ids: tuple[int, int, list[int]]
    environment: dict[str, str]


def invoking_user() -> InvokingUser | None:
    """Who the build is meant to run as where we are root by sudo; else None: as we do."""
    number = os.environ.get("SUDO_UID", "")
    if os.geteuid() != 0 or not number.isdigit() or not int(number):
        return None
    try:
        entry = pwd.getpwuid(int(number))
    except KeyError:
        return None
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return InvokingUser(
        (entry.pw_uid, entry.pw_gid, groups),
        {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name},
    )


def covers(folder: Path, name_server: str) -> tuple[dict[str, str], list[str]]:
    """What to lay over the system's files, written into `folder`, and the folders to be covered.

    So every resolver of the build asks our name server, and none of them anything else.
    """
    host = socket.gethostname()
    texts = {
        "resolv.conf": f"nameserver {name_server}\n",
        "nsswitch.conf": _switch(),
        "hosts": f"127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.1.1 {host}\n",
    }
    laid = {}
    for name, text in texts.items():
        file = folder / name
        file.write_text(text)
        laid[f"/etc/{name}"] = str(file)
    return laid, list(_HIDDEN)


def _switch() -> str:
    """nsswitch.conf(5), with hosts found in the file and by DNS alone."""
    try:
        lines = _SWITCH.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    kept = [line for line in lines if not line.lstrip().startswith("hosts:")]
    return "\n".join([*kept, "hosts: files dns", ""])
