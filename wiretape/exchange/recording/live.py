"""Writes a recording as a live agent makes it: at any moment it may be killed, or the disk be full.

What was handed over is in the file half a second later and on the disk half a second after that.
Nothing here reads a clock: `now_ns` is monotonic time, told by the caller.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from wiretape.exchange.recording.chunks import Chunk, ChunkBuilder
from wiretape.exchange.recording.layout import RecordingError
from wiretape.exchange.recording.mcap_file import McapFile, create_file
from wiretape.exchange.records import Record

FLUSH_NS = 500_000_000
"""How long records wait for their chunk to be closed."""
SYNC_NS = 400_000_000
"""Syncs begin no closer together: less than FLUSH_NS, so that each flush has its own."""
_CLOSING_FILES = 4
"""How many files may wait to be synced before their writer waits for them."""

Say = Callable[[str], None]


class LiveWriter(ABC):
    """`write_records` as they come, `tick` where none come, at the end `close`.

    All of these raise OSError where the disk does not take it; what a chunk was made of is kept,
    and the next call tries again. A thread syncs files, so that nobody waits for the disk.
    """

    def __init__(self, say: Say) -> None:
        """`say` takes messages of one line."""
        self.say = say
        self.removed_files = 0
        self.removed_bytes = 0
        self.file: McapFile | None = None
        """The one that is being written."""
        self.now_ns = 0
        self._chunks = ChunkBuilder()
        self._chunk: Chunk | None = None
        """One that could not be written."""
        self._filled_ns = 0
        self._synced_ns = 0
        self._disk = ThreadPoolExecutor(1, "sync")
        self._syncing: deque[Future[None]] = deque()
        self._closed = False

    @property
    @abstractmethod
    def files(self) -> int:
        """How many files the recording has."""

    @property
    @abstractmethod
    def bytes_on_disk(self) -> int:
        """Of all files of the recording."""

    def changes(self) -> list[str]:
        """Looks after the current file; says where it was removed, and goes on in a new one."""
        file = self.file
        if file is None or file.is_there():
            return []
        self._leave(file)
        self.file = self._anew()
        return [f"{file.path}: was removed; what comes is written to a new file"]

    @abstractmethod
    def _anew(self) -> McapFile | None:
        """The file after one that was removed; None where it is begun when there is something."""

    @abstractmethod
    def rotate(self) -> None:
        """What is written from now on goes to a new file. For SIGHUP."""

    @abstractmethod
    def _append(self, chunk: Chunk) -> None:
        """Writes a chunk to the file that it belongs to."""

    def write_records(self, records: Iterable[Record], now_ns: int) -> None:
        """Appends encoded records in their order; the memory of their pieces may be reused then.

        After an OSError what is left in an iterator was not taken; everything else is kept.
        """
        if self._closed:
            raise ValueError("the recording is closed")
        self.now_ns = now_ns
        if not self._chunks.size:
            self._filled_ns = now_ns
        records = iter(records)
        try:
            while self._chunks.fill(records):
                self.flush()
                self._filled_ns = now_ns
        finally:
            self._chunks.settle()
        self.tick(now_ns)

    def tick(self, now_ns: int) -> None:
        """Does what it is time for: to be called a few times a second."""
        self.now_ns = now_ns
        if now_ns - self._filled_ns >= FLUSH_NS:
            self.flush()
        self._sync()

    def flush(self) -> None:
        """Closes the chunk: what was written until now survives the process."""
        chunk = self._chunk or self._chunks.take()
        while chunk is not None:
            self._chunk = chunk
            self._append(chunk)
            self._chunk = None
            chunk = self._chunks.take()

    def _sync(self) -> None:
        """Begins a sync where it is due; raises what an earlier one met."""
        while self._syncing and (self._syncing[0].done() or len(self._syncing) > _CLOSING_FILES):
            self._syncing.popleft().result()
        if (
            self.file is not None
            and not self.file.is_synced
            and not self._syncing
            and self.now_ns - self._synced_ns >= SYNC_NS
        ):
            self._synced_ns = self.now_ns
            self._syncing.append(self._disk.submit(self.file.sync))

    def _leave(self, file: McapFile) -> None:
        """Closes a file that nothing is written to any more."""
        self._syncing.append(self._disk.submit(file.close))

    def close(self) -> None:
        """Writes what waits, and the summary; syncs and closes, the last also where it raises.

        What cannot be written then is lost; the file ends with its last whole chunk.
        """
        if self._closed:
            return
        self._closed = True
        try:
            self.flush()
        finally:
            try:
                self._end()
            finally:
                if self.file is not None:
                    self._leave(self.file)
                    self.file = None
                self._disk.shutdown()
                while self._syncing:
                    self._syncing.popleft().result()

    def _end(self) -> None:
        """Writes the summary of the current file."""
        if self.file is not None:
            self.file.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class SingleFileWriter(LiveWriter):
    """A recording of one file, which others may move away and then have begun anew."""

    def __init__(self, path: Path, say: Say, *, replace: bool = False) -> None:
        """Raises RecordingError where it exists or cannot be made, OSError where not written."""
        super().__init__(say)
        self._path = path
        try:
            if replace and (path.is_file() or path.is_symlink()):
                path.unlink()  # not what a link leads to
            made = create_file(path)
        except FileExistsError as error:
            what = (
                "is a directory (end it with /)"
                if path.is_dir()
                else "exists already (--force replaces it)"
            )
            raise RecordingError(f"{path}: {what}") from error
        except OSError as error:
            raise RecordingError(f"{path}: {error.strerror}") from error
        self.file = McapFile(path, made)

    @property
    def files(self) -> int:
        return int(self.file is not None)

    @property
    def bytes_on_disk(self) -> int:
        return self.file.size if self.file is not None else 0

    def rotate(self) -> None:
        """Begins the file anew where it was moved away; what goes against that is only said."""
        file = self.file
        if file is None:
            return
        try:
            found = self._path.stat()
        except FileNotFoundError:
            found = None
        if found is not None and file.is_at(found):
            self.say(f"{self._path}: a single file is not rotated (end -o with / for that)")
            return
        if found is not None and found.st_size:
            self.say(
                f"{self._path}: holds something else now; the file that was moved is continued"
            )
            return
        self.flush()
        try:
            self.file = McapFile(self._path, create_file(self._path, replace=found is not None))
        except OSError as error:
            self.say(f"{self._path}: {error.strerror}; the file that was moved is continued")
            return
        try:
            file.end()
        except OSError as error:
            self.say(f"{self._path}: {error.strerror}; the file that was moved has no summary")
        self._leave(file)

    def _anew(self) -> McapFile:
        return McapFile(self._path, create_file(self._path))

    def _append(self, chunk: Chunk) -> None:
        if self.file is not None:
            self.file.append(chunk)
