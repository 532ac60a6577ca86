"""Header and trailer sections: from raw lines to encoded fields and what framing needs of them.

Traffic repeats itself: the same client sends the same section again and again, and other sections
share most of their lines. So a section is looked up whole first, then line by line, and only a
line never seen before is parsed. All dictionaries are bounded and emptied when full.
"""

import re

from wiretape.exchange import encode
from wiretape.exchange.http1 import grammar
from wiretape.exchange.http1.template import Line, constant_line, field_line

MAX_CACHED_SECTION = 2048
MAX_SECTIONS = 4096
MAX_CACHED_LINE = 256
MAX_LINES = 16384
MAX_NAMES = 4096

_FRAMING_NAMES = frozenset((b"content-length", b"transfer-encoding", b"upgrade", b"host"))

_CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f]")

Violation = tuple[str, str]
"""Code and detail; the source follows from the code (`framing.SOURCES`)."""


class FieldSection:
    """A header or trailer section, read once and shared by every message that has the same bytes.

    The defaults stand on the class: most sections set few of them.
    """

    encoded: bytes
    """The fields as entries of `repeated Field`; before them, for requests, scheme and authority
    as an origin-form target has them."""
    fields: bytes
    """The entries alone."""
    canonical: bool = True
    """A writer gives back the same bytes."""
    length: int = -1
    """Content-Length; -1 none, -2 invalid."""
    transfer_coded: bool = False
    """A Transfer-Encoding other than identity is there."""
    chunked: bool = False
    """And its last coding is chunked."""
    upgrade: bool = False
    host: bytes | None = None
    violations: tuple[Violation, ...] = ()

    def plain_in(self, version: bytes) -> bool:
        """There is nothing to remark, and the content is framed as the fields say."""
        if self.transfer_coded and version == b"1.0":
            return False
        return self.canonical and not (self.violations or self.upgrade)


_Special = tuple[bytes, bytes, bytes, Violation | None, bool]
"""Encoded field, lower-case name where framing needs it, value, violation, canonical."""


class SectionReader:
    """Reads sections of one kind: `tag` is the Field tag of the message they go into."""

    def __init__(self, tag: bytes, scheme: bytes = b"") -> None:
        self._tag = tag
        self._scheme = encode.text(4, scheme)
        self._known: dict[bytes, FieldSection] = {}
        """Sections by their bytes."""
        self._plain: dict[bytes, bytes] = {}
        """Encoded fields by line, where that is all there is to say."""
        self._special: dict[bytes, _Special] = {}
        self._names: dict[bytes, bytes] = {}
        """Encoded names by name."""

    def read(self, section: bytes) -> FieldSection:
        """`section`: field lines, each with its line end, without the empty line."""
        known = self._known.get(section)
        if known is not None:
            return known
        fields = self._parse(section)
        if len(section) <= MAX_CACHED_SECTION:
            if len(self._known) >= MAX_SECTIONS:
                self._known.clear()
            self._known[section] = fields
        return fields

    def lines(self, section: bytes) -> list[Line]:
        """The lines of a plain section, to learn a template by."""
        lines: list[Line] = []
        for raw in section.split(b"\r\n")[:-1]:
            name, _, value = raw.partition(b": ")
            if value and (name.lower() not in _FRAMING_NAMES or name.lower() == b"content-length"):
                lines.append(field_line(self._tag, name, value))
            else:
                lines.append(constant_line(raw, encode.field(self._tag, name, value)))
        return lines

    def _parse(self, section: bytes) -> FieldSection:
        fields = FieldSection()
        lines = section.split(b"\r\n")
        ends_in_crlf = not lines[-1]
        if ends_in_crlf:
            lines.pop()
        one_each = section.count(b"\n") == len(lines) and ends_in_crlf
        if not one_each or b"\r\n " in section or b"\r\n\t" in section:
            lines = self._irregular_lines(section, fields)
        plain = self._plain
        encoded = []
        for line in lines:
            field = plain.get(line)
            encoded.append(self._read_line(line, fields) if field is None else field)
        if fields.transfer_coded and fields.length != -1:
            fields.violations += (
                ("transfer-encoding-with-content-length", _both_readings(fields)),
            )
        fields.fields = b"".join(encoded)
        lead = self._scheme + encode.text(5, fields.host or b"") if self._scheme else b""
        fields.encoded = lead + fields.fields
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

    def _read_line(self, line: bytes, fields: FieldSection) -> bytes:
        """Encodes a line that is new or special, and notes in `fields` what is special."""
        special = self._special.get(line)
        if special is None:
            name, _, value = line.partition(b": ")
            known_name = self._names.get(name)
            if known_name is not None and value and value == value.strip(b" \t"):
                size = encode.varint(len(value))
                inner = len(known_name) + 1 + len(size) + len(value)
                encoded = b"%b%b%b\x12%b%b" % (
                    self._tag, encode.varint(inner), known_name, size, value,
                )  # fmt: skip
                self._keep_plain(line, encoded)
                return encoded
            special = self._parse_line(line)
            if not special[1] and special[3] is None and special[4]:
                if len(self._names) < MAX_NAMES and len(name) <= MAX_CACHED_LINE:
                    self._names[name] = encode.text(1, name)
                self._keep_plain(line, special[0])
                return special[0]
            if len(line) <= MAX_CACHED_LINE:
                if len(self._special) >= MAX_LINES:
                    self._special.clear()
                self._special[line] = special
        encoded, lower, value, violation, canonical = special
        if lower:
            _note(fields, lower, value)
        if violation is not None:
            fields.violations += (violation,)
        if not canonical:
            fields.canonical = False
        return encoded

    def _keep_plain(self, line: bytes, encoded: bytes) -> None:
        if len(line) <= MAX_CACHED_LINE:
            if len(self._plain) >= MAX_LINES:
                self._plain.clear()
            self._plain[line] = encoded

    def _parse_line(self, line: bytes) -> _Special:
        parsed = grammar.field_line(line)
        lower = parsed.name.lower()
        return (
            encode.field(self._tag, parsed.name, parsed.value),
            lower if lower in _FRAMING_NAMES else b"",
            parsed.value,
            (parsed.violation, _shown(line)) if parsed.violation else None,
            parsed.canonical,
        )


def _shown(data: bytes) -> str:
    return data[:80].decode("latin-1")


def _both_readings(fields: FieldSection) -> str:
    """What two recipients may make of a message (RFC 9112 §6.1, §11.2)."""
    coding = "chunked is read" if fields.chunked else "Transfer-Encoding does not end in chunked"
    says = f"says {fields.length}" if fields.length >= 0 else "is invalid"
    return f"{coding}; Content-Length {says}"


def _note(fields: FieldSection, name: bytes, value: bytes) -> None:
    """Keeps what framing and pairing need of one field."""
    if name == b"content-length":
        _note_length(fields, value)
    elif name == b"transfer-encoding":
        listed = [c.strip(b" \t") for c in value.split(b",")]
        # Some recipients strip more than RFC 9110 §5.6.1 allows: it is read so, and told.
        codings = [c.strip(b"\r\n\x0b\x0c\x00 \t").lower() for c in listed]
        hidden = any(map(_CONTROLS.search, listed))
        codings = [c for c in codings if c and c != b"identity"]
        if codings:
            fields.transfer_coded = True
            if fields.chunked:
                fields.violations += (("repeated-transfer-encoding", _shown(value)),)
            fields.chunked = codings[-1] == b"chunked"
            if not fields.chunked or len(codings) > 1 or hidden:
                fields.violations += (("unusual-transfer-encoding", _shown(value)),)
    elif name == b"host":
        if fields.host is not None:
            fields.violations += (("repeated-host", _shown(value)),)
        else:
            fields.host = value
    elif name == b"upgrade":
        fields.upgrade = True


def _note_length(fields: FieldSection, value: bytes) -> None:
    """RFC 9112 §6.3 rule 5: one valid length, or equal ones; of others the first is read."""
    if value.isdigit() and fields.length == -1 and len(value) <= 18:
        fields.length = int(value)
        return
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
        read = fields.length if fields.length >= 0 else "none"
        detail = f"{read} is read; then {_shown(value)}"
        fields.violations += (("conflicting-content-length", detail),)
    else:
        fields.violations += (("repeated-content-length", _shown(value)),)
