"""Text compared by line, anything else by byte."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher

from wiretape.replayer.compare.difference import UNORDERED, Difference
from wiretape.replayer.compare.order import pair
from wiretape.replayer.compare.view import View

_CONTEXT_BYTES = 16
# Beyond this many pairs of lines, what lies between the first and the last difference is one hunk.
_MAX_ALIGNED = 1_000_000
# Lines are tried in another order up to this many.
_MAX_REORDERED = 300
_CHANGING = re.compile(r"[\w.+/=-]*\d[\w.+/=-]*")


def compare_text(recorded: str, live: str, view: View, part: str = "text") -> list[Difference]:
    """One difference for each run of lines that differ; `part` is what rules call this content."""
    expected, actual = recorded.split("\n"), live.split("\n")
    unordered = view.unordered(part, "*")
    found = [] if unordered else list(_hunks(expected, actual, view, part))
    if unordered or (found and 1 < len(expected) == len(actual) <= _MAX_REORDERED):
        trial = view.fork()
        if _same_lines(expected, actual, trial, part):
            trial.keep()
            found = [] if unordered else [_reordered(recorded, live, view, part)]
        elif unordered:
            found = list(_hunks(expected, actual, view, part))
    return found


def _reordered(recorded: str, live: str, view: View, part: str) -> Difference:
    reason = "the same lines in another order"
    return view.difference(part, "*", "lines", recorded, live, reason, remedy=UNORDERED)


def _hunks(expected: list[str], actual: list[str], view: View, part: str) -> Iterator[Difference]:
    start, shorter = 0, min(len(expected), len(actual))
    while start < shorter and _same(start, expected[start], actual[start], view, part):
        start += 1
    end = 0
    while end < shorter - start and _same(
        len(expected) - 1 - end, expected[-1 - end], actual[-1 - end], view, part
    ):
        end += 1
    lines, others = expected[start : len(expected) - end], actual[start : len(actual) - end]
    if len(lines) * len(others) > _MAX_ALIGNED:
        yield from _hunk(start, lines, others, view, part)
        return
    # What may be generated says nothing about which line became which.
    blotted, others_blotted = ([_CHANGING.sub("*", x) for x in side] for side in (lines, others))
    matcher = SequenceMatcher(None, blotted, others_blotted, autojunk=False)
    for tag, i, i_end, j, j_end in matcher.get_opcodes():
        if tag == "equal" or i_end - i == j_end - j:
            yield from _by_line(start + i, lines[i:i_end], others[j:j_end], view, part)
        else:
            yield from _hunk(start + i, lines[i:i_end], others[j:j_end], view, part)


def _same(place: int, recorded: str, live: str, view: View, part: str) -> bool:
    return recorded == live or view.same_text(recorded, live, part, f"line {place + 1}")


def _same_lines(recorded: list[str], live: list[str], view: View, part: str) -> bool:
    _, left, free = pair(
        len(recorded), len(live), lambda i, j: _same(i, recorded[i], live[j], view, part)
    )
    return not left and not free


def _by_line(
    start: int, expected: list[str], actual: list[str], view: View, part: str
) -> Iterator[Difference]:
    """Line against line; both sides have the same number of them."""
    first: int | None = None
    why = ""
    for place, (line, other) in enumerate(zip(expected, actual, strict=True)):
        if _same(start + place, line, other, view, part):
            if first is not None:
                yield from _hunk(
                    start + first, expected[first:place], actual[first:place], view, part, why
                )
            first = None
        elif first is None:
            first, why = place, view.why
    if first is not None:
        yield from _hunk(start + first, expected[first:], actual[first:], view, part, why)


def _hunk(
    start: int, expected: list[str], actual: list[str], view: View, part: str, why: str = ""
) -> Iterator[Difference]:
    last = start + max(len(expected), 1)
    place = f"line {start + 1}" if last == start + 1 else f"lines {start + 1}-{last}"
    if all(view.ignores(part, f"line {line + 1}") for line in range(start, last)):
        return
    yield view.difference(
        part,
        f"line {start + 1}",
        place,
        "\n".join(expected) if expected else None,
        "\n".join(actual) if actual else None,
        f"the text differs: {why}" if why else "the text differs",
        kind="text",
        line=start + 1,
    )


def compare_bytes(recorded: bytes, live: bytes, view: View) -> list[Difference]:
    """At most one difference: the first byte that is not the same."""
    if recorded == live or view.ignores("content", "content"):
        return []
    shorter = min(len(recorded), len(live))
    at = shorter
    if recorded[:shorter] != live[:shorter]:
        at = _first_difference(recorded, live, shorter)
    return [
        view.difference(
            "content",
            "content",
            f"offset {at}",
            _show_bytes(recorded, at),
            _show_bytes(live, at),
            f"{len(recorded)} bytes were recorded, {len(live)} came",
            kind="bytes",
            offset=at,
        )
    ]


def _first_difference(recorded: bytes, live: bytes, end: int) -> int:
    """The first offset below `end` at which the bytes differ, which there is."""
    start = 0
    while end - start > 1:
        middle = (start + end) // 2
        if recorded[start:middle] == live[start:middle]:
            start = middle
        else:
            end = middle
    return start


def _show_bytes(data: bytes, at: int) -> str | None:
    part = data[at : at + _CONTEXT_BYTES]
    if not part:
        return None
    return part.hex(" ") + (" …" if at + len(part) < len(data) else "")
