"""One difference between what was recorded and what the build did."""

from __future__ import annotations

from dataclasses import dataclass

from wiretape.replayer.values.place import Place

# Beyond this many characters a value says how long it is instead.
_SHOWN = 1000

# A remedy: the elements are the same, and only their order differs.
UNORDERED = "unordered"


@dataclass(frozen=True, slots=True)
class Difference:
    """One place that differs.

    `kind` is a word for programs: status, interim, field, trailer, json, form, multipart, xml, csv,
    text, event, bytes, content, response (none came), method, path, query, order (of calls).
    `place` names it for people: a status, a field's name, a JSON path (RFC 9535), a line, an
    offset. `expected` and `actual` are shortened text, None where there is nothing at that place.

    `at` is the place as rules name it, None where no rule can be (a status). `line` counts from 1,
    `offset` from 0 in bytes without content coding. `remedy` is the rule that would accept this
    very difference, "" where none is certain to.
    """

    kind: str
    place: str
    expected: str | None
    actual: str | None
    reason: str
    at: Place | None = None
    line: int | None = None
    offset: int | None = None
    remedy: str = ""

    @property
    def part(self) -> str:
        """The part of the message, "" where no rule can name it."""
        return self.at.part if self.at is not None else ""


def writable(text: str) -> str:
    """The text with escapes for what cannot be written as UTF-8 (halves of surrogate pairs)."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def shorten(text: str) -> str:
    """At most 1,000 characters, and none that cannot be written as UTF-8."""
    text = writable(text)
    if len(text) <= _SHOWN:
        return text
    return f"{text[:_SHOWN]}… ({len(text)} characters)"
