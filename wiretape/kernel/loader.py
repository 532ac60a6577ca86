"""From the programs' source to programs and maps in the kernel, by an image that is kept."""

import errno
import json
import mmap
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wiretape.kernel import cache
from wiretape.kernel.bpf import create_map, load_program
from wiretape.kernel.compiler import KERNEL_TYPES, Job, Outcome
from wiretape.kernel.image import Image

_MAX_LINES = 12
_LONGEST_S = 60
_FORBIDDEN = re.compile(r"could not open bpf map: .*Operation not permitted")
"""Said by bcc, which makes the maps where it compiles."""


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
    inherited: Mapping[str, int] | None = None,
    values: Mapping[str, int] | None = None,
) -> Loaded:
    """Compiles files as one, and loads their functions, each of its program type, or program and
    attach type. What was compiled before on this kernel is not compiled again.

    `places` are macros that become places in the kernel's structures; `inherited` macros that
    become maps, given by their descriptors; `values` macros that become numbers which differ from
    start to start, and so cannot be in #if. Raises EbpfError.
    """
    numbers = {**(inherited or {}), **(values or {})}
    job = Job(
        text="\n".join(source.read_text(encoding="utf-8") for source in sources),
        macros={"LINUX_VERSION_CODE": _version_code(), "PAGE_SIZE": mmap.PAGESIZE, **macros},
        places=dict(places or {}),
        inherited=list(inherited or {}),
        values=list(values or {}),
        programs={
            name: kind if isinstance(kind, tuple) else (kind, -1) for name, kind in programs.items()
        },
    )
    key = cache.key_of(job)
    kept = cache.read(key)
    if kept is not None:
        try:
            return _load(Image.from_bytes(kept), maps, numbers)
        except EbpfPermissionError:
            raise
        except EbpfError:
            pass  # what is compiled now is tried once, and its refusal told
    image = _compile(job)
    loaded = _load(image, maps, numbers)
    cache.write(key, image.to_bytes())
    return loaded


def _compile(job: Job) -> Image:
    """Raises EbpfError."""
    # Nothing is imported from the directory in which a privileged command happens to be run.
    command = [sys.executable, "-P", "-m", "wiretape.kernel.compiler"]
    try:
        ran = subprocess.run(
            command, input=json.dumps(job).encode(), capture_output=True, timeout=_LONGEST_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EbpfError(f"the programs cannot be compiled: {error}") from None
    said = ran.stderr.decode(errors="replace")
    line, _, content = ran.stdout.partition(b"\n")
    try:
        outcome: Outcome = json.loads(line)
        if not outcome["failure"]:
            return Image.from_bytes(content)
    except ValueError:  # cut off
        died = "the programs cannot be compiled: their compiler died"
        raise EbpfError(_with(died, said)) from None
    raise _error(outcome, said)


def _load(image: Image, maps: Sequence[str], numbers: Mapping[str, int]) -> Loaded:
    """Raises EbpfError."""
    loaded = Loaded({}, {})
    try:
        for name, *definition in image.maps:
            loaded.maps[name] = _asked(name, create_map, *definition, name)
        known = {**numbers, **loaded.maps}
        for each in image.programs:
            code = each.linked(known)
            loaded.programs[each.name] = _asked(
                each.name, load_program, each.kind, each.attached, code, each.name
            )
        # The others live as long as programs that use them.
        for name in loaded.maps.keys() - maps:
            os.close(loaded.maps.pop(name))
    except BaseException:
        loaded.close()
        raise
    return loaded


def _asked(what: str, ask: Callable[..., int], *arguments: object) -> int:
    """What the kernel gives for a program or a map of that name. Raises EbpfError."""
    try:
        return ask(*arguments)
    except OSError as error:
        if error.errno == errno.EPERM:
            raise _forbidden() from None
        line = f"eBPF programs are refused on Linux {os.uname().release}: {what}: {error.strerror}"
        raise EbpfError(_with(line, "\n".join(getattr(error, "__notes__", [])))) from None


def _error(outcome: Outcome, said: str) -> EbpfError:
    failure, detail = outcome["failure"], outcome["detail"]
    if failure == "bcc":
        return EbpfError(f"bcc is missing (apt-get install python3-bpfcc): {detail}")
    if failure == "types":
        what = "a kernel with CONFIG_DEBUG_INFO_BTF"
        return EbpfError(f"no kernel types in {KERNEL_TYPES} ({what}): {detail}")
    if _FORBIDDEN.search(said):
        return _forbidden()
    return EbpfError(
        _with(f"eBPF programs do not compile on Linux {os.uname().release}: {detail}", said)
    )


def _forbidden() -> EbpfPermissionError:
    return EbpfPermissionError("eBPF programs need CAP_BPF and CAP_PERFMON, or root")


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
