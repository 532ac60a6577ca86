"""Undoes content codings (RFC 9110 §8.4), with a limit on what comes out.

A recording keeps contents as they were sent; this is for showing and comparing them.
"""

import zlib
from collections.abc import Callable, Iterable
from io import BytesIO

import zstandard

from wiretape.exchange.v1 import exchange_pb2 as pb

MAX_DECODED = 256 << 20


class ContentError(Exception):
    """The content is not what its coding says, or decodes beyond the limit."""


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
    for name in reversed([n for n in names if n and n != b"identity"]):
        decode = _DECODERS.get(name)
        if decode is None:
            raise ContentError(f"unknown content coding {name.decode('latin-1')!r}")
        data = decode(data, limit)
    return data


def _inflate(data: bytes, limit: int, window: int) -> bytes:
    """One or more zlib or gzip members; trailing zero bytes are padding."""
    out: list[bytes] = []
    while data.rstrip(b"\0") or not out:
        decoder = zlib.decompressobj(window)
        try:
            piece = decoder.decompress(data, limit + 1)
        except zlib.error as error:
            raise ContentError(str(error)) from error
        limit -= len(piece)
        if limit < 0 or decoder.unconsumed_tail:
            raise ContentError("decodes to more than the limit")
        if not decoder.eof:
            raise ContentError("ends in the middle")
        out.append(piece)
        data = decoder.unused_data
    return b"".join(out)


def _gzip(data: bytes, limit: int) -> bytes:
    return _inflate(data, limit, 31)


def _deflate(data: bytes, limit: int) -> bytes:
    """zlib as RFC 9110 §8.4.1.2 says, or the bare deflate that some servers send."""
    try:
        return _inflate(data, limit, 15)
    except ContentError:
        return _inflate(data, limit, -15)


def _zstd(data: bytes, limit: int) -> bytes:
    try:
        with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(
            BytesIO(data), read_across_frames=True
        ) as reader:
            out: bytes = reader.read(limit + 1)
    except zstandard.ZstdError as error:
        raise ContentError(str(error)) from error
    if len(out) > limit:
        raise ContentError("decodes to more than the limit")
    return out


_DECODERS: dict[bytes, Callable[[bytes, int], bytes]] = {
    b"gzip": _gzip,
    b"x-gzip": _gzip,
    b"deflate": _deflate,
    b"zstd": _zstd,
}
