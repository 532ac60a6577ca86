"""Puts live values into a recorded message: values of any length, the framing made to fit.

Whatever is not replaced stays as it was sent, byte for byte; where a value stood in a coding, the
new one is written in it.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import NamedTuple, TypeVar
from urllib.parse import quote, unquote

import brotli
import zstandard

from wiretape.exchange.content import field_value
from wiretape.exchange.v1.exchange_pb2 import Content, HttpRequest, HttpResponse
from wiretape.replayer.carried.candidates import CONTENT, TARGET, lines_of, plain_content
from wiretape.replayer.carried.tokens import to_base64

AnyMessage = TypeVar("AnyMessage", HttpRequest, HttpResponse)

_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_FIELD_LINE = re.compile(rb"[^\n]*\n(?:[ \t][^\n]*\n)*")
_UNESCAPED = "!$'()*,;:@/?="
_DIGESTS = frozenset([b"content-md5", b"digest", b"content-digest", b"repr-digest"])
_ALGORITHMS = ("md5", "sha1", "sha256", "sha512")


class Use(NamedTuple):
    """A span of a part that carries the value of `slot`; -1 where `inner` uses are within it.

    Offsets of inner uses are those of `text`, which is the span with its codings undone.
    """

    start: int
    end: int
    slot: int
    codings: tuple[str, ...]
    text: str = ""
    inner: tuple[Use, ...] = ()


Parts = tuple[tuple[int, tuple[Use, ...]], ...]
"""The uses of one message by part: TARGET, CONTENT, or the number of a field; each in order."""

Live = Callable[[int], str | None]
Translate = Callable[[bytes], bytes]


class _Edit(NamedTuple):
    start: int
    end: int
    length: int


def rewritten(message: AnyMessage, parts: Parts, live: Live, translate: Translate) -> AnyMessage:
    """A copy with the live values of all slots that have one; the rest is passed to `translate`.

    `translate` keeps lengths.
    """
    uses = dict(parts)
    copy = type(message)()
    copy.CopyFrom(message)
    if isinstance(copy, HttpRequest):
        copy.target = _spliced(copy.target, uses.get(TARGET, ()), live, translate)[0]
    for number, field in enumerate(copy.fields):
        changed = _spliced(field.value, uses.get(number, ()), live, translate)[0]
        if changed != field.value:
            field.value = changed
    for field in copy.trailers:
        field.value = translate(field.value)
    if copy.content.data:
        _rewrite_content(copy, uses.get(CONTENT, ()), live, translate)
    if message.head:
        copy.head = _head(message, copy)
    return copy


def _rewrite_content(
    message: HttpRequest | HttpResponse, uses: tuple[Use, ...], live: Live, translate: Translate
) -> None:
    before = message.content.data
    codings = field_value(message.fields, b"content-encoding")
    if not codings or not uses:
        after, edits = _spliced(before, uses, live, translate)
    else:
        plain = plain_content(message, lines_of(message))
        if plain is None:
            return
        changed, edits = _spliced(plain, uses, live, translate)
        if changed == plain:
            return
        after, edits = _encoded(changed, codings), []
        del message.content.chunk_lengths[:]
    if after == before:
        return
    message.content.data = after
    for field in message.fields:
        if field.name.lower() in _DIGESTS:
            field.value = _digested(field.value, before, after)
    if len(after) != len(before):
        _reframe(message, edits, len(after))


def _reframe(message: HttpRequest | HttpResponse, edits: list[_Edit], length: int) -> None:
    content = message.content
    content.length = length
    if content.framing != Content.CHUNKED:
        for field in message.fields:
            if field.name.lower() == b"content-length":
                field.value = b"%d" % length
        return
    bounds, offset = [0], 0
    for size in content.chunk_lengths:
        offset += size
        bounds.append(_moved(offset, edits))
    # A chunk without content would end it.
    content.chunk_lengths[:] = [b - a for a, b in pairwise(bounds) if b > a]


def _moved(offset: int, edits: list[_Edit]) -> int:
    """Where a place of the old content lies in the new one; within an edit: at its end."""
    by = 0
    for edit in edits:
        if edit.start >= offset:
            break
        by += edit.length - (min(edit.end, offset) - edit.start)
    return offset + by


def _spliced(
    data: bytes, uses: tuple[Use, ...], live: Live, translate: Translate
) -> tuple[bytes, list[_Edit]]:
    if not uses:
        return translate(data), []
    pieces: list[bytes] = []
    edits: list[_Edit] = []
    done = 0
    for use in uses:
        before = data[use.start : use.end].decode("latin-1")
        after = _written(use, before, live)
        if after is None:
            continue
        new = data[use.start : use.end]
        if after != before:
            new = after.encode("utf-8", "surrogateescape")
        pieces += (translate(data[done : use.start]), new)
        edits.append(_Edit(use.start, use.end, len(new)))
        done = use.end
    return b"".join((*pieces, translate(data[done:]))), edits


def _written(use: Use, before: str, live: Live) -> str | None:
    """What stands in the place of `before`; None where there is no live value."""
    value = live(use.slot) if use.slot >= 0 else _filled(use, live)
    if value is None or value == use.text:
        return None if value is None else before
    coded = value
    for depth, coding in enumerate(use.codings):
        like = before if depth == len(use.codings) - 1 else unquote(before)
        coded = _CODINGS[coding](coded, like)
    return coded


def _filled(use: Use, live: Live) -> str | None:
    pieces: list[str] = []
    done = 0
    for inner in use.inner:
        after = _written(inner, use.text[inner.start : inner.end], live)
        if after is not None:
            pieces += (use.text[done : inner.start], after)
            done = inner.end
    return "".join((*pieces, use.text[done:])) if pieces else None


def _percent(value: str, like: str) -> str:
    return quote(value, safe="-._~+&" + "".join(c for c in _UNESCAPED if c in like))


def _form(value: str, like: str) -> str:
    coded = quote(value, safe="-._~ " + "".join(c for c in _UNESCAPED if c in like))
    return coded.replace(" ", "%20" if "%20" in like else "+")


def _json(value: str, like: str) -> str:
    return json.dumps(value)[1:-1]


def _number(value: str, like: str) -> str:
    return value if _NUMBER.fullmatch(value) else json.dumps(value)


def _field(value: str, like: str) -> str:
    # A line end would begin another field.
    return _CONTROLS.sub("", value)


_CODINGS: Mapping[str, Callable[[str, str], str]] = {
    "base64": to_base64,
    "percent": _percent,
    "form": _form,
    "json": _json,
    "number": _number,
    "field": _field,
}


def _encoded(data: bytes, codings: bytes) -> bytes:
    """`data` in the content codings of a Content-Encoding value, the first one first."""
    encoders: dict[bytes, Callable[[bytes], bytes]] = {
        b"gzip": lambda plain: gzip.compress(plain, mtime=0),
        b"x-gzip": lambda plain: gzip.compress(plain, mtime=0),
        b"deflate": zlib.compress,
        b"br": brotli.compress,
        b"zstd": zstandard.ZstdCompressor().compress,
    }
    for coding in codings.split(b","):
        name = coding.strip().lower()
        if name in encoders:
            data = encoders[name](data)
    return data


def _digested(value: bytes, before: bytes, after: bytes) -> bytes:
    """A digest of the old content becomes that of the new one."""
    for algorithm in _ALGORITHMS:
        old, new = (hashlib.new(algorithm, data).digest() for data in (before, after))
        value = value.replace(base64.b64encode(old), base64.b64encode(new))
        value = value.replace(old.hex().encode(), new.hex().encode())
    return value


def _head(before: HttpRequest | HttpResponse, after: HttpRequest | HttpResponse) -> bytes:
    """The raw header section with what changed; empty where its lines are not those of fields."""
    start, *lines = _FIELD_LINE.findall(before.head)
    if lines and not lines[-1].strip():
        lines.pop()
    if len(lines) != len(before.fields) or not before.head.endswith(b"\n"):
        return b""
    end_of_head = before.head[len(start) + sum(map(len, lines)) :]
    if isinstance(before, HttpRequest) and isinstance(after, HttpRequest):
        start = start.replace(before.target, after.target, 1)
    written = [start]
    for line, old, new in zip(lines, before.fields, after.fields, strict=True):
        if old.value == new.value:
            written.append(line)
            continue
        end = b"\r\n" if line.endswith(b"\r\n") else b"\n"
        head, mark, tail = line.rpartition(old.value)
        whole = mark and b":" in head
        written.append(
            head + new.value + tail if whole else b"%b: %b%b" % (old.name, new.value, end)
        )
    return b"".join(written) + end_of_head
