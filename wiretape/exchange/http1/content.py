"""Reads the content of one message from a byte queue, by its framing (RFC 9112 §6.3, §7.1)."""

from enum import Enum
from functools import lru_cache

from wiretape.exchange import encode
from wiretape.exchange.http1 import grammar
from wiretape.exchange.http1.framing import CHUNKED, CLOSE, LENGTH
from wiretape.exchange.stream import ByteQueue
from wiretape.exchange.v1 import exchange_pb2 as pb

MAX_CHUNK_LINE = 16 * 1024
MAX_TRAILERS = 256 * 1024

_LIMIT, _EVICTED = int(pb.Gap.LIMIT), int(pb.Gap.EVICTED)
_CHUNK_COST = 72
"""What keeping track of a chunk takes, beside its bytes."""

chunk_size = lru_cache(maxsize=4096)(grammar.chunk_size)


class Progress(Enum):
    MORE = 0
    """Everything readable is consumed, or what is left needs more beside it."""
    DONE = 1
    LOST = 2
    """Where the content ends cannot be known any more."""


class _At(Enum):
    SIZE = 0
    DATA = 1
    DATA_END = 2
    TRAILERS = 3


class ContentReader:
    """One content after another of one direction; `begin` starts each."""

    __slots__ = (
        "_at", "_chunks", "_evicted", "_gaps", "_kept", "_left", "_max", "_offset", "_parts",
        "framing", "judged", "trailers", "violations",
    )  # fmt: skip

    def __init__(self, max_content_bytes: int) -> None:
        self._max = max_content_bytes
        self.begin(0, 0)

    def begin(self, framing: int, length: int) -> None:
        """`length`: bytes of the content, -1 where only its framing will tell."""
        self.framing = framing
        self._left = length
        self._at = _At.SIZE
        self._parts: list[bytes] = []
        self._kept = 0
        self._evicted = 0
        """Of the bytes kept, those that were let go of again."""
        self._offset = 0
        self._gaps: list[tuple[int, int, int]] = []
        self._chunks: list[int] = []
        self.trailers = b""
        self.judged = 0
        """Index of the byte that showed that the framing is broken."""
        self.violations: list[tuple[str, str]] = []

    @property
    def gapped(self) -> bool:
        return bool(self._gaps)

    @property
    def held_bytes(self) -> int:
        """Memory that the content takes, told by what was sent and not by how it was batched."""
        return self._kept - self._evicted + _CHUNK_COST * len(self._chunks)

    def evict(self) -> int:
        """Lets go of what was read so far, which becomes a gap; returns how many bytes went."""
        evicted = self._kept - self._evicted
        if not evicted:
            return 0
        gaps: list[tuple[int, int, int]] = []
        end = 0
        for offset, length, reason in [*self._gaps, (self._offset, 0, 0)]:
            if offset > end:
                _append_gap(gaps, end, offset - end, _EVICTED)
            if length:
                _append_gap(gaps, offset, length, reason)
            end = offset + length
        self._gaps = gaps
        self._evicted = self._kept
        self._parts = []
        return evicted

    def advance(self, queue: ByteQueue) -> Progress:
        """Consumes what is readable; DONE leaves the queue at the first byte after the message."""
        if self.framing == CHUNKED:
            return self._advance_chunked(queue)
        available = len(queue.data) - queue.pos
        wanted = available if self.framing == CLOSE else min(available, self._left)
        self._keep(queue.data, queue.pos, wanted)
        queue.pos += wanted
        if self.framing == CLOSE:
            return Progress.MORE
        self._left -= wanted
        return Progress.MORE if self._left else Progress.DONE

    @property
    def ends_in_gap(self) -> bool:
        """Nothing of it was seen behind the last gap: its end is in there."""
        return bool(self._gaps) and sum(self._gaps[-1][:2]) == self._offset

    def take_hole(self, queue: ByteQueue) -> Progress:
        """Takes the hole that follows the readable bytes, as far as it lies in this content.

        How far that is cannot be known where the framing of chunks is missing: all of it is taken.
        """
        hole = queue.hole
        assert hole is not None, "take_hole without a hole"
        if self.framing == CHUNKED and self._at is not _At.DATA:
            queue.pos = len(queue.data)
            self._miss(queue.take_hole(hole.length).length, hole.reason)
            return Progress.LOST
        length = hole.length if self.framing == CLOSE else min(hole.length, self._left)
        self._miss(queue.take_hole(length).length, hole.reason)
        if self.framing == CLOSE:
            return Progress.MORE
        self._left -= length
        if self._left:
            return Progress.MORE
        if self.framing == LENGTH:
            return Progress.DONE
        self._at = _At.DATA_END
        return Progress.MORE

    def encoded(self, complete: bool) -> tuple[list[bytes], int]:
        """The Content message read so far; its pieces are not held any longer."""
        length = self._offset
        if self.framing == LENGTH and self._left > 0:
            length += self._left
        parts, self._parts = self._parts, []
        self._evicted = self._kept
        return encode.content(
            parts,
            length,
            self.framing,
            complete and not self._gaps,
            self._gaps,
            self._chunks if self.framing == CHUNKED else (),
        )

    def _keep(self, data: bytes, pos: int, length: int) -> None:
        kept = min(length, self._max - self._kept)
        if kept > 0:
            self._parts.append(
                data if kept == len(data) else data[pos : pos + kept],
            )
            self._kept += kept
            self._offset += kept
        if kept < length:
            self._miss(length - kept, _LIMIT)

    def _miss(self, length: int, reason: int) -> None:
        _append_gap(self._gaps, self._offset, length, reason)
        self._offset += length

    def _advance_chunked(self, queue: ByteQueue) -> Progress:
        data, pos = queue.data, queue.pos
        size = len(data)
        try:
            while True:
                if self._at is _At.SIZE:
                    end = data.find(b"\n", pos, pos + MAX_CHUNK_LINE)
                    if end < 0:
                        self.judged = pos + MAX_CHUNK_LINE - 1
                        return Progress.LOST if size > self.judged else Progress.MORE
                    line_end = end - 1 if end > pos and data[end - 1] == 0x0D else end
                    length, code = chunk_size(data[pos:line_end])
                    if code or line_end == end:
                        shown = data[pos : min(line_end, pos + 80)].decode("latin-1")
                        self.violations.append((code or "bare-lf", shown))
                    if length < 0:
                        self.judged = end
                        return Progress.LOST
                    pos = end + 1
                    self._left = length
                    if length:
                        self._chunks.append(length)
                    self._at = _At.DATA if length else _At.TRAILERS
                if self._at is _At.DATA:
                    taken = min(size - pos, self._left)
                    self._keep(data, pos, taken)
                    pos += taken
                    self._left -= taken
                    if self._left:
                        return Progress.MORE
                    self._at = _At.DATA_END
                if self._at is _At.DATA_END:
                    if data.startswith(b"\r\n", pos):
                        pos += 2
                    elif data.startswith(b"\n", pos):
                        self.violations.append(("bare-lf", ""))
                        pos += 1
                    elif size - pos < 2 and data[pos:] in (b"", b"\r"):
                        return Progress.MORE
                    else:
                        # No more than decided it, whatever else is readable already.
                        self.judged = pos + data.startswith(b"\r", pos)
                        shown = data[pos : self.judged + 1].decode("latin-1")
                        self.violations.append(("chunk-without-line-end", shown))
                        return Progress.LOST
                    self._at = _At.SIZE
                if self._at is _At.TRAILERS:
                    if data.startswith(b"\r\n", pos):
                        pos += 2
                        return Progress.DONE
                    if data.startswith(b"\n", pos):
                        pos += 1
                        return Progress.DONE
                    end_of_trailers = grammar.HEAD_END.search(data, pos, pos + MAX_TRAILERS)
                    if end_of_trailers is None:
                        self.judged = pos + MAX_TRAILERS - 1
                        return Progress.LOST if size > self.judged else Progress.MORE
                    self.trailers = data[pos : end_of_trailers.start() + 1]
                    pos = end_of_trailers.end()
                    return Progress.DONE
        finally:
            queue.pos = pos


def _append_gap(gaps: list[tuple[int, int, int]], offset: int, length: int, reason: int) -> None:
    """Adds (offset, length, reason); to the gap directly before it where that has the reason."""
    if gaps:
        before, size, same = gaps[-1]
        if same == reason and before + size == offset:
            gaps[-1] = before, size + length, reason
            return
    gaps.append((offset, length, reason))
