"""From the programs' source to programs and maps in the kernel."""

import json
import mmap
import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wiretape.kernel.compiler import KERNEL_TYPES, Job, Outcome

_MAX_LINES = 12
_LONGEST_S = 60
_MAX_DESCRIPTORS = 250


class EbpfError(Exception):
    """No eBPF: one line with what would help, then what the kernel said, if it did."""


class EbpfPermissionError(EbpfError):
    """This process may not."""


@dataclass(frozen=True)
class Loaded:
    """Descriptors of what is in the kernel, by name."""

    programs: dict[str, int]
    maps: dict[str, int]

    def close(self) -> None:
        for descriptor in (*self.programs.values(), *self.maps.values()):
            os.close(descriptor)


def load(
    sources: Sequence[Path],
    programs: Mapping[str, int | tuple[int, int]],
    maps: Sequence[str],
    macros: Mapping[str, int],
    places: Mapping[str, str] | None = None,
    inherited: Sequence[int] = (),
) -> Loaded:
    """Compiles files as one, and loads their functions, each of its program type, or program and
    attach type.

    `places` are macros that become places in the kernel's structures; `inherited` are descriptors
    that the macros name. Raises EbpfError.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        job = Job(
            socket=theirs.fileno(),
            sources=list(map(str, sources)),
            macros={
                "LINUX_VERSION_CODE": _version_code(),
                "PAGE_SIZE": mmap.PAGESIZE,
                **macros,
            },
            places=dict(places or {}),
            programs={
                name: kind if isinstance(kind, tuple) else (kind, -1)
                for name, kind in programs.items()
            },
            maps=list(maps),
        )
        # Nothing is imported from the directory in which a privileged command happens to be run.
        command = [sys.executable, "-P", "-m", "wiretape.kernel.compiler"]
        try:
            ran = subprocess.run(
                command,
                input=json.dumps(job).encode(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(theirs.fileno(), *inherited),
                timeout=_LONGEST_S,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EbpfError(f"the programs cannot be compiled: {error}") from None
        theirs.close()
        answer, descriptors, _, _ = socket.recv_fds(ours, 1 << 16, _MAX_DESCRIPTORS)
    said = ran.stderr.decode(errors="replace")
    if not answer:
        raise EbpfError(_with("the programs cannot be compiled: their compiler died", said))
    outcome: Outcome = json.loads(answer)
    if outcome["failure"]:
        raise _error(outcome, said)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    count = len(programs)
    return Loaded(
        dict(zip(programs, descriptors[:count], strict=True)),
        dict(zip(maps, descriptors[count:], strict=True)),
    )


def _error(outcome: Outcome, said: str) -> EbpfError:
    failure, detail = outcome["failure"], outcome["detail"]
    release = os.uname().release
    if failure == "bcc":
        return EbpfError(f"bcc is missing (apt-get install python3-bpfcc): {detail}")
    if failure == "types":
        what = "a kernel with CONFIG_DEBUG_INFO_BTF"
        return EbpfError(f"no kernel types in {KERNEL_TYPES} ({what}): {detail}")
    if failure == "load" and ("super-user" in detail or "not permitted" in detail):
        return EbpfPermissionError("eBPF programs need CAP_BPF and CAP_PERFMON, or root")
    what = "do not compile" if failure == "compile" else "are refused"
    return EbpfError(_with(f"eBPF programs {what} on Linux {release}: {detail}", said))


def _with(line: str, said: str) -> str:
    last = [text for text in said.splitlines() if text.strip()][-_MAX_LINES:]
    return "\n".join([line, *last])


def _version_code() -> int:
    numbers = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return (int(numbers[1]) << 16) + (int(numbers[2]) << 8) if numbers else 0


def possible_processors() -> int:
    """One more than the highest number that a processor may have."""
    text = Path("/sys/devices/system/cpu/possible").read_text(encoding="ascii")
    return int(text.strip().replace("-", ",").split(",")[-1]) + 1
