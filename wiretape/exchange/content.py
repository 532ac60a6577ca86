"""Undoes content codings (RFC 9110 §8.4), with a limit on what comes out.

A recording keeps contents as they were sent; this is for showing and comparing them.
"""

import zlib
from collections.abc import Callable, Iterable

import brotli
import zstandard

from wiretape.exchange.v1 import exchange_pb2 as pb

MAX_DECODED = 256 << 20
MAX_CODINGS = 8
_STEP = 4096
"""Bytes decoded at once: this bounds what comes out before the limit is noticed, and what is copied
where a content has thousands of members."""
_BROTLI_OUT = 1 << 16
_ZSTD_STEP = 128
"""Four bytes may stand for a block of 128 KiB (RFC 8878 §3.1.1.2)."""


class ContentError(Exception):
    """The content is not what its coding says, or decodes beyond the limit."""


class _TooLongError(ContentError):
    def __init__(self) -> None:
        super().__init__("decodes to more than the limit")


def field_value(fields: Iterable[pb.Field], name: bytes) -> bytes:
    """The values of all fields called `name` (lower case), joined as one list (RFC 9110 §5.2)."""
    return b", ".join([field.value for field in fields if field.name.lower() == name])


def decode_content(data: bytes, codings: bytes | str, limit: int = MAX_DECODED) -> bytes:
    """`data` with every coding in `codings` (a Content-Encoding value) undone, last one first.

    Raises ContentError for a coding we do not know, broken data, or more than `limit` bytes.
    """
    if isinstance(codings, str):
        codings = codings.encode("latin-1")
    names = [coding.strip().lower() for coding in codings.split(b",")]
    names = [n for n in names if n and n != b"identity"]
    if len(names) > MAX_CODINGS:
        raise ContentError(f"has {len(names)} content codings")
    for name in reversed(names):
        decode = _DECODERS.get(name)
        if decode is None:
            raise ContentError(f"unknown content coding {name.decode('latin-1')!r}")
        data = decode(data, limit)
    return data


def _inflate(data: bytes, limit: int, window: int) -> bytes:
    """One or more zlib or gzip members; trailing zero bytes are padding."""
    out: list[bytes] = []
    end = len(data.rstrip(b"\0"))
    position = 0
    while position < end or not out:
        decoder = zlib.decompressobj(window)
        while not decoder.eof:
            if position >= len(data):
                raise ContentError("ends in the middle")
            try:
                piece = decoder.decompress(data[position : position + _STEP], limit + 1)
            except zlib.error as error:
                raise ContentError(str(error)) from error
            position += _STEP
            limit -= len(piece)
            if limit < 0 or decoder.unconsumed_tail:
                raise _TooLongError
            out.append(piece)
        position = min(position, len(data)) - len(decoder.unused_data)
    return b"".join(out)


def _gzip(data: bytes, limit: int) -> bytes:
    return _inflate(data, limit, 31)


def _deflate(data: bytes, limit: int) -> bytes:
    """zlib as RFC 9110 §8.4.1.2 says, or the bare deflate that some servers send."""
    try:
        return _inflate(data, limit, 15)
    except _TooLongError:
        raise
    except ContentError:
        return _inflate(data, limit, -15)


def _brotli(data: bytes, limit: int) -> bytes:
    """One stream (RFC 7932)."""
    decoder = brotli.Decompressor()
    out: list[bytes] = []
    position = 0
    try:
        while not decoder.is_finished():
            fed = b""
            if decoder.can_accept_more_data():
                if position >= len(data):
                    raise ContentError("ends in the middle")
                fed = data[position : position + _STEP]
                position += _STEP
            piece = decoder.process(fed, output_buffer_limit=_BROTLI_OUT)
            limit -= len(piece)
            if limit < 0:
                raise _TooLongError
            out.append(piece)
    except brotli.error as error:
        raise ContentError(str(error)) from error
    if position < len(data):
        raise ContentError("bytes follow its end")
    return b"".join(out)


def _zstd(data: bytes, limit: int) -> bytes:
    """One or more frames."""
    out: list[bytes] = []
    position = 0
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    try:
        while position < len(data) or not position:
            frame = decompressor.decompressobj()
            while not frame.eof:
                if position >= len(data):
                    raise ContentError("ends in the middle")
                piece = frame.decompress(data[position : position + _ZSTD_STEP])
                position += _ZSTD_STEP
                limit -= len(piece)
                if limit < 0:
                    raise _TooLongError
                out.append(piece)
            position = min(position, len(data)) - len(frame.unused_data)
    except zstandard.ZstdError as error:
        raise ContentError(str(error)) from error
    return b"".join(out)


_DECODERS: dict[bytes, Callable[[bytes, int], bytes]] = {
    b"gzip": _gzip,
    b"x-gzip": _gzip,
    b"deflate": _deflate,
    b"br": _brotli,
    b"zstd": _zstd,
}
