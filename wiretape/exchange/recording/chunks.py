"""Chunks: messages put together, compressed at once.

Only the bodies of chunks are built by hand, as parts that are joined once: a writer that takes one
message at a time costs 8 µs each.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from struct import Struct

import zstandard
from mcap.opcode import Opcode

from wiretape.exchange.recording.layout import MESSAGE, MESSAGE_FIXED, RECORD
from wiretape.exchange.records import CONNECTION_ENDS, EXCHANGES, Piece, Record

CHUNK_BYTES = 1 << 20
_CHUNK = Struct("<BQQQQII4sQ")
"""Opcode, length, first and last time, uncompressed size, its CRC, compression, compressed size."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk that takes no more messages; it may stand at any place of any file."""

    size: int
    """Of its messages, uncompressed."""
    crc: int
    compressing: bytes | Future[bytes]
    entries: dict[int, list[int]]
    """Of each message, by channel: its time and its offset, in turn."""
    first_ns: int
    last_ns: int

    @property
    def compressed(self) -> bytes:
        done = self.compressing
        return done if isinstance(done, bytes) else done.result()

    @property
    def written_bytes(self) -> int:
        """In a file, with the message indexes."""
        indexes = sum(RECORD.size + 6 + 8 * len(e) for e in self.entries.values() if e)
        return _CHUNK.size + len(self.compressed) + indexes

    def record(self) -> bytes:
        """What stands before the compressed bytes."""
        length = len(self.compressed)
        return _CHUNK.pack(
            Opcode.CHUNK,
            _CHUNK.size - RECORD.size + length,
            self.first_ns,
            self.last_ns,
            self.size,
            self.crc,
            4,
            b"zstd",
            length,
        )

    def indexes(self) -> dict[int, bytes]:
        """By channel, the MessageIndex record that follows the chunk."""
        return {c: _message_index(c, entries) for c, entries in self.entries.items() if entries}


class ChunkBuilder:
    """Messages that become a chunk; their numbers go on from chunk to chunk."""

    def __init__(self, compression: ThreadPoolExecutor | None = None) -> None:
        """`compression`: the thread that compresses, while the next chunk is filled."""
        self.size = 0
        """Bytes that wait to become a chunk."""
        self.compressor = zstandard.ZstdCompressor(level=1)
        self._compression = compression
        self._parts: list[Piece] = []
        self._settled = 0
        self._counts = {EXCHANGES: 0, CONNECTION_ENDS: 0}
        self._entries: dict[int, list[int]] = {channel: [] for channel in self._counts}

    def fill(self, records: Iterator[Record]) -> bool:
        """Takes records until the chunk is full: whether it is. Then the rest was not taken."""
        parts, entries, size = self._parts, self._entries, self.size
        if size >= CHUNK_BYTES:
            return True
        pack, fixed = MESSAGE.pack, MESSAGE.size
        counts = self._counts
        for _, channel, pieces, length, at_ns in records:
            count = counts[channel]
            counts[channel] = count + 1
            entries[channel] += at_ns, size
            parts.append(pack(5, MESSAGE_FIXED + length, channel, count, at_ns, at_ns))
            parts += pieces
            size += fixed + length
            if size >= CHUNK_BYTES:
                break
        self.size = size
        return size >= CHUNK_BYTES

    def settle(self) -> None:
        """Copies what was taken, so that the memory that its pieces are views of can be reused."""
        if len(self._parts) > self._settled:
            self._parts[self._settled :] = [b"".join(self._parts[self._settled :])]
            self._settled += 1

    def take(self) -> Chunk | None:
        """The chunk as filled until now; None where nothing waits."""
        if not self.size:
            return None
        data = b"".join(self._parts)
        compressing: bytes | Future[bytes]
        if self._compression is None:
            compressing = self.compressor.compress(data)
        else:
            compressing = self._compression.submit(self.compressor.compress, data)
        times = [entries[::2] for entries in self._entries.values() if entries]
        chunk = Chunk(
            self.size,
            zlib.crc32(data),
            compressing,
            self._entries,
            min(map(min, times)),
            max(map(max, times)),
        )
        self._parts = []
        self._settled = 0
        self.size = 0
        self._entries = {channel: [] for channel in self._counts}
        return chunk


def _message_index(channel: int, entries: Sequence[int]) -> bytes:
    """A MessageIndex record, packed in one go: an entry a message is too many for calls."""
    body = struct.pack(f"<HI{len(entries)}Q", channel, 8 * len(entries), *entries)
    return RECORD.pack(Opcode.MESSAGE_INDEX, len(body)) + body
