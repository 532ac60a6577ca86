"""Text compared by line, anything else by byte."""

from __future__ import annotations

from wiretape.replayer.compare.difference import Difference, shorten
from wiretape.replayer.correlate import Judgement

_CONTEXT_BYTES = 16


def compare_text(recorded: str, live: str, judgement: Judgement) -> list[Difference]:
    """One difference for each run of lines that differ."""
    expected, actual = recorded.split("\n"), live.split("\n")
    start, shorter = 0, min(len(expected), len(actual))
    if len(expected) == len(actual):
        return _by_line(expected, actual, judgement)
    while start < shorter and judgement.same_text(expected[start], actual[start]):
        start += 1
    end = 0
    while end < shorter - start and judgement.same_text(expected[-1 - end], actual[-1 - end]):
        end += 1
    lines, others = expected[start : len(expected) - end], actual[start : len(actual) - end]
    return [_hunk(start, lines, others)]


def _by_line(expected: list[str], actual: list[str], judgement: Judgement) -> list[Difference]:
    found: list[Difference] = []
    first: int | None = None
    for place, (line, other) in enumerate(zip(expected, actual, strict=True)):
        if judgement.same_text(line, other):
            if first is not None:
                found.append(_hunk(first, expected[first:place], actual[first:place]))
            first = None
        elif first is None:
            first = place
    if first is not None:
        found.append(_hunk(first, expected[first:], actual[first:]))
    return found


def _hunk(start: int, expected: list[str], actual: list[str]) -> Difference:
    last = start + max(len(expected), 1)
    place = f"line {start + 1}" if last == start + 1 else f"lines {start + 1}-{last}"
    return Difference(
        "text",
        place,
        shorten("\n".join(expected)) if expected else None,
        shorten("\n".join(actual)) if actual else None,
        "the text differs",
    )


def compare_bytes(recorded: bytes, live: bytes) -> list[Difference]:
    """At most one difference: the first byte that is not the same."""
    if recorded == live:
        return []
    shorter = min(len(recorded), len(live))
    at = next((place for place in range(shorter) if recorded[place] != live[place]), shorter)
    return [
        Difference(
            "bytes",
            f"offset {at}",
            _show_bytes(recorded, at),
            _show_bytes(live, at),
            f"{len(recorded)} bytes were recorded, {len(live)} came",
        )
    ]


def _show_bytes(data: bytes, at: int) -> str | None:
    part = data[at : at + _CONTEXT_BYTES]
    if not part:
        return None
    return part.hex(" ") + (" …" if at + len(part) < len(data) else "")
