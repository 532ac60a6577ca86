"""Trace fields: by which a request says what larger work it is part of.

A service that is traced hands them on with the calls that it makes for a request.
"""

import re
from typing import NamedTuple

from wiretape.exchange.encode import request_fields

_MAX_VALUE = 256
_HEX = rb"(?!0+\b)([0-9a-f]{16}|[0-9a-f]{32})"


class Mark(NamedTuple):
    """What two requests of one work have in common."""

    kind: str
    value: bytes


class _Form(NamedTuple):
    kind: str
    """Fields of one kind tell the same thing."""
    pattern: re.Pattern[bytes]
    """Matches a whole value; its group is what all requests of one work have in common."""
    names_trace: bool = True
    """A request has one trace. Other identifiers may be made anew for each call."""


def _form(kind: str, pattern: bytes) -> _Form:
    return _Form(kind, re.compile(pattern, re.IGNORECASE))


_VALUE = re.compile(rb"(\S.*)", re.DOTALL)
_FORMS = {
    # W3C Trace Context §3.2.2; later versions may say more behind.
    b"traceparent": _form(
        "traceparent",
        rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?",
    ),
    # openzipkin/b3-propagation, "Single Header" and "Multiple Headers".
    b"b3": _form("b3", _HEX + rb"-[0-9a-f]{16}(?:-.*)?"),
    b"x-b3-traceid": _form("b3", _HEX),
    b"x-amzn-trace-id": _form("x-amzn-trace-id", rb"(?:[^;]*;\s*)*?Root=([^;\s]+)\s*(?:;.*)?"),
    b"uber-trace-id": _form("uber-trace-id", rb"0*([1-9a-f][0-9a-f]{0,31})(?::|%3a).*"),
    b"x-cloud-trace-context": _form("x-cloud-trace-context", rb"([0-9a-f]{32})(?:[/;].*)?"),
    b"x-request-id": _Form("x-request-id", _VALUE, False),
    b"x-correlation-id": _Form("x-correlation-id", _VALUE, False),
    b"request-id": _Form("request-id", _VALUE, False),
}
TRACES = frozenset(form.kind for form in _FORMS.values() if form.names_trace)
_PLACES = {name: place for place, name in enumerate(_FORMS)}
_ANY = re.compile(
    rb"\x0a(?i:%b)\x12"
    % b"|".join(re.escape(bytes((len(name),))) + re.escape(name) for name in _FORMS)
)
"""Stands in each encoded request that has one of the fields, and hardly in another."""


def trace_marks(request: bytes) -> dict[Mark, str]:
    """The marks of an encoded HttpRequest, or of its beginning with all fields; each with the name
    of the field that bears it. The fields that tell most come first."""
    if not _ANY.search(request):
        return {}
    found = []
    for raw_name, value in request_fields(request):
        name = raw_name.lower()
        form = _FORMS.get(name)
        if form is None or len(value) > _MAX_VALUE:
            continue
        matched = form.pattern.fullmatch(value.strip(b" \t"))
        if matched:
            shared = matched[1].lower() if form.names_trace else matched[1]
            found.append((_PLACES[name], Mark(form.kind, shared), name.decode("ascii")))
    marks: dict[Mark, str] = {}
    for _, mark, name_text in sorted(found):
        marks.setdefault(mark, name_text)
    return marks
