"""The recording of a live agent as a directory: new files by size and age, old ones removed.

Files are named 000001.mcap, 000002.mcap and so on. A directory that holds some is continued after
the highest number, and nothing is ever overwritten.
"""

import errno
import fcntl
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from wiretape.exchange.recording.chunks import Chunk
from wiretape.exchange.recording.layout import RecordingError
from wiretape.exchange.recording.live import LiveWriter, Say, SingleFileWriter
from wiretape.exchange.recording.mcap_file import McapFile, create_file

LARGEST_DEFAULT_BYTES = 256_000_000
"""Of a file, where only the bound of all files is given; at most a tenth of that."""
LAST_NUMBER = 999_999
"""Names sort as numbers as long as all have six digits."""

_NAME = re.compile(r"([0-9]{6})\.mcap")


def live_recording(
    path: str,
    say: Say,
    *,
    force: bool = False,
    rotate_bytes: int | None = None,
    rotate_ns: int | None = None,
    max_disk_bytes: int | None = None,
) -> LiveWriter:
    """A directory that is made or continued where `path` ends in "/", else a new file; with `force`
    what was recorded there before goes.

    Raises RecordingError where it cannot be made or does not go with the bounds, OSError where the
    disk does not take it.
    """
    bounds = {
        "a size of files": rotate_bytes,
        "an age of files": rotate_ns,
        "a bound of all files": max_disk_bytes,
    }
    for name, bound in bounds.items():
        if bound is not None and bound <= 0:
            raise RecordingError(f"{path}: {name} must be above 0")
        if bound is not None and not path.endswith("/"):
            raise RecordingError(f"{path}: {name} needs a directory (end -o with / for that)")
    if not path.endswith("/"):
        return SingleFileWriter(Path(path), say, replace=force)
    return RotatingWriter(
        Path(path),
        say,
        force=force,
        rotate_bytes=rotate_bytes,
        rotate_ns=rotate_ns,
        max_disk_bytes=max_disk_bytes,
    )


class RotatingWriter(LiveWriter):
    """Files of a directory, one after the other. None is begun before there is something for it.

    A new one begins where the chunk to be written would bring the current one above `rotate_bytes`
    (so a file is above it only if it holds one chunk alone), or after that became `rotate_ns` old.

    All files together, those of earlier runs too, stay below `max_disk_bytes`: the oldest ones are
    removed first, and each removal is told. Only files with names as above are counted or removed.
    """

    def __init__(
        self,
        directory: Path,
        say: Say,
        *,
        force: bool = False,
        rotate_bytes: int | None = None,
        rotate_ns: int | None = None,
        max_disk_bytes: int | None = None,
    ) -> None:
        """Raises RecordingError, also where another process records into the directory."""
        super().__init__(say)
        if rotate_bytes is None and max_disk_bytes is not None:
            rotate_bytes = min(max_disk_bytes // 10, LARGEST_DEFAULT_BYTES)
        self.directory = directory
        self.rotate_bytes = rotate_bytes
        self._rotate_ns = rotate_ns
        self._max_disk_bytes = max_disk_bytes
        self._begun_ns = 0
        self._whole: dict[str, int] = {}
        """Bytes of each file but the current one."""
        self._whole_bytes = 0
        self._number = 0
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise RecordingError(f"{directory}: {error.strerror}") from error
        try:
            self._claim(force)
        except BaseException:
            os.close(self._lock)
            raise

    def _claim(self, force: bool) -> None:
        """Two processes would remove each other's files: one is enough for a directory."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RecordingError(f"{self.directory}: another process records into it") from error
        except OSError:
            pass  # a file system without locks
        if not os.access(self.directory, os.W_OK | os.X_OK):
            raise RecordingError(f"{self.directory}: cannot be written to")
        try:
            self._look()
            if force:
                for name in self._whole:
                    (self.directory / name).unlink(missing_ok=True)
                self._look()
        except OSError as error:
            raise RecordingError(f"{self.directory}: {error.strerror}") from error
        self._number = max((int(name[:6]) for name in self._whole), default=0)

    @property
    def files(self) -> int:
        return len(self._whole) + (self.file is not None)

    @property
    def bytes_on_disk(self) -> int:
        return self._whole_bytes + (self.file.size if self.file is not None else 0)

    def rotate(self) -> None:
        """Ends the current file; where it holds nothing, there is nothing to do."""
        self.flush()
        self._end()

    def tick(self, now_ns: int) -> None:
        super().tick(now_ns)
        if self._rotate_ns is not None and now_ns - self._begun_ns >= self._rotate_ns:
            self._end()

    def close(self) -> None:
        try:
            super().close()
        finally:
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1

    def _anew(self) -> None:
        return None

    def _append(self, chunk: Chunk) -> None:
        def append() -> None:
            self._make_room(chunk.written_bytes)
            if self.file is None:
                self.file = self._begun()
                self._begun_ns = self.now_ns
            self.file.append(chunk)

        self._insist(append)

    def _insist(self, action: Callable[[], None]) -> None:
        """Repeats `action` as long as it fails for want of room and some can be made."""
        while True:
            try:
                return action()
            except OSError as error:
                if not self._makes_room(error):
                    raise

    def _makes_room(self, error: OSError) -> bool:
        """Whether what failed can be tried again."""
        file = self.file
        if error.errno == errno.EFBIG and file is not None and file.chunks:
            # No file may be larger: the summary only if it still finds room.
            with suppress(OSError):
                file.end()
            self._keep(file)
            return True
        full = error.errno in (errno.ENOSPC, errno.EDQUOT) and self._max_disk_bytes is not None
        return full and self._remove_oldest("the disk is full")

    def _make_room(self, more_bytes: int) -> None:
        """Ends the current file where it would be too large; removes what would be too much."""
        file = self.file
        limit = self.rotate_bytes
        if limit and file is not None and file.chunks and file.size_at_end + more_bytes > limit:
            self._finish()
        bound = self._max_disk_bytes
        if bound is None or not self._exceeds(bound, more_bytes):
            return
        self._look()
        while self._exceeds(bound, more_bytes):
            if self._remove_oldest(f"all would exceed {bound:,} bytes"):
                continue
            if self.file is None or not self.file.chunks:
                break
            self._finish()

    def _exceeds(self, bound: int, more_bytes: int) -> bool:
        current = self.file.size_at_end if self.file is not None else McapFile.least_size()
        return self._whole_bytes + current + more_bytes > bound

    def _begun(self) -> McapFile:
        """The next file. Raises OSError."""
        while self._number < LAST_NUMBER:
            path = self.directory / f"{self._number + 1:06}.mcap"
            try:
                file = create_file(path)
            except FileExistsError:
                self._number += 1
                continue
            begun = McapFile(path, file)
            self._number += 1
            return begun
        raise OSError(
            errno.EEXIST, f"{LAST_NUMBER}.mcap exists: there is no number for another file"
        )

    def _end(self) -> None:
        self._insist(self._finish)

    def _finish(self) -> None:
        """The current file is done: with a summary, or removed where it holds nothing."""
        file = self.file
        if file is None:
            return
        if file.chunks:
            file.end()
            self._keep(file)
        else:
            file.path.unlink(missing_ok=True)
            self._leave(file)
            self.file = None

    def _keep(self, file: McapFile) -> None:
        """The current file takes no more."""
        self._whole[file.path.name] = file.size
        self._whole_bytes += file.size
        self._leave(file)
        self.file = None

    def _look(self) -> None:
        """Finds what is there: others may remove files too."""
        current = self.file.path.name if self.file is not None else None
        self._whole = {}
        with os.scandir(self.directory) as entries:
            for entry in entries:
                if _NAME.fullmatch(entry.name) and entry.name != current:
                    with suppress(FileNotFoundError):
                        if entry.is_file(follow_symlinks=False):
                            self._whole[entry.name] = entry.stat(follow_symlinks=False).st_size
        self._whole_bytes = sum(self._whole.values())

    def _remove_oldest(self, why: str) -> bool:
        """Whether there was one."""
        if not self._whole:
            return False
        name = min(self._whole)
        path = self.directory / name
        with suppress(FileNotFoundError):
            path.unlink()
            self.removed_files += 1
            self.removed_bytes += self._whole[name]
            self.say(f"{path}: removed, the oldest, {self._whole[name]:,} bytes: {why}")
        self._whole_bytes -= self._whole.pop(name)
        return True
