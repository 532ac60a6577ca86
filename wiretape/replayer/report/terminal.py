"""Lines with styles, as a terminal of some width shows them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

_STYLES = {"good": "32;1", "bad": "31;1", "strong": "1", "weak": "2"}
_WORDS = re.compile(r" +|[^ ]+")
# Narrower than this, text is better left to the terminal to break.
_MIN_WIDTH = 30

Span = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Line:
    """Spans of (style, text), style "" for none; what does not fit goes on `hang` columns in."""

    spans: tuple[Span, ...]
    hang: int = 0


def line(*spans: str | Span, hang: int = 0) -> Line:
    return Line(tuple(("", span) if isinstance(span, str) else span for span in spans), hang)


def render(one: Line, colour: bool, width: int | None) -> str:
    """As text, with ANSI colours where asked, and no line wider than `width` columns."""
    rows = [list(one.spans)]
    if width is not None and width >= _MIN_WIDTH and _cells_of(one) > width:
        rows = list(_wrapped(one, width))
    return "\n".join("".join(_styled(style, text, colour) for style, text in row) for row in rows)


def _styled(style: str, text: str, colour: bool) -> str:
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if colour and style and text else text


def _wrapped(one: Line, width: int) -> Iterator[list[Span]]:
    hang = min(one.hang, width // 2)
    row: list[Span] = []
    used = 0
    begun = False
    for style, word in _words(one):
        size = cells(word)
        if begun and used + size > width:
            if word.isspace():
                continue
            yield _trimmed(row)
            row, used = [("", " " * hang)], hang
        while used + size > width:
            head, word = _split(word, width - used)
            yield [*row, (style, head)]
            row, used, size = [("", " " * hang)], hang, cells(word)
        begun = begun or not word.isspace()
        row.append((style, word))
        used += size
    yield _trimmed(row)


def _words(one: Line) -> Iterator[Span]:
    for style, text in one.spans:
        for word in _WORDS.findall(text):
            yield style, word


def _trimmed(row: list[Span]) -> list[Span]:
    while len(row) > 1 and row[-1][1].isspace():
        row.pop()
    return row


def _split(word: str, room: int) -> tuple[str, str]:
    """The longest head of at most `room` columns, but one character at least."""
    at, used = 0, 0
    while at < len(word) and used + cells(word[at]) <= room:
        used += cells(word[at])
        at += 1
    at = max(at, 1)
    return word[:at], word[at:]


def _cells_of(one: Line) -> int:
    return sum(cells(text) for _, text in one.spans)


def cells(text: str) -> int:
    """Columns that `text` takes (UAX #11); combining characters take none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
