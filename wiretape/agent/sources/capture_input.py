"""The bytes of a capture: decompressed, in one buffer that is used again and again."""

import gzip
import io
import zlib
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import zstandard

Waiting = AbstractContextManager[object]
_READ_BYTES = 1 << 20
_ZSTD_INPUT_BYTES = 4096
"""One step of decompression; 32,000 times as much may come out of it."""
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
        self.failure: CaptureError | None = None
        """Why the stream could not be read on; what came before it is in the buffer."""

    def fill(self) -> bool:
        """Moves the rest to the front and fills what is behind it; False where nothing came.

        An interrupt ends the stream, as a failure does: what was read is still to be walked.
        """
        rest = self.end - self.begin
        self.memory[:rest] = self.memory[self.begin : self.end]
        self.base += self.begin
        self.begin, self.end = 0, rest
        with memoryview(self.memory) as view:
            while not self.at_end and self.end < len(view):
                count = self._read(view[self.end : self.end + _READ_BYTES])
                self.end += count
                self.at_end = not count
        return self.end > rest

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
        except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
            self.failure = CaptureError(
                f"the compression is damaged or cut after byte {self.base + self.end} "
                f"of what it holds ({error})"
            )
        except OSError as error:
            self.failure = CaptureError(error.strerror or str(error))
        return 0

    def need(self, size: int) -> bool:
        """Whether `size` bytes from `begin` are there, reading more where they are not."""
        while self.end - self.begin < size:
            if self.at_end or not self.fill():
                return False
        return True


def _decompressed(stream: io.BufferedReader) -> io.BufferedIOBase:
    magic = stream.peek(4)[:4]
    if magic[:2] == _GZIP:
        return gzip.GzipFile(fileobj=stream)
    if magic == _ZSTD:
        return io.BufferedReader(_ZstdFrames(stream), _READ_BYTES)
    return stream


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
