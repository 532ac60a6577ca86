"""A live response that is nearly the recorded one, judged without being read.

Most answers of a build that is right differ from the recorded ones in a date and some generated
values, and stand on the wire as those did. Heads are cut into lines and JSON at its quotes, and
only what differs is judged, at the place that it has in the recorded one. Whatever this cannot tell
for certain is read, and compared as any other response: both ways accept the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from itertools import compress
from operator import ne
from typing import Any, NamedTuple

from wiretape.replayer.compare.content import is_json
from wiretape.replayer.compare.field_values import parse_media_type
from wiretape.replayer.compare.fields import HOP_BY_HOP, compare_values
from wiretape.replayer.compare.json_value import parse_json
from wiretape.replayer.compare.view import View
from wiretape.replayer.rules import spell_member

_LENGTH, _KEEP_ALIVE = b"content-length", b"keep-alive"
# What decides how the content or another field is read has to be as recorded.
_READING = (frozenset(name.encode() for name in HOP_BY_HOP) - {_LENGTH, _KEEP_ALIVE}) | {
    b"content-encoding",
    b"content-type",
}
# In lower case: a line that goes on, and options that name fields of the hop.
_UNPLAIN = re.compile(rb"\r\n(?:[ \t]|connection:(?![ \t]*(?:keep-alive|close)[ \t]*\r))")
_LENGTHS = re.compile(rb"\r\ncontent-length:[ \t]*([^\r]*?)[ \t]*(?=\r|$)")
_TYPES = re.compile(rb"\r\ncontent-type:[ \t]*([^\r]*)")
_NOT_IN_STRINGS = re.compile(r"[\x00-\x1f]")
_NUMBERS = re.compile(rb"(-?[0-9][0-9.eE+-]*)")
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]{0,299})(\.[0-9]{1,299})?")
# Longer ones are read.
_MAX_CONTENT_BYTES = 64 << 10
# Stands for a value that differs, with its number; a content that has it itself is read.
_HOLE = "\ue000"

_Holes = tuple["bytes | tuple[bytes, ...] | None", ...]
"""A JSON text between its quotes: None for a string that differs; for what stands outside of
strings, where numbers differ in it, all but the numbers."""


class _Field(NamedTuple):
    name: bytes
    recorded: bytes
    live: bytes


class _Pair(NamedTuple):
    recorded: bytes
    live: bytes
    is_number: bool


class Awaited:
    """The recorded response as bytes, which a live one is held against."""

    __slots__ = ("content", "head", "lines", "wire")

    def __init__(self, wire: bytes) -> None:
        self.wire = wire
        head, mark, self.content = wire.partition(b"\r\n\r\n")
        self.lines = head.split(b"\r\n") if mark else []
        self.head = head.lower()

    def near(self, data: bytes) -> Near | None:
        """`data`, if it is one whole response that has the lines of this one, but for values that
        say nothing of how it is to be read, and perhaps another content."""
        head, mark, content = data.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        if not mark or len(lines) != len(self.lines) or lines[0] != self.lines[0]:
            return None
        length = None
        fields: list[_Field] = []
        for recorded, live in compress(
            zip(self.lines, lines, strict=True), map(ne, self.lines, lines)
        ):
            name, colon, value = live.partition(b":")
            if not colon or not recorded.startswith(name + colon):
                return None
            if b"\r" in value or b"\n" in value or b"\0" in value:
                return None
            name, value = name.lower(), value.strip(b" \t")
            if name in _READING or name[:1] in b" \t":
                return None
            if name == _LENGTH:
                length = value
            elif name != _KEEP_ALIVE:
                fields.append(_Field(name, recorded.partition(b":")[2].strip(b" \t"), value))
        if content == self.content:
            return Near(self, data, fields, None) if length is None else None
        own = b"%d" % len(self.content)
        if not self._is_of_length(own) or (length or own) != b"%d" % len(content):
            return None  # framed otherwise, or without content
        return Near(self, data, fields, content)

    def _is_of_length(self, length: bytes) -> bool:
        """Whether it is framed by this length, and by nothing else."""
        if self.head.count(b"\r\ncontent-length:") != 1:
            return False
        usual = b"\r\ncontent-length: " + length
        if usual + b"\r" in self.head or self.head.endswith(usual):
            return True
        return _LENGTHS.findall(self.head) == [length]

    def is_begun(self, data: bytes) -> bool:
        """Whether `data` is the begin of a response that may yet be near, and is worth waiting for:
        a head of this status, and less content than it says."""
        head, mark, content = data.partition(b"\r\n\r\n")
        if not (mark and self.content and head.startswith(self.lines[0] + b"\r\n")):
            return False
        lengths = _LENGTHS.findall(head.lower())
        if len(lengths) != 1 or not lengths[0].isdigit() or len(lengths[0]) > 9:
            return False
        return len(content) < int(lengths[0]) <= _MAX_CONTENT_BYTES


class Near:
    """A live response that is near the awaited one: `raw` as it came, which was not read."""

    __slots__ = ("_awaited", "_content", "_fields", "raw")

    def __init__(
        self, awaited: Awaited, raw: bytes, fields: list[_Field], content: bytes | None
    ) -> None:
        """`fields` are those that differ, `content` the live one if that does."""
        self.raw = raw
        self._awaited = awaited
        self._fields = fields
        self._content = content

    @property
    def recorded(self) -> bytes:
        """The response that it is near to, as it was on the wire."""
        return self._awaited.wire

    def is_accepted(self, view: View) -> bool:
        """Whether all that differs is generated; False where it has to be read to be judged, and
        then what was accepted so far is to be forgotten."""
        # Before every field stands a line break, before the status line none.
        head = self._awaited.head + b"\r\n"
        if view.rules or _UNPLAIN.search(head):
            return False
        for name, recorded, live in self._fields:
            if head.count(b"\r\n" + name + b":") > 1:
                return False  # several lines make one value
            spelled = name.decode("latin-1")
            values = [recorded.decode("latin-1")], [live.decode("latin-1")]
            if compare_values(spelled, *values, view, "field"):
                return False
        if self._content is None:
            return True
        kinds = _TYPES.findall(head)
        kind, _ = parse_media_type(b", ".join(kinds).decode("latin-1"))
        if b"\r\ncontent-encoding:" in head or (kind and not is_json(kind)):
            return False
        return _is_json_accepted(self._awaited.content, self._content, view)


def _is_json_accepted(recorded: bytes, live: bytes, view: View) -> bool:
    if len(recorded) > _MAX_CONTENT_BYTES or b"\\" in recorded or b"\\" in live:
        return False
    pieces, others = recorded.split(b'"'), live.split(b'"')
    if len(pieces) != len(others):
        return False
    pairs: list[_Pair] = []
    holes: list[bytes | tuple[bytes, ...] | None] = [*pieces]
    for place in compress(range(len(pieces)), map(ne, pieces, others)):
        if place % 2:
            holes[place] = None
            pairs.append(_Pair(pieces[place], others[place], False))
            continue
        numbers, live_numbers = _NUMBERS.split(pieces[place]), _NUMBERS.split(others[place])
        if numbers[::2] != live_numbers[::2]:
            return False
        holes[place] = tuple(numbers[::2])
        pairs += (
            _Pair(*pair, True) for pair in zip(numbers[1::2], live_numbers[1::2], strict=True)
        )
    names = _names(tuple(holes), len(pairs))
    return names is not None and all(_is_same(pairs[hole], name, view) for hole, name in names)


def _is_same(pair: _Pair, name: str, view: View) -> bool:
    if pair.is_number:
        number, other = _number(pair.recorded), _number(pair.live)
        if number is None or other is None or type(number) is not type(other):
            return False
        return number == other or view.same_number(number, other, "json", name)
    try:
        text, live = pair.recorded.decode(), pair.live.decode()
    except UnicodeDecodeError:
        return False
    if not (text + live).isprintable() and _NOT_IN_STRINGS.search(text + live):
        return False
    return view.same_text(text, live, "json", name)


def _number(raw: bytes) -> int | Decimal | None:
    """None for one that is spelled as few write it: that is for who reads JSON."""
    match = _NUMBER.fullmatch(raw)
    if match is None:
        return None
    return Decimal(raw.decode()) if match[1] else int(raw)


@lru_cache(256)
def _names(holes: _Holes, count: int) -> tuple[tuple[int, str], ...] | None:
    """Number and JSON path of each hole, as JSON is compared; None where it is no whole value, or
    the text is no JSON. Most answers of an endpoint differ in the same places."""
    text: list[str] = []
    number = 0
    try:
        for hole in holes:
            if isinstance(hole, bytes):
                text.append(hole.decode())
                continue
            if hole is None:
                text.append(f"{_HOLE}{number}")
                number += 1
                continue
            spelled = hole[0].decode()
            for fixed in hole[1:]:
                spelled += f'"{_HOLE}{number}"{fixed.decode()}'
                number += 1
            text.append(spelled)
        whole = '"'.join(text)
        if whole.count(_HOLE) != count:
            return None
        found = tuple(_visit(parse_json(whole.encode()), "$"))
    except (ValueError, RecursionError):
        return None
    return found if len(found) == count else None


def _visit(value: Any, name: str) -> Iterator[tuple[int, str]]:
    """The holes in the order in which `json_tree` compares: arrays after their object's others."""
    if isinstance(value, str):
        if value.startswith(_HOLE):
            yield int(value[1:]), name
    elif isinstance(value, dict):
        for is_array in (False, True):
            for member, inner in value.items():
                if isinstance(inner, list) == is_array:
                    yield from _visit(inner, name + spell_member(member))
    elif isinstance(value, list):
        for inner in value:
            yield from _visit(inner, f"{name}[*]")
