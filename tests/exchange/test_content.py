"""Content codings are undone, within limits."""

import gzip
import time
import tracemalloc
import zlib

import brotli
import pytest
import zstandard

from wiretape.exchange.content import MAX_CODINGS, ContentError, decode_content, field_value
from wiretape.exchange.v1 import exchange_pb2 as pb

TEXT = b"some text, some text, some text. " * 50


def zipped(data: bytes, level: int = 9) -> bytes:
    """Without the time: parallel test runs must collect the same parameters."""
    return gzip.compress(data, level, mtime=0)


RAW = zlib.compressobj(wbits=-15)
BARE = RAW.compress(TEXT) + RAW.flush()

CODED = [
    ("gzip", zipped(TEXT)),
    ("x-gzip", zipped(TEXT)),
    (" GZIP ", zipped(TEXT)),
    ("gzip", zipped(TEXT[:100]) + zipped(TEXT[100:])),
    ("gzip", zipped(TEXT) + bytes(7)),
    ("deflate", zlib.compress(TEXT)),
    ("deflate", BARE),
    ("zstd", zstandard.compress(TEXT)),
    ("zstd", zstandard.compress(TEXT[:100]) + zstandard.compress(TEXT[100:])),
    ("br", brotli.compress(TEXT)),
    ("br", brotli.compress(TEXT, quality=0)),
    ("br, zstd", zstandard.compress(brotli.compress(TEXT))),
    ("identity", TEXT),
    ("", TEXT),
    ("deflate, gzip", zipped(zlib.compress(TEXT))),
    ("gzip,, identity", zipped(TEXT)),
]


@pytest.mark.parametrize(("coding", "data"), CODED)
def test_decoded(coding: str, data: bytes) -> None:
    assert decode_content(data, coding) == TEXT
    assert decode_content(data, coding.encode()) == TEXT


@pytest.mark.parametrize("coding", ["bro", "compress", "gzip, nonsense", "\x00"])
def test_unknown_coding(coding: str) -> None:
    with pytest.raises(ContentError, match="unknown content coding"):
        decode_content(TEXT, coding)


WHOLE = [(c, d) for c, d in CODED if c in ("gzip", "deflate", "br", "zstd") and d[-7:] != bytes(7)]


@pytest.mark.parametrize(("coding", "data"), WHOLE)
def test_cut_anywhere_is_an_error_or_whole_members(coding: str, data: bytes) -> None:
    for cut in range(len(data)):
        try:
            out = decode_content(data[:cut], coding)
        except ContentError:
            continue
        assert out == TEXT[:100], cut


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
@pytest.mark.parametrize("data", [b"nonsense", b"\x00", b"\xff" * 40, b"\x1f\x8b\x08\x00"])
def test_broken(coding: str, data: bytes) -> None:
    with pytest.raises(ContentError):
        decode_content(data, coding)


BOMB = bytes(50 << 20)


@pytest.mark.parametrize(
    ("coding", "data"),
    [
        ("gzip", zipped(BOMB, 1)),
        ("deflate", zlib.compress(BOMB, 1)),
        ("br", brotli.compress(BOMB, quality=2)),
        ("zstd", zstandard.compress(BOMB)),
        ("gzip", zipped(b"") * 3 + zipped(bytes(2000))),
    ],
)
def test_bombs_stop_at_the_limit(coding: str, data: bytes) -> None:
    with pytest.raises(ContentError, match="limit"):
        decode_content(data, coding, 1000)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_the_limit_itself_is_allowed(coding: str) -> None:
    encode = {
        "gzip": gzip.compress,
        "deflate": zlib.compress,
        "br": brotli.compress,
        "zstd": zstandard.compress,
    }[coding]
    assert decode_content(encode(TEXT), coding, len(TEXT)) == TEXT
    with pytest.raises(ContentError, match="limit"):
        decode_content(encode(TEXT), coding, len(TEXT) - 1)


def test_bytes_behind_a_brotli_stream() -> None:
    with pytest.raises(ContentError):
        decode_content(brotli.compress(TEXT) + b"more", "br")


def test_thousands_of_members_take_no_longer_than_their_bytes() -> None:
    """Each is found without copying all that follows it."""
    started = time.process_time()
    assert decode_content(gzip.compress(b"") * 50_000, "gzip") == b""
    assert time.process_time() - started < 10


def test_codings_have_a_limit_too() -> None:
    data = TEXT
    for _ in range(MAX_CODINGS + 1):
        data = gzip.compress(data)
    with pytest.raises(ContentError, match="9 content codings"):
        decode_content(data, ", ".join(["gzip"] * (MAX_CODINGS + 1)))


def test_memory_of_a_bomb_is_bounded() -> None:
    """Whatever the coding: little more than the limit is ever held."""
    for coding, data in (
        ("gzip", gzip.compress(BOMB, 1)), ("br", brotli.compress(BOMB, quality=2)),
        ("zstd", zstandard.compress(BOMB)),
    ):  # fmt: skip
        tracemalloc.start()
        with pytest.raises(ContentError, match="limit"):
            decode_content(data, coding, 1 << 20)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 8 << 20, coding


def test_field_value_joins_repeats() -> None:
    fields = [pb.Field(name=b"X", value=b"a"), pb.Field(name=b"y"), pb.Field(name=b"x", value=b"b")]
    assert field_value(fields, b"x") == b"a, b"
    assert field_value(fields, b"z") == b""
