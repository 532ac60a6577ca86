"""The bytes of a capture: decompressed, in one buffer that is used again and again."""

import io
import os
import select
import stat
import time
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import zstandard

Waiting = AbstractContextManager[object]
_READ_BYTES = 1 << 20
_ZSTD_INPUT_BYTES = 4096
"""One step of decompression; 32,000 times as much may come out of it."""
_GROWING_S = 0.2
"""Of what still grows (a pipe), so long is gathered before it is walked."""
_GZIP_INPUT_BYTES = 1 << 16
_GZIP_WINDOW_BITS = 31
"""The largest window, and gzip's header and trailer around it."""
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class CaptureError(Exception):
    """A capture cannot be read, or not further; one line that says which, why and where.

    Whatever stood before that place has been delivered.
    """


class CaptureInput:
    """The buffer: `data[begin:end]` is read and not yet walked, `base` its place in the capture."""

    def __init__(self, stream: io.BufferedReader, size: int, waiting: Waiting) -> None:
        """`size`: bytes of the buffer; every read, which may take long, is done in `waiting`."""
        self._file = stream
        self._stream: io.BufferedIOBase | None = None
        self._waiting = waiting
        self.memory = bytearray(size)
        self.array = np.frombuffer(self.memory, np.uint8)
        self.begin = self.end = self.base = 0
        self.at_end = False
        self.paused = False
        """Nothing more came soon: who writes the capture is slow, or waits."""
        self._growing = not stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
        self.failure: CaptureError | None = None
        """Why the stream could not be read on; what came before it is in the buffer."""

    def fill(self) -> bool:
        """Moves the rest to the front and fills what is behind it; False where nothing came.

        What grows is not waited for until the buffer is full.
        An interrupt ends the stream, as a failure does: what was read is still to be walked.
        """
        rest = self.end - self.begin
        self.memory[:rest] = self.memory[self.begin : self.end]
        self.base += self.begin
        self.begin, self.end = 0, rest
        self.paused = False
        until = 0.0
        with memoryview(self.memory) as view:
            while not self.at_end and not self.paused and self.end < len(view):
                count = self._read(view[self.end : self.end + _READ_BYTES])
                self.end += count
                self.at_end = not count
                if self._growing and count:
                    until = until or time.monotonic() + _GROWING_S
                    self._wait(until)
        return self.end > rest

    def _wait(self, until: float) -> None:
        """Waits for more until that time."""
        poll = select.poll()
        poll.register(self._file.fileno(), select.POLLIN)
        left_ms = max(until - time.monotonic(), 0.0) * 1000
        try:
            with self._waiting:
                self.paused = not poll.poll(left_ms)
        except KeyboardInterrupt:
            self.at_end = True

    def _read(self, view: memoryview) -> int:
        """Reads once; 0 at the end of what can be read."""
        try:
            with self._waiting:
                if self._stream is None:
                    self._stream = _decompressed(self._file)
                    # Asked for more than it holds, the reader would wait, and lose that to an
                    # interrupt.
                    view = view[: len(self._file.peek(1))]
                return self._stream.readinto1(view)
        except KeyboardInterrupt:
            pass
        except (EOFError, zlib.error, zstandard.ZstdError) as error:
            self.failure = CaptureError(
                f"the compression is damaged or cut after byte {self.base + self.end} "
                f"of what it holds ({error})"
            )
        except OSError as error:
            self.failure = CaptureError(error.strerror or str(error))
        return 0

    def release(self) -> None:
        """Lets go of the buffer."""
        self.memory = bytearray()
        self.array = np.frombuffer(self.memory, np.uint8)
        self.begin = self.end = 0
        self.at_end = True

    def need(self, size: int) -> bool:
        """Whether `size` bytes from `begin` are there, reading more where they are not."""
        while self.end - self.begin < size:
            if self.at_end or not self.fill():
                return False
        return True


def _decompressed(stream: io.BufferedReader) -> io.BufferedIOBase:
    magic = stream.peek(4)[:4]
    if magic[:2] == _GZIP:
        return io.BufferedReader(_GzipMembers(stream), _READ_BYTES)
    if magic == _ZSTD:
        return io.BufferedReader(_ZstdFrames(stream), _READ_BYTES)
    return stream


class _GzipMembers(io.RawIOBase):
    """What gzip members hold that follow each other (RFC 1952 §2.2), as soon as it can be told.

    `gzip` waits for a full buffer of a pipe, however much it could give. EOFError where the last
    member has no end, zlib.error where one is damaged, behind all that came before the damage.
    """

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream = stream
        self._member = zlib.decompressobj(_GZIP_WINDOW_BITS)
        self._within = self._full = False
        self._ahead = b""
        self._out = memoryview(b"")
        self._failure: zlib.error | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._out:
            if self._failure:
                raise self._failure
            if not self._ahead and not self._full:
                self._ahead = self._stream.read1(_GZIP_INPUT_BYTES)
                if not self._ahead:
                    if self._within:
                        raise EOFError("its last member has no end")
                    return 0
            if self._member.eof:
                self._ahead = self._ahead.lstrip(b"\0")  # padding of tapes and blocks
                if not self._ahead:
                    continue
                self._member = zlib.decompressobj(_GZIP_WINDOW_BITS)
            self._decompress(len(buffer))
        size = min(len(buffer), len(self._out))
        buffer[:size] = self._out[:size]
        self._out = self._out[size:]
        return size

    def _decompress(self, size: int) -> None:
        before = self._member.copy()
        try:
            out = self._member.decompress(self._ahead, size)
        except zlib.error as error:
            # What stood before the damage was lost with the error.
            self._failure = error
            out = b"".join(_until_damage(before, self._ahead))
        member = self._member
        self._full = len(out) == size and not member.eof
        self._within = not member.eof
        self._ahead = member.unused_data if member.eof else member.unconsumed_tail
        self._out = memoryview(out)


def _until_damage(member: Any, data: bytes) -> Iterator[bytes]:
    for at in range(len(data)):
        try:
            yield member.decompress(data[at : at + 1])
        except zlib.error:
            return


class _ZstdFrames(io.RawIOBase):
    """What zstd frames hold that follow each other; EOFError where the last has no end."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream = stream
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27)
        self._frame = self._decompressor.decompressobj()
        self._within = False
        self._ahead = b""
        self._out = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._out:
            data = self._ahead or self._stream.read1(_ZSTD_INPUT_BYTES)
            if not data:
                if self._within:
                    raise EOFError("its last frame has no end")
                return 0
            self._out = memoryview(self._frame.decompress(data))
            self._within = not self._frame.eof
            self._ahead = self._frame.unused_data
            if self._frame.eof:
                self._frame = self._decompressor.decompressobj()
        size = min(len(buffer), len(self._out))
        buffer[:size] = self._out[:size]
        self._out = self._out[size:]
        return size
