"""Images that were compiled before, in a folder that only this process's user can write to.

What is read from there goes into the kernel. So no other user may have had a hand in it: not in the
file, and not in a folder on the way to it. (Who can write as this user can also change what this
user runs.) Where anything is not as it must be, there is no image, and nobody is told: it is
compiled again.
"""

import errno
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wiretape.kernel.compiler import KERNEL_TYPES, Job

_MOST_IMAGES = 16
_MOST_BYTES = 16 << 20
_FAILURES = (OSError, RuntimeError)
"""The latter of a user without a home."""
_FOLDER_FLAGS = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OF_OTHERS = stat.S_IWGRP | stat.S_IWOTH
"""With an access control list, the group's bits are the most that it grants to anyone."""


def folder() -> Path:
    """Of root never below $HOME, which sudo may have left another user's."""
    if os.geteuid() == 0:
        return Path("/var/cache/wiretape")
    home = os.environ.get("XDG_CACHE_HOME", "")
    # One that is relative counts as none (XDG Base Directory Specification).
    return Path(home if home.startswith("/") else Path("~/.cache").expanduser()) / "wiretape"


def key_of(job: Job) -> str:
    """The name of the job's image: the same for all that gives the same image.

    bcc's own version is not in it: to tell it takes bcc, which a warm start does not need.
    """
    digest = hashlib.sha256()
    system = os.uname()
    parts = [json.dumps(job, sort_keys=True), system.release, system.version, system.machine]
    digest.update(json.dumps(parts).encode())
    # How it is compiled and written down: all of this folder, and what the compiler includes.
    here = Path(__file__).parent
    for path in sorted([*here.glob("*.py"), *here.glob("shim/**/*.h")]):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    if job["places"]:
        with suppress(OSError), KERNEL_TYPES.open("rb") as types:
            digest.update(hashlib.file_digest(types, "sha256").digest())
    return digest.hexdigest()


def read(key: str) -> bytes | None:
    """An image as it was written; None where there is none to be trusted."""
    with suppress(*_FAILURES), _opened() as place:
        file = os.open(key, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=place)
        with os.fdopen(file, "rb") as stream:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode) or not _is_ours(status):
                return None
            checksum, _, content = stream.read(_MOST_BYTES).partition(b"\n")
            if checksum != _checksum(key, content):
                return None
            with suppress(OSError):
                os.utime(file)  # it is not old
            return content
    return None


def write(key: str, content: bytes) -> None:
    """Keep an image, if that can be done."""
    with suppress(*_FAILURES), _opened(make=True) as place:
        name = f"{key}.{secrets.token_hex(8)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        file = os.open(name, flags, 0o600, dir_fd=place)
        try:
            with os.fdopen(file, "wb") as stream:
                stream.write(_checksum(key, content) + b"\n" + content)
            os.rename(name, key, src_dir_fd=place, dst_dir_fd=place)
        except BaseException:
            with suppress(OSError):
                os.unlink(name, dir_fd=place)
            raise
        _prune(place)


def _prune(place: int) -> None:
    with os.scandir(place) as entries:
        ages = [(-entry.stat(follow_symlinks=False).st_mtime_ns, entry.name) for entry in entries]
    for _, name in sorted(ages)[_MOST_IMAGES:]:
        with suppress(OSError):
            os.unlink(name, dir_fd=place)


@contextmanager
def _opened(make: bool = False) -> Iterator[int]:
    """A descriptor of the folder. Raises OSError; PermissionError where it cannot be trusted."""
    wanted = folder()
    if not wanted.is_absolute():
        raise FileNotFoundError(errno.ENOENT, "a home that is nowhere", str(wanted))
    # Wherever a link leads, that way is looked at.
    names = Path(os.path.realpath(wanted)).parts[1:]
    place = os.open("/", os.O_PATH | _FOLDER_FLAGS)
    try:
        for n, name in enumerate(names):
            place, before = _inside(place, name, make), place
            os.close(before)
            _check(os.fstat(place), last=n == len(names) - 1)
        readable, before = os.open(".", os.O_RDONLY | _FOLDER_FLAGS, dir_fd=place), place
        place = readable
        os.close(before)
        yield place
    finally:
        os.close(place)


def _inside(place: int, name: str, make: bool) -> int:
    try:
        return os.open(name, os.O_PATH | _FOLDER_FLAGS, dir_fd=place)
    except FileNotFoundError:
        if not make:
            raise
    with suppress(FileExistsError):  # made by another start
        os.mkdir(name, 0o700, dir_fd=place)
    return os.open(name, os.O_PATH | _FOLDER_FLAGS, dir_fd=place)


def _check(folder: os.stat_result, last: bool) -> None:
    if last:
        trusted = _is_ours(folder)
    else:
        # In a sticky folder, as /tmp is, nobody moves what is another's.
        kept = folder.st_mode & stat.S_ISVTX or not folder.st_mode & _OF_OTHERS
        trusted = bool(kept) and folder.st_uid in (0, os.geteuid())
    if not trusted:
        raise PermissionError(errno.EPERM, "others can write there")


def _checksum(key: str, content: bytes) -> bytes:
    return hashlib.sha256(key.encode() + content).hexdigest().encode()


def _is_ours(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & _OF_OTHERS
