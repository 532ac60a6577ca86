"""Trace fields: by which a request says what larger work it is part of.

A service that is traced hands them on with the calls that it makes for a request.
"""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

_MAX_VALUE = 256
_HEX = rb"(?!0+\b)([0-9a-f]{16}|[0-9a-f]{32})"


Mark = tuple[str, bytes]
"""What requests of one work have in common: the kind of it, and its value."""


class _Form(NamedTuple):
    name: str
    kind: str
    """Fields of one kind tell the same thing."""
    match: Callable[[bytes], re.Match[bytes] | None]
    """Matches a whole value; its group is what all requests of one work have in common."""
    of_trace: bool
    """A request has one trace. Other identifiers may be made anew for each call."""


def _trace(name: str, pattern: bytes, kind: str = "") -> _Form:
    return _Form(name, kind or name, re.compile(pattern, re.IGNORECASE).fullmatch, True)


def _identifier(name: str) -> _Form:
    return _Form(name, name, re.compile(rb"(\S.*)", re.DOTALL).fullmatch, False)


_KNOWN = (
    # W3C Trace Context §3.2.2; later versions may say more behind.
    _trace(
        "traceparent",
        rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?",
    ),
    # openzipkin/b3-propagation, "Single Header" and "Multiple Headers".
    _trace("b3", _HEX + rb"-[0-9a-f]{16}(?:-.*)?"),
    _trace("x-b3-traceid", _HEX, "b3"),
    _trace("x-amzn-trace-id", rb"(?:[^;]*;)*?\s*Root=([^;\s]+)\s*(?:;.*)?"),
    _trace("uber-trace-id", rb"0*([1-9a-f][0-9a-f]{0,31})(?::|%3a).*"),
    _trace("x-cloud-trace-context", rb"([0-9a-f]{32})(?:[/;].*)?"),
    _identifier("x-request-id"),
    _identifier("x-correlation-id"),
    _identifier("request-id"),
)
_FORMS = {form.name.encode(): form for form in _KNOWN}
_PLACES = {name: place for place, name in enumerate(_FORMS)}
TRACE_FIELDS = tuple(_FORMS)
"""Their names in lower case, those that tell most first."""
TRACES = frozenset(form.kind for form in _KNOWN if form.of_trace)
"""The kinds of which a request has one at most."""


def marks_of(fields: Iterable[tuple[bytes, bytes]]) -> dict[Mark, str]:
    """The marks that trace fields (name in lower case, value) bear, each with the name of its
    field; those that tell most come first."""
    marks: dict[Mark, str] = {}
    for name, value in sorted(fields, key=_place):
        form = _FORMS[name]
        matched = form.match(value.strip(b" \t")) if len(value) <= _MAX_VALUE else None
        if matched:
            marks.setdefault(
                (form.kind, matched[1].lower() if form.of_trace else matched[1]), form.name
            )
    return marks


def _place(field: tuple[bytes, bytes]) -> int:
    return _PLACES[field[0]]
