"""Writes a recording as an import makes it: one file, new, as fast as records come."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from wiretape.exchange.recording.chunks import Chunk, ChunkBuilder
from wiretape.exchange.recording.layout import RecordingError
from wiretape.exchange.recording.mcap_file import McapFile, create_file
from wiretape.exchange.records import EXCHANGES, Record
from wiretape.exchange.v1 import exchange_pb2 as pb


class RecordingWriter:
    """Writes a new recording. Raises RecordingError where it cannot be made, OSError where written.

    `path` ending in "/" makes a directory. An existing one is replaced only with `force`. After an
    OSError the file ends with its last whole chunk. What could not be written is kept, and written
    by the next call that can.
    """

    def __init__(self, path: Path | str, *, force: bool = False, beside: bool = False) -> None:
        """`beside`: chunks are compressed on another core while the next ones are filled."""
        text = os.fspath(path)
        self.path = Path(text, "000001.mcap") if text.endswith("/") else Path(text)
        self._file = McapFile(self.path, self._claim(Path(text), force))
        self._compression = ThreadPoolExecutor(1, "compression") if beside else None
        self._chunks = ChunkBuilder(self._compression)
        self._chunk: Chunk | None = None
        """The one that is being compressed, or could not be written."""

    def _claim(self, path: Path, force: bool) -> int:
        try:
            if path.is_dir() and (force or not any(path.iterdir())):
                if self.path == path:
                    raise RecordingError(
                        f"{path}: is a directory (end it with / to record into it)"
                    )
                for file in path.glob("*.mcap"):
                    file.unlink()
            elif path.exists() and not force:
                raise RecordingError(f"{path}: exists already (--force replaces it)")
            if self.path != path:
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            return create_file(self.path, replace=force)
        except OSError as error:
            raise RecordingError(f"{self.path}: {error.strerror}") from error

    def write(self, exchange: pb.Exchange) -> None:
        """Appends one exchange."""
        data = exchange.SerializeToString()
        http = exchange.http
        at_ns = http.request.first_byte_at_ns or http.response.first_byte_at_ns
        self.write_records([(0, EXCHANGES, (data,), len(data), at_ns)])

    def write_records(self, records: Iterable[Record]) -> None:
        """Appends encoded records in their order.

        After an OSError what is left in an iterator was not taken; everything else is kept.
        """
        records = iter(records)
        while self._chunks.fill(records):
            self._next_chunk()

    def flush(self) -> None:
        """Closes the chunk: what was written until now survives the process."""
        self._next_chunk()
        self._write_chunk()

    def _next_chunk(self) -> None:
        """Closes the chunk; writes it, or where it is compressed beside, the one before it."""
        self._write_chunk()
        self._chunk = self._chunks.take()
        if self._compression is None:
            self._write_chunk()

    def _write_chunk(self) -> None:
        if self._chunk is not None:
            self._file.append(self._chunk)
            self._chunk = None

    def close(self) -> None:
        """Writes the summary, syncs and closes the file, the last also where it raises OSError.

        Where the last chunks cannot be written, the summary is that of the ones before.
        """
        if self._file.is_closed:
            return
        try:
            try:
                self.flush()
            finally:
                self._file.end()
        finally:
            if self._compression is not None:
                self._compression.shutdown()
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
