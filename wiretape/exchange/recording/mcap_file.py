"""One file of a recording as it is written. The cold records are those of the `mcap` package."""

import os
import stat
import struct
import zlib
from contextlib import suppress
from functools import cache
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from mcap import records
from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode

import wiretape
from wiretape.exchange.recording.chunks import Chunk
from wiretape.exchange.recording.layout import MAGIC, RECORD
from wiretape.exchange.records import CONNECTION_ENDS, EXCHANGES
from wiretape.exchange.v1 import exchange_pb2 as pb

INDEX_BYTES = 16 << 20
"""How much of chunk indexes is kept for the summary: some 160,000 chunks, a day of a live agent.
Beyond, the summary has none, and readers go through the file."""


def create_file(path: Path, *, replace: bool = False) -> int:
    """Opens a new file for writing. Only its owner can read it: exchanges hold secrets.

    Raises OSError; FileExistsError where it exists and `replace` is not set.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if replace else os.O_EXCL)
    file = os.open(path, flags, 0o600)
    if _is_regular(file):
        os.fchmod(file, 0o600)
    return file


class McapFile:
    """Header, then chunks, at the end a summary.

    What cannot be written whole is taken back, so that a file on a full disk ends with its last
    whole chunk, and the write can be repeated. All methods raise OSError.
    """

    def __init__(self, path: Path, file: int) -> None:
        """Takes over `file`, which is empty; removes it where the header cannot be written."""
        self.path = path
        self.size = 0
        """Bytes."""
        self.chunks = 0
        self._file = file
        self._regular = _is_regular(file)
        self._synced = 0
        self._counts = {EXCHANGES: 0, CONNECTION_ENDS: 0}
        self._first_ns = self._last_ns = 0
        self._index = bytearray()
        try:
            self._write(_header())
        except OSError:
            os.close(file)
            if self._regular:
                with suppress(OSError):
                    path.unlink()
            raise

    @property
    def size_at_end(self) -> int:
        """Bytes, with the summary; up to a hundred too many."""
        return self.size + len(_declarations()) + len(self._index) + _SUMMARY_FIXED

    @staticmethod
    def least_size() -> int:
        """As `size_at_end`, of one that is not begun yet."""
        return len(_header()) + len(_declarations()) + _SUMMARY_FIXED

    @property
    def is_synced(self) -> bool:
        return self._synced == self.size or not self._regular

    @property
    def is_closed(self) -> bool:
        return self._file < 0

    def is_there(self) -> bool:
        """Whether anybody can still find it."""
        return os.fstat(self._file).st_nlink > 0

    def is_at(self, status: os.stat_result) -> bool:
        """Whether that is the status of this file."""
        return os.path.samestat(status, os.fstat(self._file))

    def append(self, chunk: Chunk) -> None:
        """Writes a chunk and its message indexes, or nothing."""
        compressed, prefix, indexes = chunk.compressed, chunk.record(), chunk.indexes()
        start = self.size
        length = len(prefix) + len(compressed)
        offsets, after = {}, start + length
        for channel, index in indexes.items():
            offsets[channel] = after
            after += len(index)
        self._write(prefix, compressed, *indexes.values())
        for channel, entries in chunk.entries.items():
            self._counts[channel] += len(entries) // 2
        self._first_ns = min(self._first_ns, chunk.first_ns) if self.chunks else chunk.first_ns
        self._last_ns = max(self._last_ns, chunk.last_ns)
        self.chunks += 1
        if self.chunks > 1 and not self._index:  # it became too large
            return
        builder = RecordBuilder()
        records.ChunkIndex(
            chunk_length=length,
            chunk_start_offset=start,
            compression="zstd",
            compressed_size=len(compressed),
            message_end_time=chunk.last_ns,
            message_index_length=after - start - length,
            message_index_offsets=offsets,
            message_start_time=chunk.first_ns,
            uncompressed_size=chunk.size,
        ).write(builder)
        self._index += builder.end()
        if len(self._index) > INDEX_BYTES:
            self._index.clear()

    def sync(self) -> None:
        """What was written survives a power failure. Blocks; may run beside the other methods."""
        if self.is_synced:
            return
        first, size = not self._synced, self.size
        os.fdatasync(self._file)
        if first:
            # Its entry in the directory too, where the user may read that.
            with suppress(OSError):
                directory = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fsync(directory)
                finally:
                    os.close(directory)
        self._synced = size

    def end(self) -> None:
        """Writes the summary, or nothing. No chunk may follow."""
        self._write(self._summary())

    def close(self) -> None:
        """Syncs and closes the file, the last also where it raises."""
        try:
            self.sync()
        finally:
            os.close(self._file)
            self._file = -1

    def _summary(self) -> bytes:
        builder = RecordBuilder()
        records.DataEnd(data_section_crc=0).write(builder)
        data_end = builder.end()
        records.Statistics(
            attachment_count=0,
            channel_count=len(self._counts),
            channel_message_counts={c: n for c, n in self._counts.items() if n},
            chunk_count=self.chunks,
            message_count=sum(self._counts.values()),
            message_end_time=self._last_ns,
            message_start_time=self._first_ns,
            metadata_count=0,
            schema_count=len(self._counts),
        ).write(builder)
        statistics = builder.end()
        start = position = self.size + len(data_end)
        groups = (
            (Opcode.SCHEMA, _schemas()),
            (Opcode.CHANNEL, _channels()),
            (Opcode.STATISTICS, statistics),
            (Opcode.CHUNK_INDEX, bytes(self._index)),
        )
        for opcode, group in groups:
            if group:
                records.SummaryOffset(opcode, position, len(group)).write(builder)
                position += len(group)
        body = b"".join([group for _, group in groups]) + builder.end()
        footer = RECORD.pack(Opcode.FOOTER, 20) + struct.pack("<QQ", start, position)
        crc = zlib.crc32(footer, zlib.crc32(body))
        summary: bytes = data_end + body + footer + struct.pack("<I", crc) + MAGIC
        return summary

    def _write(self, *pieces: bytes) -> None:
        """Writes all of `pieces` unbuffered, or takes back what of them was written."""
        try:
            for piece in pieces:
                view = memoryview(piece)
                while view:
                    view = view[os.write(self._file, view) :]
        except BaseException:
            if self._regular:
                with suppress(OSError):
                    os.lseek(self._file, self.size, os.SEEK_SET)
                    os.ftruncate(self._file, self.size)
            raise
        self.size += sum(map(len, pieces))


_SUMMARY_FIXED = 512
"""At most, of all but the declarations and the chunk indexes."""


def _is_regular(file: int) -> bool:
    """Not a device or a pipe, whose mode is not ours and which can be neither synced nor cut."""
    return stat.S_ISREG(os.fstat(file).st_mode)


_NAMES = {EXCHANGES: "wiretape.v1.Exchange", CONNECTION_ENDS: "wiretape.v1.ConnectionEnd"}
_TOPICS = {EXCHANGES: "/exchanges", CONNECTION_ENDS: "/connections"}


@cache
def _schemas() -> bytes:
    """With the descriptors inside."""
    described = FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(described)
    descriptors = FileDescriptorSet(file=[described]).SerializeToString()
    builder = RecordBuilder()
    for number, name in _NAMES.items():
        schema = records.Schema(data=descriptors, encoding="protobuf", id=number, name=name)
        schema.write(builder)
    schemas: bytes = builder.end()
    return schemas


@cache
def _channels() -> bytes:
    builder = RecordBuilder()
    for number, topic in _TOPICS.items():
        records.Channel(
            id=number, metadata={}, message_encoding="protobuf", schema_id=number, topic=topic
        ).write(builder)
    channels: bytes = builder.end()
    return channels


@cache
def _declarations() -> bytes:
    return _schemas() + _channels()


@cache
def _header() -> bytes:
    builder = RecordBuilder()
    records.Header(profile="wiretape", library=f"wiretape {wiretape.__version__}").write(builder)
    header: bytes = builder.end()
    return MAGIC + header + _declarations()
