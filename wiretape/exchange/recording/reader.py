"""Reads recordings: whole ones, cut and damaged ones, and those that are being written."""

import os
import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import zstandard
from mcap import records
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode

from wiretape.exchange.recording.layout import (
    MAGIC,
    MESSAGE,
    RECORD,
    RecordingError,
)
from wiretape.exchange.records import CONNECTION_ENDS, EXCHANGES
from wiretape.exchange.v1 import exchange_pb2 as pb


def recording_files(path: Path) -> list[Path]:
    """The files of the recording `path`, in name order. Raises RecordingError."""
    try:
        if not path.is_dir():
            path.stat()
            return [path]
        files = sorted(path.glob("*.mcap"))
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror}") from error
    if not files:
        raise RecordingError(f"{path}: a directory without .mcap files is no recording")
    return files


Location = tuple[int, int, int, int]
"""Of a message: number of the file, position of the block in it, start and end in the block."""


class RecordingReader:
    """Iterates over the exchanges of a recording in the order in which they were written.

    After iteration `truncated` says in one line what was cut, or is None. Of a directory that is
    being written, the files that it held when it was opened are read; what is missing of them, or
    was removed meanwhile, counts as cut.
    """

    def __init__(self, path: Path) -> None:
        self._files = recording_files(path)
        self._alone = self._files == [path]
        self._cuts: list[str] = []
        for file in self._files:
            stream = self._open(file)
            if stream is not None:
                stream.close()

    @property
    def truncated(self) -> str | None:
        return "; ".join(self._cuts) or None

    def __iter__(self) -> Iterator[pb.Exchange]:
        for encoded in self.encoded(EXCHANGES):
            yield pb.Exchange.FromString(encoded)

    def connection_ends(self) -> Iterator[pb.ConnectionEnd]:
        for encoded in self.encoded(CONNECTION_ENDS):
            yield pb.ConnectionEnd.FromString(encoded)

    def encoded(self, channel: int) -> Iterator[bytes]:
        """The messages of one channel, as they stand in the file."""
        for _, encoded in self.located(channel):
            yield encoded

    def located(self, channel: int) -> Iterator[tuple[Location, bytes]]:
        """The messages of one channel, each with where it lies: `read_block` and a slice of what
        that returns give it again."""
        self._cuts = []
        for number, file in enumerate(self._files):
            stream = self._open(file)
            if stream is not None:
                with stream:
                    for position, block in self._blocks(file, stream):
                        for start, end in _spans(block, channel):
                            yield (number, position, start, end), block[start:end]

    def read_block(self, file: int, position: int) -> bytes:
        """The records that lie at a location. Raises RecordingError where they do no longer."""
        path = self._files[file]
        try:
            with path.open("rb") as stream:
                stream.seek(position)
                found, block = next(self._blocks(path, stream))
        except (OSError, StopIteration) as error:
            raise RecordingError(f"{path}: was changed while it was read") from error
        if found != position:
            raise RecordingError(f"{path}: was changed while it was read")
        return block

    def _open(self, file: Path) -> BinaryIO | None:
        """The file, after its magic; None where one of several was removed or just begun."""
        try:
            stream = file.open("rb")
        except FileNotFoundError as error:
            if self._alone:
                raise RecordingError(f"{file}: {error.strerror}") from error
            self._cuts.append(f"{file}: was removed")
            return None
        except OSError as error:
            raise RecordingError(f"{file}: {error.strerror}") from error
        try:
            start = stream.read(len(MAGIC))
        except OSError as error:
            stream.close()
            raise RecordingError(f"{file}: {error.strerror}") from error
        if start == MAGIC:
            return stream
        stream.close()
        if not MAGIC.startswith(start):
            raise RecordingError(f"{file}: is not a recording")
        what = f"{file}: was cut before its first exchange" if start else f"{file}: is empty"
        if self._alone:
            raise RecordingError(what)
        self._cuts.append(what)
        return None

    def _blocks(self, file: Path, stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
        """From where the stream stands: each readable chunk as its records, and each message that
        stands in none, with its position."""
        position = stream.tell()
        size = os.fstat(stream.fileno()).st_size
        while True:
            head = stream.read(RECORD.size)
            if len(head) < RECORD.size:
                break
            opcode, length = RECORD.unpack(head)
            if opcode == Opcode.FOOTER:
                return
            # A power failure may leave zeros at the end, and no record has the opcode 0.
            if not opcode or position + RECORD.size + length > size:
                break
            if opcode not in (Opcode.CHUNK, Opcode.MESSAGE):
                position = stream.seek(length, os.SEEK_CUR)
                continue
            body = stream.read(length)
            if opcode == Opcode.MESSAGE:
                yield position, head + body
            else:
                data = _chunk_data(body)
                if data is None:
                    self._cuts.append(f"{file}: the chunk at byte {position} is damaged")
                else:
                    yield position, data
            position += RECORD.size + length
        self._cuts.append(f"{file}: cut at byte {position}: what followed is missing")


def _chunk_data(body: bytes) -> bytes | None:
    """The uncompressed records of a chunk; None where they are damaged."""
    try:
        chunk = records.Chunk.read(ReadDataStream(BytesIO(body)))
        data: bytes = chunk.data
        if chunk.compression == "zstd":
            data = zstandard.decompress(data, chunk.uncompressed_size)
        elif chunk.compression:
            return None
    except (McapError, struct.error, UnicodeDecodeError, zstandard.ZstdError, MemoryError):
        return None
    if chunk.uncompressed_crc and zlib.crc32(data) != chunk.uncompressed_crc:
        return None
    return data


def _spans(data: bytes, channel: int) -> Iterator[tuple[int, int]]:
    """Where the messages of one channel lie among records."""
    position, end = 0, len(data)
    while position + 9 <= end:
        opcode, length = RECORD.unpack_from(data, position)
        after = position + 9 + length
        if opcode == Opcode.MESSAGE and data[position + 9] | data[position + 10] << 8 == channel:
            yield position + MESSAGE.size, after
        position = after


def read_recording(path: Path | str) -> RecordingReader:
    """Opens a recording for reading. Raises RecordingError."""
    return RecordingReader(Path(path))
