"""Names under which a value is looked up.

A distinctive value is its own name. A short one (17, A7F3, "page 2") is carried only where names
at both ends say that it is the same thing: an id below the path of its collection (`/orders/17`),
a member `order_id` or an `id` among orders, a cookie by its name, an entity tag of the same path, a
cursor for the same path, a parameter beside the signature of a link, an input of a form. What
neither is distinctive nor has such a name, like a quantity or a currency, has no key and is never
carried.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from wiretape.replayer.carried.tokens import is_whole, spans

# Between the parts of a key; no such character can stand in a header section or a path.
_MARK = "\0"
_STORED = tuple(kind + _MARK for kind in ("cookie", "etag", "modified"))

_SHORT_ID = re.compile(r"(?=\D*\d)(?!v\d+(?:\.\d+)*\Z)[A-Za-z0-9][A-Za-z0-9_.:~-]{0,63}")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_ID_WORDS = _set("id uuid guid key no nr number code ref reference slug handle sku token")
# Members that hold what the endpoint is about, and say nothing of what that is.
_ENVELOPES = _set(
    "data items results result content rows list hits edges node nodes records values embedded"
    " attributes payload response body value entries objects resource resources"
)
_CURSORS_SENT = _set(
    "cursor next after before offset page continuation marker since start from position token"
    " starting ending"
)
_CURSORS_GIVEN = _set("cursor next after continuation marker offset")
_NO_CURSORS = _set("total count per size limit access refresh previous prev")


@lru_cache(1 << 12)
def _words(name: str) -> tuple[str, ...]:
    return tuple(w for w in re.split(r"[^a-z0-9]+", _CAMEL.sub("_", name).lower()) if w)


@lru_cache(1 << 12)
def singular(name: str) -> str:
    """The last word of a name, without the ending of a plural."""
    words = _words(name)
    last = words[-1] if words else ""
    if last.endswith("ies") and len(last) > 4:
        return last[:-3] + "y"
    if last.endswith(("ses", "xes", "zes", "ches", "shes")) and len(last) > 4:
        return last[:-2]
    return last[:-1] if last.endswith("s") and not last.endswith("ss") else last


@lru_cache(1 << 12)
def stem_of(name: str) -> str | None:
    """What a name says it is the id of: "order" for order_id, "" for id; None for no id."""
    words = _words(name)
    if not words or words[-1] not in _ID_WORDS:
        return None
    return singular("_".join(words[:-1]))


def is_id(value: str) -> bool:
    """Whether a value may be an id where its place says so; v1 and v2 are versions."""
    return _SHORT_ID.fullmatch(value) is not None or is_whole(value)


def is_short_id(value: str) -> bool:
    """Whether only its place can say that a value is an id."""
    return _SHORT_ID.fullmatch(value) is not None and not is_whole(value)


@lru_cache(1 << 12)
def collection_of(path: str) -> tuple[str, str]:
    """Of `/orders/17/items`: what an id in the answer is the id of, and the path it would follow.

    The path is "" where the last segment is an id itself.
    """
    segments = path.rstrip("/").split("/")
    named = [s for s in segments if s and not is_id(s)]
    whole = bool(named) and segments[-1] == named[-1]
    return singular(named[-1]) if named else "", "/".join(segments) if whole else ""


def is_envelope(name: str) -> bool:
    words = _words(name)
    return not words or words[-1] in _ENVELOPES


@lru_cache(1 << 12)
def is_cursor_sent(name: str) -> bool:
    """Whether a query parameter of this name asks for a further page."""
    words = set(_words(name))
    return not words.isdisjoint(_CURSORS_SENT) and words.isdisjoint(_NO_CURSORS)


@lru_cache(1 << 12)
def is_cursor_given(name: str) -> bool:
    """Whether a member of this name tells how to ask for a further page."""
    words = set(_words(name))
    return not words.isdisjoint(_CURSORS_GIVEN) and words.isdisjoint(_NO_CURSORS)


def told_apart_by(values: Iterable[str]) -> str:
    """The value among a link's parameters that no other link has, such as a signature; or ""."""
    return max((v for v in values if is_whole(v) and spans(v)), key=len, default="")


def key(kind: str, scope: str, name: str, value: str) -> str:
    """The name of a short value: of one kind, within a scope (a path, a session, an upstream)."""
    return _MARK.join((kind, scope, name, value))


def is_short(key: str) -> bool:
    """Whether `key` names a short value; a distinctive one is its own key."""
    return _MARK in key


def value_of(key: str) -> str:
    """A distinctive value is its own key."""
    return key.rpartition(_MARK)[2] if _MARK in key else key


def is_stored(key: str) -> bool:
    """Whether `key` names what a client keeps until a response replaces it: the last one counts,
    even where the client brought the value along."""
    return key.startswith(_STORED)
