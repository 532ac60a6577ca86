"""Values of a request that no recorded response created: state from before the recording.

Where the build answers such a request with 404 or 410, nothing is wrong with the build: it was
never given what the recorded service had. That is told as a cause of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import parse_qsl, unquote_to_bytes

from wiretape.exchange.content import ContentError, decode_content, field_value
from wiretape.exchange.v1.exchange_pb2 import Exchange, HttpResponse
from wiretape.replayer.alike import endpoint_of
from wiretape.replayer.verdict import Result, State

_GONE = frozenset(["404", "410"])
_SAFE = frozenset(["GET", "HEAD", "OPTIONS", "TRACE"])
_MAX_DECODED_BYTES = 64 << 20


def name_uncreated(results: Iterable[Result], recorded: Iterable[Exchange]) -> None:
    """Set `uncreated` of the results that are so; `recorded` are their exchanges, in order.

    Reads `recorded` once, and only where an answer says that something is not there.
    """
    wanted = {
        result.position: (result, _values(result)) for result in results if _is_missing(result)
    }
    values = {value for _, found in wanted.values() for value in found}
    if not values:
        return
    pattern = re.compile(
        rb"(?<![0-9A-Za-z])(?:" + b"|".join(map(re.escape, sorted(values))) + rb")(?![0-9A-Za-z])"
    )
    created: set[bytes] = set()
    for position, exchange in enumerate(recorded):
        if position in wanted:
            result, found = wanted.pop(position)
            new = [value for value in found if value not in created]
            result.uncreated = new[0].decode("utf-8", "backslashreplace") if new else ""
        if not wanted:
            return
        created.update(pattern.findall(_text(exchange)))


def _is_missing(result: Result) -> bool:
    return (
        result.state is State.DIFFERS
        and not result.lacking
        and any(d.kind == "status" and d.actual in _GONE for d in result.differences)
    )


def _values(result: Result) -> list[bytes]:
    """What of the target identifies something: generated segments, and such parameters."""
    path, _, query = result.target.partition("?")
    shapes = endpoint_of(result.method, path).partition(" ")[2].split("/")
    parts = [part for part, shape in zip(path.split("/"), shapes, strict=True) if part != shape]
    found = [unquote_to_bytes(part.encode("latin-1")) for part in parts]
    found += [
        value.encode("latin-1")
        for _, value in parse_qsl(query, encoding="latin-1")
        if any(map(str.isdigit, value))
    ]
    return [value for value in found if value]


def _text(exchange: Exchange) -> bytes:
    """Where an exchange may create something: its response; the request where it changes state."""
    http = exchange.http
    pieces = [_of_response(http.response)]
    if http.request.method not in _SAFE and http.response.status < 400:
        pieces += [http.request.target, http.request.content.data]
    return b"\n".join(pieces)


def _of_response(response: HttpResponse) -> bytes:
    data = response.content.data
    codings = field_value(response.fields, b"content-encoding")
    if codings:
        try:
            data = decode_content(data, codings, _MAX_DECODED_BYTES)
        except ContentError:
            data = b""
    return b"\n".join([*(field.value for field in response.fields), data])
