"""Images that are kept: what they depend on, whom they are taken from, and that they work."""

import errno
import mmap
import os
import shutil
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from wiretape.kernel import cache, compiler, loader
from wiretape.kernel.bpf import create_map, load_program
from wiretape.kernel.compiler import Job
from wiretape.kernel.image import Image, MapImage, ProgramImage
from wiretape.kernel.loader import EbpfError, EbpfPermissionError, Loaded

KEY, OTHER_KEY, CONTENT = "a" * 64, "b" * 64, b"what was compiled"
OTHER_USER = 54321


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Not there yet, as where it is made."""
    place = tmp_path / "cache" / "wiretape"
    monkeypatch.setattr(cache, "folder", lambda: place)
    return place


# -- files


def test_what_was_written_is_read(folder: Path) -> None:
    assert cache.read(KEY) is None
    cache.write(KEY, CONTENT)
    cache.write(KEY, CONTENT)
    assert cache.read(KEY) == CONTENT
    assert [path.name for path in folder.iterdir()] == [KEY]
    assert (folder.stat().st_mode & 0o777, (folder / KEY).stat().st_mode & 0o777) == (0o700, 0o600)


def changed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def linked(path: Path) -> None:
    there = path.with_name("there")
    path.rename(there)
    path.symlink_to(there)


def replaced_by(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        path.unlink()
        make(path)

    return spoil


SPOILT: dict[str, Callable[[Path], object]] = {
    "a byte is another": changed,
    "cut off": lambda path: os.truncate(path, path.stat().st_size - 1),
    "its checksum is cut off": lambda path: os.truncate(path, 20),
    "empty": lambda path: os.truncate(path, 0),
    "a symbolic link": linked,
    "a folder": replaced_by(Path.mkdir),
    "a pipe": replaced_by(os.mkfifo),
    "its group may write": lambda path: path.chmod(0o620),
    "everybody may write": lambda path: path.chmod(0o602),
    "the folder's group may write": lambda path: path.parent.chmod(0o770),
    "everybody may write in the folder": lambda path: path.parent.chmod(0o777),
    "the folder is sticky": lambda path: path.parent.chmod(0o1777),
    "everybody may move the folder": lambda path: path.parent.parent.chmod(0o777),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_what_is_not_to_be_trusted(folder: Path, spoil: Callable[[Path], object]) -> None:
    cache.write(KEY, CONTENT)
    assert cache.read(KEY) == CONTENT
    spoil(folder / KEY)
    assert cache.read(KEY) is None
    cache.write(KEY, CONTENT)  # says nothing, whether it can or not


def test_an_image_is_that_of_its_key(folder: Path) -> None:
    cache.write(KEY, CONTENT)
    shutil.copy(folder / KEY, folder / OTHER_KEY)
    assert cache.read(OTHER_KEY) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
@pytest.mark.parametrize("of", ["file", "folder", "parent"])
def test_what_is_anothers(folder: Path, of: str) -> None:
    cache.write(KEY, CONTENT)
    given = {"file": folder / KEY, "folder": folder, "parent": folder.parent}[of]
    os.chown(given, OTHER_USER, OTHER_USER)
    assert cache.read(KEY) is None


def test_a_link_is_followed_to_where_it_is_safe(folder: Path, tmp_path: Path) -> None:
    cache.write(KEY, CONTENT)
    (tmp_path / "elsewhere").mkdir(0o700)
    folder.rename(tmp_path / "elsewhere" / "wiretape")
    folder.symlink_to(tmp_path / "elsewhere" / "wiretape")
    assert cache.read(KEY) == CONTENT
    (tmp_path / "elsewhere").chmod(0o777)
    assert cache.read(KEY) is None


@pytest.mark.parametrize("place", ["/proc/nobody/wiretape", "/dev/null/wiretape", "relative"])
def test_where_nothing_can_be_kept(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "folder", lambda: Path(place))
    cache.write(KEY, CONTENT)
    assert cache.read(KEY) is None


def test_a_full_disk_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*unused: object, **also: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    cache.write(KEY, CONTENT)
    assert list(folder.iterdir()) == []


def test_those_that_were_used_last_are_kept(folder: Path) -> None:
    keys = [f"{n:064}" for n in range(17)]
    for n, key in enumerate(keys[:16]):
        cache.write(key, CONTENT)
        os.utime(folder / key, (1000 + n, 1000 + n))
    assert cache.read(keys[0]) == CONTENT
    cache.write(keys[16], CONTENT)
    assert {path.name for path in folder.iterdir()} == {keys[0], *keys[2:]}


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({"HOME": "/home/one"}, "/home/one/.cache/wiretape"),
        ({"HOME": "/home/one", "XDG_CACHE_HOME": "/caches"}, "/caches/wiretape"),
        ({"HOME": "/home/one", "XDG_CACHE_HOME": "caches"}, "/home/one/.cache/wiretape"),
    ],
)
def test_where_they_are(
    environment: dict[str, str], wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert cache.folder() == Path(wanted)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert cache.folder() == Path("/var/cache/wiretape")


# -- keys

JOB = Job(
    text="int program(void *context) { return A; }",
    macros={"A": 1},
    places={"AT": "task_struct.pid"},
    inherited=["RING"],
    values=["AGENT"],
    programs={"program": (17, -1)},
)
OTHER_JOBS: dict[str, Callable[[Job], object]] = {
    "text": lambda job: job.update(text="int program(void *context) { return 0; }"),
    "macro": lambda job: job.update(macros={"A": 2}),
    "place": lambda job: job.update(places={"AT": "task_struct.tgid"}),
    "inherited": lambda job: job.update(inherited=["BUFFER"]),
    "values": lambda job: job.update(values=[]),
    "type": lambda job: job.update(programs={"program": (2, -1)}),
    "attach type": lambda job: job.update(programs={"program": (17, 1)}),
}


@pytest.mark.parametrize("change", OTHER_JOBS.values(), ids=OTHER_JOBS)
def test_another_job_has_another_key(change: Callable[[Job], object]) -> None:
    other = JOB.copy()
    change(other)
    assert cache.key_of(other) != cache.key_of(JOB)
    assert cache.key_of(JOB.copy()) == cache.key_of(JOB)


def test_another_kernel_has_another_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = set()
    for types in (b"", b"types", b"other types"):
        (tmp_path / "types").write_bytes(types)
        monkeypatch.setattr(cache, "KERNEL_TYPES", tmp_path / "types")
        keys.add(cache.key_of(JOB))
    system = os.uname()
    for n in range(2, 5):  # release, version, machine
        other = os.uname_result([*system[:n], "another", *system[n + 1 :]])
        monkeypatch.setattr(os, "uname", lambda other=other: other)
        keys.add(cache.key_of(JOB))
    assert len(keys) == 6


# -- images

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
    ("source", "number", "wanted"),
    [
        (1, 5, "table"),
        (1, 0x7E570000, "RING"),
        (0, 0x7E570001, "AGENT"),
        (0, 5, None),  # a number that happens to be that of a descriptor
        (1, 6, ValueError),  # a descriptor that nobody knows
        (2, 5, ValueError),  # the memory of a map
    ],
)
def test_what_instructions_refer_to(source: int, number: int, wanted: object) -> None:
    code = struct.pack("<BBhi", 0xB7, 0, 0, 5) + struct.pack(
        "<BBhi8x", 0x18, source << 4 | 1, 0, number
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

    def compiled(job: Job) -> bytes:
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
@pytest.mark.parametrize("how", ["a byte is another", "a symbolic link", "its group may write"])
def test_a_spoilt_image_is_compiled_again(
    tmp_path: Path, folder: Path, how: str, compilations: list[Job]
) -> None:
    works(tmp_path, 7)
    (path,) = folder.iterdir()
    SPOILT[how](path)
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
