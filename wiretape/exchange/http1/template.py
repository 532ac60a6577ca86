"""Whole heads, each read by one match: what stays the same in them, and what changes.

Messages of one peer have the same start line and field lines again and again but for a few values:
a target, a date, a length, an identifier. A template is learned from several heads of one shape.
From then on a head of that shape is matched in one call, and only the values that change are
encoded anew. What is not exactly of a known shape is left to the tolerant readers.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from wiretape.exchange.encode import text, varint

MAX_SHAPES = 512
MAX_LAYOUT_BYTES = 64 * 1024
"""Of the layouts of one shape."""
MAX_COMPILATIONS = 16
"""A shape that still widens after so many is not worth more."""
MAX_HEAD = 4096
MAX_LINES = 64
SIGHTINGS = 4
"""Heads of one shape after which it is worth an expression: compiling one costs as much as reading
some twenty heads line by line, and each head shows better what changes."""
MAX_ALIKE = 8

_VALUE = rb"(?![\t ])([^\r\n]++)(?<![\t ])"
"""A field value without white space around it."""
_TARGET = rb"(/\S*+)"
_LENGTH = rb"([0-9]{1,18})"
_NEVER = re.compile(rb"(?!)")
_NO_CONTENT = 0
"""framing.NONE: a Content-Length, if there is one, tells the length of another response."""


class Line(NamedTuple):
    """One line of a canonical head, `start` + `value` + `end`, and how its value is encoded."""

    start: bytes
    value: bytes
    end: bytes
    pattern: bytes
    """What the value must match; empty where it must stay as it is."""
    before: bytes
    """Encoded fields that stand before the value's."""
    tag: bytes
    """Of the message that the value is in, with `key` before it; empty where it is in none."""
    key: bytes
    """What stands before the value's length."""
    after: bytes

    @property
    def raw(self) -> bytes:
        return self.start + self.value + self.end


def constant_line(raw: bytes, encoded: bytes) -> Line:
    """A line that must stay as it is."""
    return Line(raw, b"", b"", b"", encoded, b"", b"", b"")


def request_line(method: bytes, target: bytes, version: bytes, before: bytes, after: bytes) -> Line:
    """`before` and `after`: the encoded fields around the target."""
    start, end = method + b" ", b" HTTP/" + version
    return Line(start, target, end, _TARGET, before, b"", b"\x1a", after)


def field_line(tag: bytes, name: bytes, value: bytes) -> Line:
    pattern = _LENGTH if name.lower() == b"content-length" else _VALUE
    return Line(name + b": ", value, b"", pattern, b"", tag, text(1, name) + b"\x12", b"")


class HeadTemplate:
    """The heads of one shape: the same names in the same order, and the same framing lines."""

    __slots__ = (
        "_changes", "_compilations", "_layout_bytes", "_lines", "_sightings", "framing", "layouts",
        "length", "length_at", "match", "method", "status", "version",
    )  # fmt: skip

    def __init__(
        self, lines: Sequence[Line], method: bytes, version: bytes, status: int, framing: int,
        length: int,
    ) -> None:  # fmt: skip
        """`framing` and `length` of the content; -1 where only the content will tell its length."""
        self._lines = lines
        self._changes = [False] * len(lines)
        self._sightings = 0
        self._compilations = 0
        self._layout_bytes = 0
        self.layouts: dict[tuple[int, ...], bytes] = {}
        """By the lengths of the values that change: the encoded fields, with %b for each of them,
        and for what follows the head: before, in and after the content's data, and the times."""
        self.method = method
        self.version = version
        self.status = status
        self.framing = framing
        self.length = length
        self.length_at = -1
        """Which of the values that change is Content-Length; -1 where none is."""
        self.match = _NEVER.match
        """Matches a whole head at a position; its groups are the values that change."""

    def widen(self, lines: Sequence[Line]) -> bool:
        """Takes a head of this shape; True the first time that it can be matched from now on."""
        self._sightings += 1
        if self._compilations >= MAX_COMPILATIONS:
            return False
        changed = False
        for number, (line, known) in enumerate(zip(lines, self._lines, strict=True)):
            if line.value != known.value and not self._changes[number]:
                self._changes[number] = changed = True
        if self._sightings == SIGHTINGS or (changed and self._sightings > SIGHTINGS):
            self._compile()
        return self._sightings == SIGHTINGS

    def _compile(self) -> None:
        expression = b""
        places = 0
        self._compilations += 1
        self.layouts.clear()
        self._layout_bytes = 0
        self.length_at = -1
        for line, changes in zip(self._lines, self._changes, strict=True):
            if changes:
                if line.pattern == _LENGTH and self.framing != _NO_CONTENT:
                    self.length_at = places
                places += 1
                expression += re.escape(line.start) + line.pattern + re.escape(line.end)
            else:
                expression += re.escape(line.raw)
            expression += rb"\r\n"
        self.match = re.compile(expression + rb"\r\n").match

    def layout(self, sizes: tuple[int, ...]) -> bytes:
        """The head's fields where its values that change are of these lengths in bytes."""
        encoded = b""
        next_size = iter(sizes)
        for line, changes in zip(self._lines, self._changes, strict=True):
            size = next(next_size) if changes else len(line.value)
            prefix = line.key + varint(size) if line.key else b""
            outer = line.tag + varint(len(prefix) + size) if line.tag else b""
            value = b"%b" if changes else _literal(line.value)
            encoded += _literal(line.before + outer + prefix) + value + _literal(line.after)
        encoded += b"%b%b%b%b"
        self._layout_bytes += len(encoded)
        if self._layout_bytes > MAX_LAYOUT_BYTES:
            self.layouts.clear()
            self._layout_bytes = len(encoded)
        self.layouts[sizes] = encoded
        return encoded


def _literal(data: bytes) -> bytes:
    return data.replace(b"%", b"%%")


PlainHead = tuple[HeadTemplate, bytes, tuple[bytes, ...], int, int]
"""The template that matched, its layout for the values that change, these values, where the head
ends in the data, and the length of the content or -1."""


class HeadTemplates:
    """All templates of one direction, for all connections; bounded, and emptied when full."""

    def __init__(self, distinct: int, learning: bool = True) -> None:
        """`distinct`: how many bytes at the beginning of a head tell most shapes apart.

        Without `learning` there are none, and every head is read line by line.
        """
        self._distinct = distinct
        self._learning = learning
        self._shapes: dict[tuple[bytes, ...], HeadTemplate] = {}
        self._alike: dict[tuple[bytes, int, bytes], list[HeadTemplate]] = {}
        self._latest: dict[bytes, HeadTemplate] = {}
        """By how a head begins: the one that matched last, which mostly matches again."""

    def match(self, data: bytes, pos: int) -> PlainHead | None:
        """Reads the head that begins at data[pos]; None where no template matches it."""
        begin = data[pos : pos + self._distinct]
        template = self._latest.get(begin)
        if template is None or (found := template.match(data, pos)) is None:
            template = self._search(begin, data, pos)
            if template is None or (found := template.match(data, pos)) is None:
                return None
        end = found.end()
        if end - pos > MAX_HEAD:
            return None
        values = found.groups()
        sizes = tuple(map(len, values))
        layout = template.layouts.get(sizes) or template.layout(sizes)
        length = int(values[template.length_at]) if template.length_at >= 0 else template.length
        return template, layout, values, end, length

    def read(self, data: bytes, pos: int) -> tuple[HeadTemplate, bytes, int, int] | None:
        """As `match`, with the encoded fields of the head for the layout and its values."""
        head = self.match(data, pos)
        if head is None:
            return None
        template, layout, values, end, length = head
        return template, layout % (*values, b"", b"", b"", b""), end, length

    def _search(self, begin: bytes, data: bytes, pos: int) -> HeadTemplate | None:
        end = data.find(b"\r\n\r\n", pos, pos + MAX_HEAD)
        if end < 0:
            return None
        last = data.rfind(b"\n", pos, end) + 1 or pos
        alike = self._alike.get((begin, data.count(b"\n", pos, end) + 1, data[last : last + 3]))
        for template in alike or ():
            if template.match(data, pos):
                self._latest[begin] = template
                return template
        return None

    def learn(
        self, lines: Sequence[Line], method: bytes, version: bytes, status: int, framing: int,
        length: int,
    ) -> None:  # fmt: skip
        """Takes a head without anything to remark, which `read` did not know."""
        if not self._learning or len(lines) > MAX_LINES:
            return
        shape = tuple(line.start + b"\0" + line.end if line.pattern else line.raw for line in lines)
        template = self._shapes.get(shape)
        if template is None:
            if len(self._shapes) >= MAX_SHAPES:
                self._shapes.clear()
                self._alike.clear()
                self._latest.clear()
            template = HeadTemplate(lines, method, version, status, framing, length)
            self._shapes[shape] = template
        if template.widen(lines):
            begin = lines[0].raw[: self._distinct]
            key = begin, len(lines), lines[-1].raw[:3]
            alike = self._alike.setdefault(key, [])
            if len(alike) >= MAX_ALIKE:
                del alike[0]
            alike.append(template)
