"""Compiles programs to an image, in a process of its own, by `python -m`.

bcc brings a compiler of some 100 MB into the process that imports it, and says what it has to say
on standard error. So this runs beside the process that wants the programs, and ends. The image
depends on nothing but the job, the kernel, and the files of this folder: it is kept (cache.py).

    standard input    a Job, as JSON
    standard output   an Outcome, as JSON, in one line; then the image, where there is one
    standard error    what the compiler said
"""

import ctypes
import importlib
import json
import os
import struct
import sys
from pathlib import Path
from typing import Any, TypedDict

from wiretape.kernel.btf import Types
from wiretape.kernel.image import INSTRUCTION_BYTES, Image, MapImage, ProgramImage

KERNEL_TYPES = Path("/sys/kernel/btf/vmlinux")
PACKAGES = ("usr/lib/python3/dist-packages", "usr/lib*/python3.*/site-packages")
"""Where distributions keep bcc, which is in no other place."""
SHIM = Path(__file__).with_name("shim")

_LOAD_64 = 0x18
_NUMBER, _MAP = 0, 1
"""What an instruction loads: a number, or a map by its descriptor."""
_FIRST_UNKNOWN = 0x7E57_0000
"""What stands for what is known only when it is loaded; no descriptor is so high."""


class Job(TypedDict):
    text: str
    macros: dict[str, int]
    places: dict[str, str]
    """Macros that become places in the kernel's structures, as btf.Types.offset takes them."""
    inherited: list[str]
    """Macros that become maps which the loader has."""
    values: list[str]
    """Macros that become numbers which the loader knows."""
    programs: dict[str, tuple[int, int]]
    """Functions, and their program and attach types as bpf(2) numbers them; -1 for none."""


class Outcome(TypedDict):
    failure: str
    """What could not be done: empty, "bcc", "types" or "compile"."""
    detail: str


def main() -> None:
    job: Job = json.load(sys.stdin)
    # What bcc prints is for people.
    with os.fdopen(os.dup(1), "wb") as answer:
        os.dup2(2, 1)
        outcome, image = _run(job)
        answer.write(json.dumps(outcome).encode() + b"\n" + (image.to_bytes() if image else b""))


def _run(job: Job) -> tuple[Outcome, Image | None]:
    # bcc and its compiler heed some variables (ARCH, CPATH): they would be part of the image.
    os.environ.clear()
    os.environ["BCC_KERNEL_SOURCE"] = str(SHIM)
    try:
        bcc, library = _import()
    except (ImportError, OSError, AttributeError) as error:
        return Outcome(failure="bcc", detail=str(error)), None
    try:
        places = _places(job["places"])
    except (OSError, ValueError) as error:
        return Outcome(failure="types", detail=str(error)), None
    names = [*job["inherited"], *job["values"]]
    unknown = {_FIRST_UNKNOWN + n: name for n, name in enumerate(names)}
    macros: dict[str, object] = {**job["macros"], **places}
    for number, name in unknown.items():
        is_map = name in job["inherited"]
        loads = f"bpf_pseudo_fd({_MAP if is_map else _NUMBER},{number})"
        macros[name] = f"((void*){loads})" if is_map else loads
    flags = [f"-D{name}={value}" for name, value in macros.items()]
    try:
        module = bcc.BPF(text=job["text"], cflags=flags)
        maps = _maps(library, module.module)
        known = unknown | {descriptor: each.name for descriptor, each in maps.items()}
        programs = []
        for name, (kind, attached) in job["programs"].items():
            code = module.dump_func(name)
            programs.append(ProgramImage(name, kind, attached, code, _references(code, known)))
    except Exception as error:  # bcc raises no other
        return Outcome(failure="compile", detail=str(error)), None
    return Outcome(failure="", detail=""), Image(tuple(maps.values()), tuple(programs))


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


def _maps(library: Any, module: int) -> dict[int, MapImage]:
    """The maps of a module by the descriptors that they have here."""

    def ask(what: str, number: int, kind: Any = ctypes.c_int) -> Any:
        function = ctypes.CFUNCTYPE(kind, ctypes.c_void_p, ctypes.c_size_t)
        return function((f"bpf_table_{what}", library))(module, number)

    count = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p)(("bpf_num_tables", library))
    return {
        ask("fd_id", n): MapImage(
            name=ask("name", n, ctypes.c_char_p).decode(),
            kind=ask("type_id", n),
            key_bytes=ask("key_size_id", n, ctypes.c_size_t),
            value_bytes=ask("leaf_size_id", n, ctypes.c_size_t),
            entries=ask("max_entries_id", n, ctypes.c_size_t),
            flags=ask("flags_id", n),
        )
        for n in range(count(module))
    }


def _references(code: bytes, known: dict[int, str]) -> tuple[tuple[int, str], ...]:
    """Raises ValueError for a reference to what is not known: no descriptor of this process may
    stay in an image, for in another one it is something else."""
    found = []
    instructions = list(struct.iter_unpack("<BBhi", code))
    assert len(code) == INSTRUCTION_BYTES * len(instructions)
    at = 0
    while at < len(instructions):
        operation, registers, _, number = instructions[at]
        loads, source = operation == _LOAD_64, registers >> 4
        stands_for_another = number >= _FIRST_UNKNOWN and number in known
        if loads and (stands_for_another or (source == _MAP and number in known)):
            found.append((at, known[number]))
        elif stands_for_another or (loads and source != _NUMBER):
            raise ValueError(f"instruction {at} refers to what is not in the image")
        at += 2 if loads else 1
    return tuple(found)


if __name__ == "__main__":
    main()
