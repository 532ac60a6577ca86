"""Images that are kept: what they depend on, and whom they are taken from."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from wiretape.kernel import cache
from wiretape.kernel.compiler import Job

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
