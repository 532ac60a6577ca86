"""What identifies something in a message: numbers behind collections, members that are named so."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

from wiretape.exchange.content import ContentError, decode_content
from wiretape.replayer.values.names import is_identifier, singular, words_of
from wiretape.replayer.values.tokens import tokens_in

MAX_DECODED_BYTES = 64 << 20
# Contents up to this length are known again.
_KEPT_BYTES = 64 << 10

# A number in a path or a Location, with what may stand before it.
_SEGMENT = re.compile(r"/([A-Za-z][\w.~-]*)/(?:[A-Za-z]{1,8}[-_]?)?([0-9]{1,20})(?=[/?#]|$)")


def plain(data: bytes, codings: bytes) -> bytes:
    """A content without its codings, if they can be undone."""
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


def _identifiers(content: bytes) -> Sequence[tuple[str, Any]]:
    """JSON path and value of every member whose name identifies something."""
    found: list[tuple[str, Any]] = []
    # What was found until then counts where it is nested too deeply.
    with suppress(ValueError, RecursionError):
        _walk("$", "", json.loads(content), found)
    return found


def _walk(path: str, member: str, value: Any, found: list[tuple[str, Any]]) -> None:
    """`value` is an object or array, `member` the name of what it stands in."""
    if type(value) is dict:
        for name, below, is_named in _members(path, tuple(value)):
            inner = value[name]
            kind = type(inner)
            if kind is dict or kind is list:
                _walk(below, name, inner, found)
            elif is_named and (kind is str or kind is int):
                found.append((below, inner))
    elif type(value) is list:
        below, is_named = f"{path}[*]", is_identifier(member)
        for inner in value:
            kind = type(inner)
            if kind is dict or kind is list:
                _walk(below, member, inner, found)
            elif is_named and (kind is str or kind is int):
                found.append((below, inner))


@lru_cache(1024)
def _members(path: str, names: tuple[str, ...]) -> tuple[tuple[str, str, bool], ...]:
    """Name, path, and whether the name identifies something: objects with these members come
    often."""
    return tuple((name, f"{path}.{name}", is_identifier(name)) for name in names)
