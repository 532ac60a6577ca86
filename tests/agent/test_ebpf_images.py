"""From source to an image, and from an image to what works in the kernel."""

import errno
import mmap
import os
import resource
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from wiretape.kernel import bpf, cache, compiler, loader
from wiretape.kernel.bpf import create_map, load_program
from wiretape.kernel.compiler import Job
from wiretape.kernel.image import Image, MapImage, ProgramImage
from wiretape.kernel.loader import EbpfError, EbpfPermissionError, Loaded


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Not there yet, as where it is made."""
    place = tmp_path / "cache" / "wiretape"
    monkeypatch.setattr(cache, "folder", lambda: place)
    return place


IMAGE = Image(
    maps=(MapImage("table", 2, 4, 8, 1, 1024),),
    programs=(
        ProgramImage("one", 1, -1, bytes(range(48)), ((0, "table"), (3, "AGENT"))),
        ProgramImage("two", 18, 10, b"", ()),
    ),
)


def test_an_image_and_its_bytes() -> None:
    assert Image.from_bytes(IMAGE.to_bytes()) == IMAGE


def test_numbers_come_into_an_image() -> None:
    code = bytearray(range(48))
    code[4:8], code[12:16] = struct.pack("<I", 3), bytes(4)
    code[28:32], code[36:40] = struct.pack("<I", 7), struct.pack("<I", 2)
    linked = IMAGE.programs[0].linked({"table": 3, "AGENT": 7 + (2 << 32)})
    assert linked == code


@pytest.mark.parametrize(
    ("instruction", "wanted"),
    [
        ((0x18, 0x11, 5), "table"),
        ((0x18, 0x11, 0x7E570000), "RING"),
        ((0x18, 0x01, 0x7E570001), "AGENT"),
        ((0x18, 0x01, 5), None),  # a number that happens to be that of a descriptor
        ((0x18, 0x11, 6), ValueError),  # a descriptor that nobody knows
        ((0x18, 0x21, 5), ValueError),  # the memory of a map
        ((0x15, 0x01, 0x7E570001), ValueError),  # where nothing can be put in
    ],
)
def test_what_instructions_refer_to(instruction: tuple[int, int, int], wanted: object) -> None:
    operation, registers, number = instruction
    code = b"".join(
        struct.pack("<BBhi", *parts)
        for parts in ((0xB7, 0, 0, 5), (operation, registers, 0, number), (0, 0, 0, 0))
    )
    known = {5: "table", 0x7E570000: "RING", 0x7E570001: "AGENT"}
    if wanted is ValueError:
        with pytest.raises(ValueError, match="instruction 1"):
            compiler._references(code, known)
    else:
        expected = ((1, wanted),) if wanted else ()
        assert compiler._references(code, known) == expected


# -- in the kernel: a program that puts a number into a map of ours, and counts in one of its own

TEXT = """
BPF_F_TABLE("array", int, u64, counts, 2, BPF_F_MMAPABLE);
BPF_ARRAY(unused_by_name, u64, 1);

int program(struct __sk_buff *packet)
{
	int key = STEP - STEP;
	u64 value = VALUE;
	u64 *count = counts.lookup(&key), *other = unused_by_name.lookup(&key);

	if (count && other) {
		*other += STEP;
		*count = *other;
	}
	((int (*)(void *, void *, void *, u64))2)(OUTSIDE, &key, &value, 0);
	return 0;
}
"""
ARRAY, MMAPABLE, SOCKET_FILTER, SO_ATTACH_BPF = 2, 1 << 10, 1, 50


def load(folder: Path, value: int, outside: int, step: int = 3, text: str = TEXT) -> Loaded:
    source = folder / "program.bpf.c"
    source.write_text(text)
    return loader.load(
        [source],
        {"program": SOCKET_FILTER},
        ["counts"],
        {"STEP": step},
        inherited={"OUTSIDE": outside},
        values={"VALUE": value},
    )


def outside_map() -> int:
    try:
        return create_map(ARRAY, 4, 8, 1, MMAPABLE, "outside")
    except OSError as error:
        pytest.skip(f"no eBPF: {error.strerror}")


def first(descriptor: int) -> int:
    with mmap.mmap(descriptor, mmap.PAGESIZE, prot=mmap.PROT_READ) as memory:
        return int(struct.unpack_from("=Q", memory)[0])


def works(folder: Path, value: int, step: int = 3) -> None:
    outside = outside_map()
    try:
        loaded = load(folder, value, outside, step)
    except EbpfError as error:
        os.close(outside)
        if "bcc is missing" in str(error) or isinstance(error, EbpfPermissionError):
            pytest.skip(str(error).splitlines()[0])
        raise
    here, there = socket.socketpair(type=socket.SOCK_DGRAM)
    with here, there:
        there.setsockopt(socket.SOL_SOCKET, SO_ATTACH_BPF, loaded.programs["program"])
        for n in (1, 2):
            here.send(b"x")
            assert (first(outside), first(loaded.maps["counts"])) == (value, n * step)
    assert list(loaded.maps) == ["counts"]
    assert not any(os.get_inheritable(each) for each in (*loaded.programs.values(), outside))
    loaded.close()
    os.close(outside)


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """What was compiled."""
    found: list[Job] = []
    compile_ = loader._compile

    def compiled(job: Job) -> Image:
        found.append(job)
        return compile_(job)

    monkeypatch.setattr(loader, "_compile", compiled)
    return found


@pytest.mark.privileged
def test_a_warm_start_compiles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    works(tmp_path, 7)
    monkeypatch.setattr(loader.sys, "executable", "/bin/false")
    # Other numbers, and another descriptor.
    spare = os.open("/dev/null", os.O_RDONLY)
    works(tmp_path, 1 << 40 | 9)
    works(tmp_path, (1 << 32) - 1)
    os.close(spare)
    with pytest.raises(EbpfError, match="compiler died"):
        works(tmp_path, 7, step=4)


@pytest.mark.privileged
@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: os.truncate(path, path.stat().st_size - 1),
        lambda path: path.chmod(0o620),
        lambda path: path.parent.chmod(0o777),
    ],
)
def test_a_spoilt_image_is_compiled_again(
    tmp_path: Path, folder: Path, spoil: Callable[[Path], object], compilations: list[Job]
) -> None:
    works(tmp_path, 7)
    (path,) = folder.iterdir()
    spoil(path)
    works(tmp_path, 8)
    assert len(compilations) == 2


@pytest.mark.privileged
def test_where_nothing_can_be_kept_it_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compilations: list[Job]
) -> None:
    monkeypatch.setattr(cache, "folder", lambda: Path("/dev/null/wiretape"))
    works(tmp_path, 7)
    works(tmp_path, 8)
    assert len(compilations) == 2


@pytest.mark.privileged
def test_an_image_that_the_kernel_refuses_is_compiled_again(
    tmp_path: Path, folder: Path, compilations: list[Job]
) -> None:
    works(tmp_path, 7)
    (path,) = folder.iterdir()
    kept = cache.read(path.name)
    assert kept is not None
    image = Image.from_bytes(kept)
    (program,) = image.programs
    ends = struct.pack("<BBhi", 0x95, 0, 0, 0)  # exit, and no result
    bad = image._replace(programs=(program._replace(code=ends, references=()),))
    cache.write(path.name, bad.to_bytes())
    works(tmp_path, 8)
    works(tmp_path, 9)
    assert len(compilations) == 2


@pytest.mark.privileged
def test_what_is_refused_is_not_kept(tmp_path: Path, folder: Path, compilations: list[Job]) -> None:
    works(tmp_path, 7)
    (first_image,) = folder.iterdir()
    before = descriptors()
    outside = outside_map()
    refused = TEXT.replace("return 0", "return *(int *)value")
    for _ in range(2):
        with pytest.raises(EbpfError) as raised:
            load(tmp_path, 7, outside, text=refused)
        lines = str(raised.value).splitlines()
        assert lines[0].startswith("eBPF programs are refused on Linux ")
        assert lines[0].endswith("program: Permission denied")
        assert "invalid mem access" in str(raised.value)
    os.close(outside)
    assert descriptors() == before
    assert len(compilations) == 3
    assert list(folder.iterdir()) == [first_image]


ENVIRONMENT = """
#ifdef __aarch64__
BPF_ARRAY(of_arm, u64, 1);
#endif
#if __has_include(<stray.h>)
BPF_ARRAY(stray, u64, 1);
#endif
"""


@pytest.mark.privileged
def test_the_environment_is_no_part_of_an_image(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    works(tmp_path, 7)  # or the test is skipped
    kept = set(folder.iterdir())
    (tmp_path / "stray.h").touch()
    images = []
    for variables in (
        {},
        {"ARCH": "x86" if os.uname().machine == "aarch64" else "arm64"},
        {"CPATH": str(tmp_path)},
    ):
        with monkeypatch.context() as context:
            for name, value in variables.items():
                context.setenv(name, value)
            outside = outside_map()
            load(tmp_path, 7, outside, text=ENVIRONMENT + TEXT).close()
            os.close(outside)
        (path,) = set(folder.iterdir()) - kept
        images.append(path.read_bytes())
        path.unlink()
    assert images[1:] == images[:1] * 2


def test_a_program_that_no_kernel_takes_says_why() -> None:
    outside = outside_map()
    os.close(outside)
    with pytest.raises(OSError, match=r"Invalid argument|Permission denied") as raised:
        load_program(SOCKET_FILTER, -1, struct.pack("<BBhi", 0x95, 0, 0, 0), "a_name_that_is_long")
    assert "R0 !read_ok" in "".join(raised.value.__notes__)


@pytest.mark.parametrize(
    ("refusal", "allowed"), [(errno.EPERM, True), (errno.EPERM, False), (errno.EACCES, True)]
)
def test_memory_that_an_older_kernel_counts_as_locked(
    refusal: int, allowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = [(1 << 16, 1 << 16)]

    def set_limit(what: int, limit: tuple[int, int]) -> None:
        if not allowed:
            raise ValueError("not allowed to raise maximum limit")
        limits.append(limit)

    def ask(command: int, attributes: bytes) -> int:
        if limits[-1][0] == resource.RLIM_INFINITY:
            return 3
        raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr(resource, "getrlimit", lambda what: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", set_limit)
    monkeypatch.setattr(bpf, "_bpf", ask)
    if refusal == errno.EPERM and allowed:
        assert create_map(ARRAY, 4, 8, 1, 0, "map") == 3
        assert limits[1:] == [(resource.RLIM_INFINITY,) * 2, limits[0]]
    else:
        with pytest.raises(OSError, match=r"permitted|denied") as raised:
            create_map(ARRAY, 4, 8, 1, 0, "map")
        assert raised.value.errno == refusal
        assert limits == limits[:1]


def test_a_signal_while_it_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [OSError(errno.EAGAIN, "again"), OSError(errno.EAGAIN, "again"), 3]

    def ask(command: int, attributes: bytes) -> int:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(bpf, "_bpf", ask)
    assert load_program(SOCKET_FILTER, -1, b"", "program") == 3


@pytest.mark.parametrize(
    "said",
    [b"", b'{"failure": ""', b'{"failure": "", "detail": ""}\n', b'{"failure": ""}\n[[], [[1'],
)
def test_a_compiler_that_dies(said: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler_ = tmp_path / "compiler"
    (tmp_path / "said").write_bytes(said)
    compiler_.write_text(f"#!/bin/sh\ncat {tmp_path}/said\nkill -SEGV $$\n")
    compiler_.chmod(0o700)
    monkeypatch.setattr(loader.sys, "executable", str(compiler_))
    with pytest.raises(EbpfError, match="compiler died"):
        load(tmp_path, 7, 3)
