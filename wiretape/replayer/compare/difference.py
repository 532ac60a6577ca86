"""One difference between what was recorded and what the build did."""

from __future__ import annotations

from dataclasses import dataclass

# Beyond this many characters a value says how long it is instead.
_SHOWN = 1000


@dataclass(frozen=True, slots=True)
class Difference:
    """One place that differs.

    `kind` is a word for programs: status, interim, field, trailer, json, text, bytes, content,
    response (none came), path, query. `place` names it for people: a status, a field's name, a
    JSON path (RFC 9535), a line, an offset. `expected` and `actual` are shortened text, None where
    there is nothing at that place.
    """

    kind: str
    place: str
    expected: str | None
    actual: str | None
    reason: str


def shorten(text: str) -> str:
    if len(text) <= _SHOWN:
        return text
    return f"{text[:_SHOWN]}… ({len(text)} characters)"
