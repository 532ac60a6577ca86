"""Compiles the programs and loads them, in a process of its own, by `python -m`.

bcc brings a compiler of some 100 MB into the process that imports it, and says what it has to say
on standard error. So this runs beside the process that wants the programs, hands it the descriptors
of what it loaded, and ends; what was loaded lives as long as a descriptor of it does.

    standard input    a Job, as JSON
    descriptor        of a socket, in the job: one line of JSON (an Outcome) with the descriptors of
                      the programs and then of the maps, in the job's order
    standard error    what the compiler or the verifier said
"""

import importlib
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any, TypedDict

from wiretape.kernel.btf import Types

KERNEL_TYPES = Path("/sys/kernel/btf/vmlinux")
PACKAGES = ("usr/lib/python3/dist-packages", "usr/lib*/python3.*/site-packages")
"""Where distributions keep bcc, which is in no other place."""
SHIM = Path(__file__).with_name("shim")


class Job(TypedDict):
    socket: int
    sources: list[str]
    """Files, compiled as one in this order."""
    macros: dict[str, int]
    places: dict[str, str]
    """Macros that become places in the kernel's structures, as btf.Types.offset takes them."""
    programs: dict[str, tuple[int, int]]
    """Functions, and their program and attach types as bpf(2) numbers them; -1 for none."""
    maps: list[str]


class Outcome(TypedDict):
    failure: str
    """What could not be done: empty, "bcc", "types", "compile" or "load"."""
    detail: str


def main() -> None:
    job: Job = json.load(sys.stdin)
    with socket.socket(fileno=job["socket"]) as answer:
        outcome, descriptors = _run(job)
        socket.send_fds(answer, [json.dumps(outcome).encode()], descriptors)


def _run(job: Job) -> tuple[Outcome, list[int]]:
    try:
        bcc, library = _import()
    except (ImportError, OSError, AttributeError) as error:
        return Outcome(failure="bcc", detail=str(error)), []
    try:
        places = _places(job["places"])
    except (OSError, ValueError) as error:
        return Outcome(failure="types", detail=str(error)), []
    os.environ["BCC_KERNEL_SOURCE"] = str(SHIM)
    text = "\n".join(Path(source).read_text(encoding="utf-8") for source in job["sources"])
    flags = [f"-D{name}={value}" for name, value in {**job["macros"], **places}.items()]
    try:
        module = bcc.BPF(text=text, cflags=flags)
    except Exception as error:  # bcc raises no other
        return Outcome(failure="compile", detail=str(error)), []
    descriptors = []
    for name, (kind, attached) in job["programs"].items():
        try:
            descriptors.append(module.load_func(name, kind, attach_type=attached).fd)
        except Exception as error:
            return Outcome(failure="load", detail=str(error)), []
    descriptors += [library.bpf_table_fd(module.module, name.encode()) for name in job["maps"]]
    return Outcome(failure="", detail=""), descriptors


def _import() -> tuple[Any, Any]:
    """bcc, found where the distribution keeps it, whatever interpreter this is."""
    places = [place for pattern in PACKAGES for place in Path("/").glob(pattern)]
    # Behind all else, so that nothing there stands for what this interpreter has.
    sys.path += [str(place) for place in places if (place / "bcc").is_dir()]
    bcc = importlib.import_module("bcc")
    return bcc, bcc.lib


def _places(paths: dict[str, str]) -> dict[str, int]:
    if not paths:
        return {}
    types = Types(KERNEL_TYPES.read_bytes())
    return {name: types.offset(path) for name, path in paths.items()}


if __name__ == "__main__":
    main()
