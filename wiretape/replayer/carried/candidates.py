"""What a message carries that an earlier one may have produced, and where it stands in its bytes.

Offsets count bytes of a part: the request target, a field's value, or the content without its
codings. Text is taken as ISO 8859-1, so that characters are bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

from wiretape.exchange.content import ContentError, decode_content
from wiretape.exchange.v1.exchange_pb2 import HttpRequest, HttpResponse
from wiretape.replayer.carried.families import (
    collection_of,
    is_cursor_sent,
    is_short_id,
    key,
    singular,
    stem_of,
    told_apart_by,
)
from wiretape.replayer.carried.tokens import SHORTEST, from_base64, is_padded, is_whole, spans

TARGET, CONTENT = -1, -2
# Larger contents are neither looked into nor rewritten.
MAX_CONTENT_BYTES = 4 << 20
_MAX_KNOWN_JSON = 4096

Message = HttpRequest | HttpResponse
Lines = list[tuple[bytes, bytes]]
"""Names in lower case and values of a message's fields, read once: each access makes objects."""

# Of the hop, the client's library, or tracing; and what can hold no value of ours.
_LEFT_OUT = frozenset(
    b"accept accept-charset accept-encoding accept-language accept-ranges age allow b3 baggage"
    b" cache-control connection content-encoding content-length content-type date expect expires"
    b" forwarded host keep-alive max-forwards proxy-connection retry-after server te traceparent"
    b" tracestate trailer transfer-encoding upgrade upgrade-insecure-requests user-agent vary via"
    b" x-b3-flags x-b3-parentspanid x-b3-sampled x-b3-spanid x-b3-traceid x-forwarded-for"
    b" x-forwarded-host x-forwarded-proto x-real-ip dnt".split()
)
# Made anew for each request by who sends it, and at most handed on.
_LEFT_OUT_OF_REQUESTS = _LEFT_OUT | {b"x-request-id", b"x-correlation-id", b"request-id"}
_CONDITIONAL = frozenset([b"if-match", b"if-none-match", b"if-range"])
_DATED = frozenset([b"if-modified-since", b"if-unmodified-since", b"if-range"])
_ENTITY_TAG = re.compile(r'"([^"]*)"')
_CREDENTIALS = re.compile(r"([A-Za-z0-9-]+) +(\S+) *")
_PERCENT = re.compile(r"%[0-9A-Fa-f]{2}")
_COOKIE = re.compile(r"([^=;\s]+)=\"?([^;\"]*)")
_PAIR = re.compile(r"([^&=]*)=([^&]*)")
_JSON_ATOM = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"(\s*:)?|(-?\d[\d.eE+-]*)', re.DOTALL)
# Its groups: a string, the colon after one, a number.
_IS_NAME, _IS_NUMBER = 2, 3
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")


class Candidate(NamedTuple):
    """A span of a part, and the keys of what stands there, the surest first.

    `codings` say how a value is written there, from the inside out. `inner` are candidates within
    `text`, what the span says once they are undone.
    """

    start: int
    end: int
    keys: tuple[str, ...]
    codings: tuple[str, ...]
    text: str
    inner: tuple[Candidate, ...] = ()

    def moved(self, by: int) -> Candidate:
        return self._replace(start=self.start + by, end=self.end + by) if by else self


class Scope(NamedTuple):
    """Where a message belongs: `session` for what one client got, `space` for whose ids it names
    ("" for the service, or an upstream's name), the request's path."""

    session: str
    space: str
    path: str


def path_of(target: bytes) -> str:
    """The path of a request target as it stands, absolute-form included."""
    text = target.decode("latin-1")
    if text[:1] != "/" and (match := _SCHEME.match(text)):
        text = text[match.end() :]
    return text.partition("#")[0].partition("?")[0] or "/"


def lines_of(message: Message) -> Lines:
    return [(field.name.lower(), field.value) for field in message.fields]


def _value(lines: Lines, name: bytes) -> bytes:
    return b", ".join([value for known, value in lines if known == name])


def media_type(lines: Lines) -> str:
    value = _value(lines, b"content-type")
    return value.partition(b";")[0].strip().lower().decode("latin-1")


def plain_content(message: Message, lines: Lines) -> bytes | None:
    """The content without its codings; None where it is too large or cannot be read."""
    data = message.content.data
    if not data or len(data) > MAX_CONTENT_BYTES:
        return None
    codings = _value(lines, b"content-encoding")
    if not codings:
        return data
    try:
        return decode_content(data, codings, MAX_CONTENT_BYTES)
    except ContentError:
        return None


def is_json(kind: str, content: bytes) -> bool:
    if kind.endswith("json"):
        return True
    return not kind and content[:1] in b"{["


def is_text(kind: str, content: bytes) -> bool:
    """Whether spans of it may be replaced: what is no text may count its bytes."""
    if not kind.startswith(("text/", "multipart/")) and not kind.endswith(("xml", "javascript")):
        return not kind and content.isascii() and b"\0" not in content[:1024]
    return True


def candidates(message: Message, scope: Scope) -> list[tuple[int, tuple[Candidate, ...]]]:
    """For each part that may carry something, its candidates; whole values before their parts."""
    parts: list[tuple[int, tuple[Candidate, ...]]] = []
    left_out = _LEFT_OUT
    if isinstance(message, HttpRequest):
        left_out = _LEFT_OUT_OF_REQUESTS
        if found := _in_target(message.target, scope):
            parts.append((TARGET, found))
    lines = lines_of(message)
    for number, (name, value) in enumerate(lines):
        if name not in left_out and (found := _in_field(name, value, scope)):
            parts.append((number, found))
    content = plain_content(message, lines)
    if content is not None and (found := tuple(_in_content(media_type(lines), content, scope))):
        parts.append((CONTENT, found))
    return parts


def _in_target(target: bytes, scope: Scope) -> tuple[Candidate, ...]:
    text = target.decode("latin-1")
    scheme = _SCHEME.match(text) if text[:1] != "/" else None
    if scheme is None:
        return tuple(_in_url(text, scope))
    start = scheme.end()
    return tuple(candidate.moved(start) for candidate in _in_url(text[start:], scope))


def _in_url(text: str, scope: Scope) -> Iterator[Candidate]:
    path, mark, query = text.partition("?")
    start = 0
    named = ""
    for segment in path.split("/"):
        end = start + len(segment)
        if len(segment) < SHORTEST and segment.isalpha() and segment.isascii():
            # A plain word, as most are: neither an id nor distinctive.
            named = segment
            start = end + 1
            continue
        value = unquote(segment, "latin-1") if "%" in segment else segment
        keys: list[str] = []
        if is_short_id(value):
            keys.append(key("path", scope.space, path[: start - 1] if start else "", value))
            if named:
                keys.append(key("id", scope.space, singular(named), value))
        elif segment and not is_whole(value):
            named = segment
        if keys or len(segment) >= SHORTEST:
            yield from _in_value(segment, start, keys, ("percent",))
        start = end + 1
    if mark:
        yield from _in_pairs(query, len(path) + 1, scope._replace(path=path), sent=True)


def _in_pairs(text: str, start: int, scope: Scope, sent: bool) -> Iterator[Candidate]:
    """Pairs of a query (`sent`) or of a form."""
    pairs = [
        (match, unquote(match[1].replace("+", " ")), unquote(match[2].replace("+", " ")))
        for match in _PAIR.finditer(text)
    ]
    link = told_apart_by(value for _, _, value in pairs) if sent and len(pairs) > 1 else ""
    for match, name, value in pairs:
        raw = match[2]
        keys = _keys_of_member(name, value, scope.space, collection_of(scope.path)[0])
        if link and value and value != link:
            keys.insert(0, key("signed", link, name, value))
        if sent and value:
            if is_cursor_sent(name):
                keys.append(key("link", scope.session + scope.path, name, value))
                keys.append(key("cursor", scope.session + scope.path, "", value))
        elif value:
            keys.append(key("input", scope.session, name, value))
        yield from _in_value(raw, start + match.start(2), keys, ("form",))


def _keys_of_member(name: str, value: str, space: str, collection: str) -> list[str]:
    stem = stem_of(name)
    if stem is None or not is_short_id(value):
        return []
    return [key("id", space, stem or collection, value)]


def _in_value(
    raw: str, start: int, keys: Sequence[str], codings: tuple[str, ...]
) -> Iterator[Candidate]:
    """A value written with percent signs: as a whole, what it hides, then the words in it."""
    if len(raw) < SHORTEST and "%" not in raw and "+" not in raw:
        if keys:
            yield Candidate(start, start + len(raw), tuple(keys), codings, raw)
        return
    value = raw
    if "%" in raw:
        value = unquote(raw)
    if codings == ("form",) and "+" in raw:
        value = unquote(raw.replace("+", " "))
    whole = _whole(value, keys)
    if whole:
        yield Candidate(start, start + len(raw), whole, codings, value)
    inner = _hidden(value)
    if inner:
        yield Candidate(
            start, start + len(raw), (), ("base64", *codings), from_base64(value) or "", inner
        )
    # What is written with percent signs is no part of a word.
    bare = _PERCENT.sub("   ", raw) if "%" in raw else raw
    for begin, end in () if is_padded(value) else spans(bare):
        if (begin, end) != (0, len(raw)) or not whole:
            yield Candidate(
                start + begin, start + end, (bare[begin:end],), codings, bare[begin:end]
            )


def _whole(value: str, keys: Iterable[str]) -> tuple[str, ...]:
    return (*keys, value) if is_whole(value) else tuple(keys)


@lru_cache(1 << 12)
def _hidden(value: str) -> tuple[Candidate, ...]:
    """Candidates in what `value` says in base64."""
    text = from_base64(value) if len(value) >= 16 else None
    return tuple(_in_text(text)) if text is not None else ()


def _in_text(text: str, start: int = 0) -> Iterator[Candidate]:
    """The words of any text, and what is hidden in them."""
    for begin, end in spans(text) if len(text) <= 4096 else spans.__wrapped__(text):
        word = text[begin:end]
        yield Candidate(start + begin, start + end, (word,), (), word)
        while text.startswith("=", end):
            end += 1
        word = text[begin:end]
        if inner := _hidden(word):
            yield Candidate(
                start + begin, start + end, (), ("base64",), from_base64(word) or "", inner
            )


def _in_field(name: bytes, raw: bytes, scope: Scope) -> tuple[Candidate, ...]:
    if name == b"cookie":
        return _in_cookies(raw, scope.session)
    if name in _CONDITIONAL or name in _DATED:
        return _in_condition(name, raw, scope)
    return _in_any_field(name, raw)


@lru_cache(1 << 12)
def _in_any_field(name: bytes, raw: bytes) -> tuple[Candidate, ...]:
    text = raw.decode("latin-1")
    found: list[Candidate] = []
    match = _CREDENTIALS.fullmatch(text) if name.endswith(b"authorization") else None
    if match and match[1].lower() == "basic":
        inner = _in_credentials(from_base64(match[2]) or "")
        if inner:
            text = from_base64(match[2]) or ""
            found.append(Candidate(match.start(2), match.end(2), (), ("base64",), text, inner))
        return tuple(found)
    if match and is_whole(match[2]):
        found.append(Candidate(*match.span(2), (match[2],), ("field",), match[2]))
    elif is_whole(text):
        found.append(Candidate(0, len(text), (text,), ("field",), text))
    found += (c._replace(codings=(*c.codings, "field")) for c in _in_text(text))
    return tuple(found)


def _in_credentials(text: str) -> tuple[Candidate, ...]:
    """User and password (RFC 7617), each as a whole and in its words."""
    user, mark, _ = text.partition(":")
    found: list[Candidate] = []
    for start, end in ((0, len(user)), (len(user) + len(mark), len(text))):
        value = text[start:end]
        if is_whole(value):
            found.append(Candidate(start, end, (value,), (), value))
    return (*found, *_in_text(text))


@lru_cache(1 << 12)
def _in_cookies(raw: bytes, session: str) -> tuple[Candidate, ...]:
    found: list[Candidate] = []
    for match in _COOKIE.finditer(raw.decode("latin-1")):
        value = match[2].rstrip()
        start, end = match.start(2), match.start(2) + len(value)
        # A cookie goes back as it came, whatever is written in it (RFC 6265 §5.4).
        keys = [key("cookie", session, match[1], value)] if value else []
        found.append(Candidate(start, end, _whole(value, keys), ("field",), value))
        found += _in_value(value, start, (), ("percent",))
    return tuple(found)


@lru_cache(1 << 12)
def _in_condition(name: bytes, raw: bytes, scope: Scope) -> tuple[Candidate, ...]:
    text = raw.decode("latin-1")
    found: list[Candidate] = []
    for match in _ENTITY_TAG.finditer(text) if name in _CONDITIONAL else ():
        keys = [key("etag", scope.space, scope.path, match[1])]
        found.append(Candidate(*match.span(1), _whole(match[1], keys), ("field",), match[1]))
    if not found and name in _DATED:
        keys = [key("modified", scope.space, scope.path, text)]
        found.append(Candidate(0, len(text), tuple(keys), ("field",), text))
    return tuple(found)


def _in_content(kind: str, content: bytes, scope: Scope) -> Iterator[Candidate]:
    text = content.decode("latin-1")
    if kind == "application/x-www-form-urlencoded":
        yield from _in_pairs(text, 0, scope, sent=False)
    elif is_json(kind, content):
        collection = collection_of(scope.path)[0]
        if len(text) <= _MAX_KNOWN_JSON:
            yield from _in_known_json(text, scope.space, collection)
        else:
            yield from _in_json(text, scope.space, collection)
    elif is_text(kind, content):
        yield from _in_text(text)


@lru_cache(1 << 8)
def _in_known_json(text: str, space: str, collection: str) -> tuple[Candidate, ...]:
    """Polls and upstreams often answer the same."""
    return tuple(_in_json(text, space, collection))


def _in_json(text: str, space: str, collection: str) -> Iterator[Candidate]:
    name, is_of_id = "", False
    for match in _JSON_ATOM.finditer(text):
        kind = match.lastindex or 0
        if kind == _IS_NAME:
            name = match[1]
            is_of_id = stem_of(name) is not None
            continue
        if not is_of_id and match.end(kind) - match.start(kind) < SHORTEST:
            continue
        if kind == _IS_NUMBER:
            number = match[3]
            keys = _keys_of_member(name, number, space, collection)
            whole = (*keys, number) if is_whole(number) else tuple(keys)
            if whole:
                yield Candidate(*match.span(3), whole, ("number",), number)
            continue
        string = match[1]
        value = _unescaped(string)
        if value is None:
            continue
        keys = _keys_of_member(name, value, space, collection)
        if whole := _whole(value, keys):
            yield Candidate(*match.span(1), whole, ("json",), value)
        if len(value) < SHORTEST:
            continue
        if value != string:
            if inner := tuple(_in_text(value)):
                yield Candidate(*match.span(1), (), ("json",), value, inner)
            continue
        for candidate in _in_text(value, match.start(1)):
            if not whole or (candidate.start, candidate.end) != match.span(1) or candidate.inner:
                yield candidate._replace(codings=(*candidate.codings, "json"))


def _unescaped(string: str) -> str | None:
    """A JSON string's value; None where it is not UTF-8 or not JSON."""
    if string.isascii() and "\\" not in string:
        return string
    try:
        value = json.loads(f'"{string.encode("latin-1").decode()}"', strict=False)
    except ValueError:
        return None
    return value if isinstance(value, str) else None
