"""What identifies something in a message: numbers behind collections, members that are named so."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from wiretape.exchange.content import ContentError, decode_content, field_value
from wiretape.exchange.v1.exchange_pb2 import HttpRequest, HttpResponse
from wiretape.replayer.values.names import is_identifier, singular, words_of
from wiretape.replayer.values.tokens import tokens_in

MAX_DECODED_BYTES = 64 << 20
# Contents up to this length are known again.
_KEPT_BYTES = 64 << 10

# A number in a path or a Location, with what may stand before it.
_SEGMENT = re.compile(r"/([A-Za-z][\w.~-]*)/(?:[A-Za-z]{1,8}[-_]?)?([0-9]{1,20})(?=[/?#]|$)")


def plain(message: HttpRequest | HttpResponse) -> bytes:
    """The content without its codings, if they can be undone."""
    data = message.content.data
    codings = field_value(message.fields, b"content-encoding") if data else b""
    if not codings:
        return data
    try:
        return decode_content(data, codings, MAX_DECODED_BYTES)
    except ContentError:
        return data


def numbers_in_path(path: str) -> Iterator[tuple[str, int]]:
    """Each number behind a collection, as in /orders/17."""
    for match in _SEGMENT.finditer(path):
        if words := words_of(match[1]):
            yield singular(words[-1]), int(match[2])


def read_content(content: bytes) -> tuple[frozenset[str], tuple[tuple[str, Any], ...]]:
    """Its random tokens; JSON path and value of every member whose name identifies something."""
    return _known(content) if len(content) <= _KEPT_BYTES else _read(content)


def _read(content: bytes) -> tuple[frozenset[str], tuple[tuple[str, Any], ...]]:
    is_json = content[:1] in (b"{", b"[")
    return frozenset(tokens_in(content)), tuple(_identifiers(content)) if is_json else ()


# The same contents come often.
_known = lru_cache(256)(_read)


def _identifiers(content: bytes) -> Iterator[tuple[str, Any]]:
    """JSON path and value of every member whose name identifies something."""
    try:
        yield from _walk("$", "", json.loads(content))
    except (ValueError, RecursionError):
        return


def _walk(path: str, member: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if isinstance(inner, dict | list):
                yield from _walk(f"{path}.{name}", name, inner)
            elif type(inner) in (int, str) and is_identifier(name):
                yield f"{path}.{name}", inner
    elif isinstance(value, list):
        for inner in value:
            if isinstance(inner, dict | list):
                yield from _walk(f"{path}[*]", member, inner)
            elif type(inner) in (int, str) and is_identifier(member):
                yield f"{path}[*]", inner
