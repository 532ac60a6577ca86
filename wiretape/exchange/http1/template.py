"""The latest header section of one shape, to read the next one of that shape by difference.

Messages of one peer have the same field lines again and again but for a few values: a date, a
length, an identifier. Comparing a line with the one before it is several times cheaper than reading
it, so the readers' usual path reads sections through templates and parses only what is new.
"""

from wiretape.exchange.encode import VARINT, text

_BLANK = b" \t"
_SHORT = 1 << 13
"""Longer values are left to the parser, which has no limit."""

TemplateKey = tuple[int, bytes]


def template_key(lines: list[bytes], start_lines: int = 0) -> TemplateKey:
    """Tells shapes apart well enough: how many lines a head has, and how its last one begins.

    `start_lines` is 1 where `lines` lacks the start line. The readers' loops compute the same.
    """
    return len(lines) + start_lines, lines[-1][:8]


class SectionTemplate:
    """A canonical section without anything to remark; its Content-Length, if it has one, is valid.

    `match` makes it the template of the section that it matched: `encoded` and `length` are then
    that section's.
    """

    __slots__ = (
        "_fields", "_length_at", "_lines", "_names", "_tag", "encoded", "length",
    )  # fmt: skip

    def __init__(
        self, tag: bytes, lead: bytes, lines: list[bytes], fields: list[bytes], fixed: list[bool],
        length: int,
    ) -> None:  # fmt: skip
        """`lines` without line ends, `fields` what each is encoded to, behind `lead`.

        `fixed` marks the lines that must stay as they are, `length` is the Content-Length or -1.
        """
        self._tag = tag
        # Place 0 is the start line's, which is not ours.
        self._lines = [b"", *lines]
        self._fields = [lead, *fields]
        self._names: list[tuple[bytes, bytes]] = [(b"", b"")]
        """Of each line whose value may change: name, colon and space; then its encoded name and the
        tag of the value. No line begins with the NUL that stands for the others."""
        self._length_at = -1
        self.length = length
        for line, is_fixed in zip(lines, fixed, strict=True):
            name = line.partition(b":")[0]
            if name.lower() == b"content-length":
                self._length_at = len(self._names)
                is_fixed = False
            prefix = b"\0" if is_fixed or len(name) > 127 else name + b": "
            self._names.append((prefix, text(1, name) + b"\x12"))
        self.encoded = b"".join(self._fields)

    def match(self, lines: list[bytes]) -> bool:
        """Takes a head's lines, the start line first; False where more than values differ."""
        before = self._lines
        fields, names = self._fields, self._names
        before[0] = lines[0]
        if lines == before:
            return True
        matched = True
        for number, line in enumerate(lines):
            if line == before[number]:
                continue
            prefix, name = names[number]
            value = line[len(prefix) :]
            size = len(value)
            if not line.startswith(prefix) or not 0 < size < _SHORT:
                matched = False
                break
            if number == self._length_at:
                if size > 18 or not value.isdigit():
                    matched = False
                    break
                self.length = int(value)
            elif value[0] in _BLANK or value[-1] in _BLANK:
                matched = False
                break
            value_size = VARINT[size]
            inner = VARINT[len(name) + len(value_size) + size]
            fields[number] = b"".join((self._tag, inner, name, value_size, value))
            before[number] = line
        # Also where it did not match: the lines taken over until then are the template's now.
        self.encoded = b"".join(fields)
        return matched
