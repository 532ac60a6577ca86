"""The recording: exchanges as protobuf in an MCAP container.

A recording is one `.mcap` file or a directory of them. Whole chunks are compressed and written at
once, unbuffered, so a file that is cut anywhere still opens: every whole chunk before the cut is
read, and what is missing is said. The cold records are those of the `mcap` package; only the bodies
of chunks are built here, as parts that are joined once (a writer that takes one message at a time
costs 8 µs each).
"""

import os
import stat
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from struct import Struct
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

import zstandard
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from mcap import records
from mcap.data_stream import ReadDataStream, RecordBuilder
from mcap.exceptions import McapError
from mcap.opcode import Opcode

import wiretape
from wiretape.exchange.records import CONNECTION_ENDS, EXCHANGES, Piece, Record
from wiretape.exchange.v1 import exchange_pb2 as pb

MAGIC = b"\x89MCAP0\r\n"
CHUNK_BYTES = 1 << 20
_MESSAGE = Struct("<BQHIQQ")
"""Opcode, length, channel, sequence, log time, publish time."""
_MESSAGE_FIXED = _MESSAGE.size - 9
_RECORD = Struct("<BQ")


class RecordingError(Exception):
    """A recording cannot be opened or made; the text is one line that says which and why."""


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


class RecordingReader:
    """Iterates over the exchanges of a recording in the order in which they were written.

    After iteration `truncated` says in one line what was cut, or is None.
    """

    def __init__(self, path: Path) -> None:
        self._files = recording_files(path)
        self._cuts: list[str] = []
        for file in self._files:
            self._open(file).close()

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
        self._cuts = []
        for file in self._files:
            with self._open(file) as stream:
                yield from self._messages(file, stream, channel)

    @staticmethod
    def _open(file: Path) -> BinaryIO:
        try:
            stream = file.open("rb")
        except OSError as error:
            raise RecordingError(f"{file}: {error.strerror}") from error
        try:
            start = stream.read(len(MAGIC))
        except OSError as error:
            stream.close()
            raise RecordingError(f"{file}: {error.strerror}") from error
        if start != MAGIC:
            stream.close()
            what = "is empty" if not start else "is not a recording"
            if start and MAGIC.startswith(start):
                what = "was cut before its first exchange"
            raise RecordingError(f"{file}: {what}")
        return stream

    def _messages(self, file: Path, stream: BinaryIO, channel: int) -> Iterator[bytes]:
        position = len(MAGIC)
        size = os.fstat(stream.fileno()).st_size
        while True:
            head = stream.read(_RECORD.size)
            if len(head) < _RECORD.size:
                break
            opcode, length = _RECORD.unpack(head)
            if opcode == Opcode.FOOTER:
                return
            if position + _RECORD.size + length > size:
                break
            if opcode not in (Opcode.CHUNK, Opcode.MESSAGE):
                position = stream.seek(length, os.SEEK_CUR)
                continue
            body = stream.read(length)
            if opcode == Opcode.MESSAGE:
                if int.from_bytes(body[:2], "little") == channel:
                    yield body[_MESSAGE_FIXED:]
            else:
                data = _chunk_data(body)
                if data is None:
                    self._cuts.append(f"{file}: the chunk at byte {position} is damaged")
                else:
                    yield from _split(data, channel)
            position += _RECORD.size + length
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


def _split(data: bytes, channel: int) -> Iterator[bytes]:
    position, end = 0, len(data)
    while position + 9 <= end:
        opcode, length = _RECORD.unpack_from(data, position)
        after = position + 9 + length
        if opcode == Opcode.MESSAGE and data[position + 9] | data[position + 10] << 8 == channel:
            yield data[position + _MESSAGE.size : after]
        position = after


def read_recording(path: Path | str) -> RecordingReader:
    """Opens a recording for reading. Raises RecordingError."""
    return RecordingReader(Path(path))


class _Chunk(NamedTuple):
    """A chunk that takes no more messages; `entries` are as in the writer."""

    size: int
    crc: int
    compressed: bytes | Future[bytes]
    entries: dict[int, list[int]]


class RecordingWriter:
    """Writes a new recording. Raises RecordingError where it cannot be made, OSError where written.

    `path` ending in "/" makes a directory. An existing one is replaced only with `force`. The file
    is readable by its owner alone: exchanges hold secrets.
    """

    def __init__(self, path: Path | str, *, force: bool = False, beside: bool = False) -> None:
        """`beside`: chunks are compressed on another core while the next ones are filled."""
        text = os.fspath(path)
        self.path = Path(text, "000001.mcap") if text.endswith("/") else Path(text)
        self._claim(Path(text), force)
        self._parts: list[Piece] = []
        self._size = 0
        self._entries: dict[int, list[int]] = {EXCHANGES: [], CONNECTION_ENDS: []}
        """Of each message of the chunk, by channel: its time and its offset, in turn."""
        self._counts = {EXCHANGES: 0, CONNECTION_ENDS: 0}
        self._chunks: list[records.ChunkIndex] = []
        self._compressor = zstandard.ZstdCompressor(level=1)
        self._compression = ThreadPoolExecutor(1, "compression") if beside else None
        self._closed: _Chunk | None = None
        self._position = 0
        self._schemas, self._channels = _declarations()
        builder = RecordBuilder()
        records.Header(profile="wiretape", library=f"wiretape {wiretape.__version__}").write(
            builder
        )
        for declaration in (*self._schemas, *self._channels):
            declaration.write(builder)
        try:
            self._write(MAGIC + builder.end())
        except OSError:
            os.close(self._file)
            raise

    def _claim(self, path: Path, force: bool) -> None:
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
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            self._file = os.open(self.path, flags, 0o600)
            if _is_regular(self._file):
                os.fchmod(self._file, 0o600)
        except OSError as error:
            raise RecordingError(f"{self.path}: {error.strerror}") from error

    def write(self, exchange: pb.Exchange) -> None:
        """Appends one exchange."""
        data = exchange.SerializeToString()
        http = exchange.http
        at_ns = http.request.first_byte_at_ns or http.response.first_byte_at_ns
        self.write_records([(0, EXCHANGES, (data,), len(data), at_ns)])

    def write_records(self, records: Iterable[Record]) -> None:
        """Appends encoded records in their order. Raises OSError."""
        parts, entries, size = self._parts, self._entries, self._size
        pack, fixed = _MESSAGE.pack, _MESSAGE.size
        counts = self._counts
        for _, channel, pieces, length, at_ns in records:
            count = counts[channel]
            counts[channel] = count + 1
            entries[channel] += at_ns, size
            parts.append(pack(5, _MESSAGE_FIXED + length, channel, count, at_ns, at_ns))
            parts += pieces
            size += fixed + length
            if size >= CHUNK_BYTES:
                self._size = size
                self._close_chunk()
                parts, entries, size = self._parts, self._entries, self._size
        self._size = size

    def flush(self) -> None:
        """Closes the chunk: what was written until now survives the process. Raises OSError."""
        self._close_chunk()
        self._write_chunk()

    def _close_chunk(self) -> None:
        self._write_chunk()
        if not self._size:
            return
        data = b"".join(self._parts)
        compressed: bytes | Future[bytes]
        if self._compression is None:
            compressed = self._compressor.compress(data)
        else:
            compressed = self._compression.submit(self._compressor.compress, data)
        self._closed = _Chunk(len(data), zlib.crc32(data), compressed, self._entries)
        self._parts = []
        self._size = 0
        self._entries = {channel: [] for channel in self._counts}

    def _write_chunk(self) -> None:
        """Writes the chunk that was closed last, once it is compressed."""
        chunk, self._closed = self._closed, None
        if chunk is None:
            return
        compressed = chunk.compressed
        if isinstance(compressed, Future):
            compressed = compressed.result()
        times = [t for entries in chunk.entries.values() for t in entries[::2]]
        first, last = min(times), max(times)
        start = self._position
        prefix = struct.pack("<QQQI", first, last, chunk.size, chunk.crc)
        prefix += struct.pack("<I4sQ", 4, b"zstd", len(compressed))
        length = len(prefix) + len(compressed)
        indexes: list[bytes] = []
        index_offsets = {}
        for channel, entries in chunk.entries.items():
            if entries:
                index_offsets[channel] = start + _RECORD.size + length + sum(map(len, indexes))
                indexes.append(_message_index(channel, entries))
        index = b"".join(indexes)
        self._write(_RECORD.pack(Opcode.CHUNK, length) + prefix, compressed, index)
        self._chunks.append(
            records.ChunkIndex(
                chunk_length=_RECORD.size + length,
                chunk_start_offset=start,
                compression="zstd",
                compressed_size=len(compressed),
                message_end_time=last,
                message_index_length=len(index),
                message_index_offsets=index_offsets,
                message_start_time=first,
                uncompressed_size=chunk.size,
            )
        )

    def close(self) -> None:
        """Writes the summary, syncs and closes the file, the last also where it raises OSError."""
        if self._file < 0:
            return
        try:
            self.flush()
            self._write(self._summary())
            if _is_regular(self._file):
                os.fsync(self._file)
        finally:
            if self._compression is not None:
                self._compression.shutdown()
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _summary(self) -> bytes:
        end = RecordBuilder()
        records.DataEnd(data_section_crc=0).write(end)
        data_end = end.end()
        start = self._position + len(data_end)
        statistics = records.Statistics(
            attachment_count=0,
            channel_count=len(self._channels),
            channel_message_counts={c: n for c, n in self._counts.items() if n},
            chunk_count=len(self._chunks),
            message_count=sum(self._counts.values()),
            message_end_time=max((c.message_end_time for c in self._chunks), default=0),
            message_start_time=min((c.message_start_time for c in self._chunks), default=0),
            metadata_count=0,
            schema_count=len(self._schemas),
        )
        groups: list[tuple[Opcode, Sequence[records.McapRecord]]] = [
            (Opcode.SCHEMA, self._schemas),
            (Opcode.CHANNEL, self._channels),
            (Opcode.STATISTICS, (statistics,)),
            (Opcode.CHUNK_INDEX, self._chunks),
        ]
        summary = RecordBuilder()
        offsets = []
        for opcode, group in groups:
            begin = summary.count
            for record in group:
                record.write(summary)
            if group:
                offsets.append(records.SummaryOffset(opcode, start + begin, summary.count - begin))
        offset_start = start + summary.count
        for offset in offsets:
            offset.write(summary)
        body = summary.end()
        footer = _RECORD.pack(Opcode.FOOTER, 20) + struct.pack("<QQ", start, offset_start)
        crc = zlib.crc32(footer, zlib.crc32(body))
        tail: bytes = data_end + body + footer + struct.pack("<I", crc) + MAGIC
        return tail

    def _write(self, *pieces: bytes) -> None:
        """Writes all of `pieces` unbuffered."""
        for piece in pieces:
            view = memoryview(piece)
            while view:
                view = view[os.write(self._file, view) :]
            self._position += len(piece)


def _message_index(channel: int, entries: Sequence[int]) -> bytes:
    """A MessageIndex record, packed in one go: an entry a message is too many for calls."""
    body = struct.pack(f"<HI{len(entries)}Q", channel, 8 * len(entries), *entries)
    return _RECORD.pack(Opcode.MESSAGE_INDEX, len(body)) + body


def _is_regular(file: int) -> bool:
    """Not a device or a pipe, whose mode is not ours and which cannot be synced."""
    return stat.S_ISREG(os.fstat(file).st_mode)


def _declarations() -> tuple[list[records.Schema], list[records.Channel]]:
    """Schemas with the descriptors inside, and the two channels."""
    described = FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(described)
    descriptors = FileDescriptorSet(file=[described]).SerializeToString()
    names = {EXCHANGES: "wiretape.v1.Exchange", CONNECTION_ENDS: "wiretape.v1.ConnectionEnd"}
    topics = {EXCHANGES: "/exchanges", CONNECTION_ENDS: "/connections"}
    return (
        [
            records.Schema(data=descriptors, encoding="protobuf", id=n, name=name)
            for n, name in names.items()
        ],
        [
            records.Channel(id=n, metadata={}, message_encoding="protobuf", schema_id=n, topic=t)
            for n, t in topics.items()
        ],
    )
