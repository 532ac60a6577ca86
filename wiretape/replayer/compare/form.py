"""Forms: application/x-www-form-urlencoded by name, multipart/form-data by part.

The order of different names has no meaning; among equal names it has. A boundary is chosen anew for
each content and has none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from urllib.parse import parse_qsl

from wiretape.replayer.compare.difference import Difference
from wiretape.replayer.compare.field_values import parameters
from wiretape.replayer.compare.fields import Groups, compare_groups
from wiretape.replayer.compare.view import View

_MAX_PARTS = 10_000

# Compares two contents of a Content-Type, given in the order: type, recorded, live, view.
CompareData = Callable[[str, bytes, bytes, View], list[Difference]]


def read_form(data: bytes) -> list[tuple[str, str]]:
    """Names and values, decoded; bytes that are no UTF-8 are kept apart from all others."""
    text = data.decode("utf-8", "surrogateescape")
    return parse_qsl(text, keep_blank_values=True, errors="surrogateescape")


def canonical_form(data: bytes) -> bytes:
    """The same bytes for forms that mean the same."""
    pairs = sorted(read_form(data), key=lambda pair: pair[0])
    return repr(pairs).encode("utf-8", "surrogateescape")


def compare_forms(recorded: bytes, live: bytes, view: View) -> list[Difference]:
    """Differences by name, in the recorded order."""
    found: list[Difference] = []
    expected, actual = _by_name(read_form(recorded)), _by_name(read_form(live))
    for name, values in expected.items():
        others = actual.pop(name, [])
        for value, other in zip(values, others, strict=False):
            if not view.same_text(value, other, "form", name):
                reason = f"another value: {view.why}" if view.why else "another value"
                found.append(view.difference("form", name, name, value, other, reason))
        if view.ignores("form", name):
            continue
        found += (
            view.difference("form", name, name, value, None, "the name is missing")
            for value in values[len(others) :]
        )
        found += _added(name, others[len(values) :], view)
    for name, others in actual.items():
        if not view.ignores("form", name):
            found += _added(name, others, view)
    return found


def _added(name: str, values: list[str], view: View) -> Iterator[Difference]:
    for value in values:
        yield view.difference("form", name, name, None, value, "the name was not recorded")


def _by_name(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    named: dict[str, list[str]] = {}
    for name, value in pairs:
        named.setdefault(name, []).append(value)
    return named


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart content (RFC 2046 §5.1); `name` is "" where it has none."""

    name: str
    fields: Groups
    data: bytes


def read_multipart(data: bytes, boundary: str) -> list[Part] | None:
    """The parts in their order, or None where the content is not what its boundary says."""
    if not boundary:
        return None
    mark = re.escape(boundary.encode("utf-8", "surrogateescape"))
    delimiter = re.compile(rb"(?:\A|\r?\n)--" + mark + rb"(--)?[ \t]*(?=\r?\n|\Z)")
    found = list(delimiter.finditer(data))
    if not 2 <= len(found) <= _MAX_PARTS or not found[-1][1] or any(m[1] for m in found[:-1]):
        return None
    return [_read_part(data[this.end() : following.start()]) for this, following in pairwise(found)]


def _read_part(data: bytes) -> Part:
    # What ends the delimiter's line comes first; a part may have no header section at all.
    data = data[2:] if data.startswith(b"\r\n") else data[1:]
    blank = re.search(rb"\A\r?\n|\r?\n\r?\n", data)
    head, content = (data[: blank.start()], data[blank.end() :]) if blank else (data, b"")
    fields: Groups = {}
    for line in re.split(r"\r?\n(?![ \t])", head.decode("utf-8", "surrogateescape")):
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip(" \t").lower(), []).append(value.strip(" \t"))
    disposition = parameters(fields.get("content-disposition", [""])[0])[1]
    return Part(dict(disposition).get("name") or "", fields, content)


def compare_multipart(
    recorded: list[Part], live: list[Part], view: View, compare: CompareData
) -> list[Difference]:
    """Differences by part, parts of one name in their order."""
    found: list[Difference] = []
    expected, actual = _parts_by_name(recorded), _parts_by_name(live)
    for name, parts in expected.items():
        others = actual.pop(name, [])
        for number, (part, other) in enumerate(zip(parts, others, strict=False), 1):
            shown = name or f"part {number}"
            found += _compare_parts(shown, part, other, view, compare)
        for part in parts[len(others) :]:
            found += _lone(view, name, part, None, "the part is missing")
        for other in others[len(parts) :]:
            found += _lone(view, name, None, other, "the part was not recorded")
    for name, others in actual.items():
        for other in others:
            found += _lone(view, name, None, other, "the part was not recorded")
    return found


def _parts_by_name(parts: list[Part]) -> dict[str, list[Part]]:
    named: dict[str, list[Part]] = {}
    for part in parts:
        named.setdefault(part.name, []).append(part)
    return named


def _compare_parts(
    name: str, recorded: Part, live: Part, view: View, compare: CompareData
) -> list[Difference]:
    inside = view.inside("multipart", name)
    found = compare_groups(dict(recorded.fields), dict(live.fields), inside)
    if recorded.data != live.data:
        # A part without a type is text (RFC 7578 §4.4).
        kind = recorded.fields.get("content-type", ["text/plain"])[0]
        found += compare(kind, recorded.data, live.data, inside)
    return found


def _lone(
    view: View, name: str, recorded: Part | None, live: Part | None, reason: str
) -> list[Difference]:
    if view.ignores("multipart", name):
        return []
    expected, actual = (
        None if part is None else f"{len(part.data)} bytes" for part in (recorded, live)
    )
    return [view.difference("multipart", name, name or "part", expected, actual, reason)]
