"""Header and trailer sections: from raw lines to encoded fields and what framing needs of them.

Traffic repeats itself: the same client sends the same section again and again, and other sections
share most of their lines. So a section is looked up whole first, then line by line, and only a line
never seen before is parsed. Both dictionaries are bounded and emptied when full.
"""

import re

from wiretape.exchange import encode
from wiretape.exchange.http1 import grammar

MAX_CACHED_SECTION = 2048
MAX_SECTIONS = 4096
MAX_CACHED_LINE = 256
MAX_LINES = 32768

_FRAMING_NAMES = frozenset(
    (b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"host", b"expect")
)

Violation = tuple[str, str]
"""Code and detail; the source follows from the code (`framing.SOURCES`)."""


class FieldSection:
    """A header or trailer section, read once and shared by every message that has the same bytes.

    `encoded` holds the fields as entries of `repeated Field`. `canonical` says that a writer gives
    back the same bytes from them. `length` is the Content-Length (-1 none, -2 invalid).
    """

    __slots__ = (
        "canonical",
        "chunked",
        "encoded",
        "expects_continue",
        "host",
        "length",
        "prefix",
        "transfer_coded",
        "upgrade",
        "violations",
    )

    def __init__(self) -> None:
        self.encoded = b""
        self.canonical = True
        self.length = -1
        self.transfer_coded = False
        """A Transfer-Encoding other than identity is there."""
        self.chunked = False
        """And its last coding is chunked."""
        self.upgrade = False
        self.expects_continue = False
        self.host: bytes | None = None
        self.violations: tuple[Violation, ...] = ()
        self.prefix = b""
        """For requests: encoded scheme and authority, which stand before the fields."""


_Line = tuple[bytes, bytes, bytes, Violation | None, bool]
"""Encoded field, lower-case name where framing needs it, value, violation, canonical."""


class SectionReader:
    """Reads sections of one kind: `tag` is the Field tag of the message they go into."""

    def __init__(self, tag: bytes, scheme: bytes = b"") -> None:
        self._tag = tag
        self._scheme = encode.text(4, scheme)
        self._sections: dict[bytes, FieldSection] = {}
        self._lines: dict[bytes, _Line] = {}

    def read(self, section: bytes) -> FieldSection:
        """`section`: field lines, each with its line end, without the empty line."""
        known = self._sections.get(section)
        if known is not None:
            return known
        fields = self._parse(section)
        if len(section) <= MAX_CACHED_SECTION:
            if len(self._sections) >= MAX_SECTIONS:
                self._sections.clear()
            self._sections[section] = fields
        return fields

    def _parse(self, section: bytes) -> FieldSection:
        fields = FieldSection()
        lines = section.split(b"\r\n")
        if lines[-1]:
            fields.canonical = False  # its last line does not end in CRLF
        else:
            lines.pop()
        if section.count(b"\n") != len(lines) or b"\r\n " in section or b"\r\n\t" in section:
            lines = self._irregular_lines(section, fields)
        encoded = []
        known = self._lines
        for line in lines:
            entry = known.get(line)
            if entry is None:
                entry = self._parse_line(line)
            encoded.append(entry[0])
            if entry[1]:
                _note(fields, entry[1], entry[2])
            if entry[3] is not None:
                fields.violations += (entry[3],)
            if not entry[4]:
                fields.canonical = False
        if fields.transfer_coded and fields.length != -1:
            fields.violations += (("transfer-encoding-with-content-length", ""),)
        fields.encoded = b"".join(encoded)
        fields.prefix = self._scheme + encode.text(5, fields.host or b"") if self._scheme else b""
        return fields

    def _irregular_lines(self, section: bytes, fields: FieldSection) -> list[bytes]:
        """Lines of a section with bare LF or obs-fold (RFC 9112 §2.2, §5.2)."""
        fields.canonical = False
        if re.search(rb"(?<!\r)\n", section):
            fields.violations += (("bare-lf", ""),)
        if re.search(rb"\n[ \t]", section):
            fields.violations += (("obs-fold", ""),)
            section = grammar.FOLD.sub(b" ", section)
        lines = grammar.LINE_END.split(section)
        return lines if lines[-1] else lines[:-1]

    def _parse_line(self, line: bytes) -> _Line:
        parsed = grammar.field_line(line)
        lower = parsed.name.lower()
        entry = (
            encode.field(self._tag, parsed.name, parsed.value),
            lower if lower in _FRAMING_NAMES else b"",
            parsed.value,
            (parsed.violation, _shown(line)) if parsed.violation else None,
            parsed.canonical,
        )
        if len(line) <= MAX_CACHED_LINE:
            if len(self._lines) >= MAX_LINES:
                self._lines.clear()
            self._lines[line] = entry
        return entry


def _shown(data: bytes) -> str:
    return data[:80].decode("latin-1")


def _note(fields: FieldSection, name: bytes, value: bytes) -> None:
    """Keeps what framing and pairing need of one field."""
    if name == b"content-length":
        _note_length(fields, value)
    elif name == b"transfer-encoding":
        codings = [c.strip(b" \t\r\n\x0b\x0c\x00").lower() for c in value.split(b",")]
        codings = [c for c in codings if c and c != b"identity"]
        if codings:
            fields.transfer_coded = True
            if fields.chunked:
                fields.violations += (("repeated-transfer-encoding", _shown(value)),)
            fields.chunked = codings[-1] == b"chunked"
            if not fields.chunked or len(codings) > 1:
                fields.violations += (("unusual-transfer-encoding", _shown(value)),)
    elif name == b"host":
        if fields.host is not None:
            fields.violations += (("repeated-host", _shown(value)),)
        else:
            fields.host = value
    elif name == b"upgrade":
        fields.upgrade = True
    elif name == b"expect":
        fields.expects_continue = value.lower() == b"100-continue"


def _note_length(fields: FieldSection, value: bytes) -> None:
    """RFC 9112 §6.3 rule 5: one valid length, or equal ones; of others the first is read."""
    lengths = set()
    for item in value.split(b","):
        digits = item.strip(b" \t")
        if digits.isdigit() and len(digits.lstrip(b"0")) <= 18:
            lengths.add(int(digits))
        else:
            lengths.add(-2)
    first = next(iter(lengths)) if len(lengths) == 1 else -2
    if first == -2:
        code = "conflicting-content-length" if len(lengths) > 1 else "invalid-content-length"
        fields.violations += ((code, _shown(value)),)
    if fields.length == -1:
        fields.length = first
    elif first != fields.length:
        fields.violations += (("conflicting-content-length", _shown(value)),)
    else:
        fields.violations += (("repeated-content-length", _shown(value)),)
