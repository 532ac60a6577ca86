"""Reads the responses of one direction (RFC 9112 §4, §6)."""

import re
from typing import NamedTuple

from wiretape.exchange import encode
from wiretape.exchange.http1 import framing, grammar
from wiretape.exchange.http1.head import FieldSection, SectionReader
from wiretape.exchange.http1.message import Message
from wiretape.exchange.http1.reader import (
    MAX_HEAD,
    RESPONSE,
    RESPONSE_CONTENT,
    Reader,
    Sections,
    Wait,
)
from wiretape.exchange.http1.template import MAX_HEAD as MAX_LEARNED
from wiretape.exchange.http1.template import constant_line

_VERSION = re.compile(rb"\d+\.\d+")
MAX_STATUS_LINES = 1024


class _StartLine(NamedTuple):
    """A status line, read."""

    encoded: bytes
    version: bytes
    status: int
    violation: str


class ResponseReader(Reader):
    side = RESPONSE
    _head_looks_right = staticmethod(grammar.may_start_response)
    content_tag = RESPONSE_CONTENT
    _first_at_tag = encode.RESPONSE_FIRST_AT
    _raw_number, _gaps_number = 9, 10

    _start_lines: dict[bytes, _StartLine] = {}  # noqa: RUF012  (one dictionary for all is meant)
    """Encoded version, status and reason, by the line's bytes; bounded."""

    _request: Message | None = None

    def _sections_of_trailers(self, sections: Sections) -> SectionReader:
        return sections.response_trailer

    def _read_head(self) -> bool:
        queue = self.queue
        if queue.pos >= len(queue.data):
            return self._wait_for_head()
        plain = self._sections.response_heads.read(queue.data, queue.pos)
        if plain is None:
            return self._read_tolerantly()
        request = self._request_of(queue.pos)
        if isinstance(request, Wait):
            return False
        template, head, end, length = plain
        message = self._begin(queue.pos)
        message.version, message.status = template.version, template.status
        kind = template.framing
        if request is not None and framing.has_no_content(template.status, request.method):
            kind, length = framing.NONE, 0
        self._request = request
        self._begin_content(message, head, b"", kind, length, end)
        return True

    def _read_tolerantly(self) -> bool:
        queue = self.queue
        found = self._head_end()
        if found is None:
            return self._wait_for_head()
        data = queue.data
        start, line_end, section_start, end = found
        request = self._request_of(start)
        if isinstance(request, Wait):
            return False
        line = data[start:line_end]
        known = self._start_line(line)
        if known is None:
            return self._read_without_head(request)
        fields = self._sections.response.read(data[section_start : self._section_end(data, end)])
        message = self._begin(start)
        violation = known.violation
        if violation:
            message.violates(violation, line[:120].decode("latin-1"), RESPONSE)
        canonical = (
            not violation
            and fields.canonical
            and data[line_end:section_start] == b"\r\n"
            and data[end - 4 : end] == b"\r\n\r\n"
        )
        raw = b"" if canonical else data[start:end]
        plain = canonical and fields.plain_in(known.version) and end - start <= MAX_LEARNED
        if plain and known.status >= 200 and section_start > line_end:
            first = constant_line(line, known.encoded)
            lines = [first, *self._sections.response.lines(data[section_start : end - 2])]
            of_content = framing.of_response(fields, known.status, b"")
            heads = self._sections.response_heads
            heads.learn(lines, b"", known.version, known.status, *of_content)
        return self._take_head(message, known, raw, fields, request, end)

    def _take_head(
        self,
        message: Message,
        start_line: _StartLine,
        raw: bytes,
        fields: FieldSection,
        request: Message | None,
        end: int,
    ) -> bool:
        message.version = start_line.version
        message.status = start_line.status
        if fields.violations:
            self._note_violations(message, fields)
        if fields.transfer_coded and message.version == b"1.0":
            message.violates("transfer-encoding-in-http-1.0", "", RESPONSE)
        method = request.method if request is not None else b""
        kind, length = framing.of_response(fields, message.status, method)
        self._request = request
        self._begin_content(message, start_line.encoded + fields.encoded, raw, kind, length, end)
        return True

    def _request_of(self, start: int) -> Message | Wait | None:
        queue = self.queue
        offset = queue.base + start
        return self._conversation.request_of(offset, self._raw_ack(queue.segment(offset)))

    def _start_line(self, line: bytes) -> _StartLine | None:
        known = self._start_lines.get(line)
        if known is not None:
            return known
        parsed = grammar.status_line(line)
        if parsed is None:
            return None
        if not _VERSION.fullmatch(parsed.version):
            parsed = parsed._replace(version=b"", violation=parsed.violation or "invalid-version")
        encoded = (
            encode.text(1, parsed.version) + encode.number(2, parsed.status)
            + encode.text(3, parsed.reason)
        )  # fmt: skip
        if len(self._start_lines) >= MAX_STATUS_LINES:
            self._start_lines.clear()
        start_line = _StartLine(encoded, parsed.version, parsed.status, parsed.violation)
        self._start_lines[line] = start_line
        return start_line

    def hold(self) -> None:
        """Reads nothing until `go_on`."""
        self._next = self._held

    def go_on(self) -> None:
        if self._next == self._held:
            self._next = self._read_head

    def _held(self) -> bool:
        return False

    def _done(self, message: Message) -> None:
        self._conversation.response_finished(message, self._request)

    def _wait_for_head(self) -> bool:
        queue = self.queue
        if queue.pos < len(queue.data) and self._cannot_be_head(queue.data, queue.pos):
            request = self._request_of(queue.pos)
            if isinstance(request, Wait):
                return False
            return self._read_without_head(request)
        return super()._wait_for_head()

    def _read_without_head(self, request: Message | None) -> bool:
        """HTTP/0.9 (RFC 1945 §6): content alone, up to the end of the connection."""
        queue = self.queue
        if request is None or request.version != b"0.9":
            self._lose(self._foreign(queue.data, queue.pos))
            return True
        message = self._begin(queue.pos)
        message.version = b"0.9"
        self._request = request
        self._begin_content(message, encode.text(1, b"0.9"), b"", framing.CLOSE, -1, queue.pos)
        return True

    def _cannot_be_head(self, data: bytes, pos: int) -> bool:
        line_end = data.find(b"\n", pos, pos + MAX_HEAD)
        if line_end < 0:
            return data[pos : pos + 4].upper() != b"HTTP"[: len(data) - pos]
        return grammar.status_line(data[pos:line_end].rstrip(b"\r")) is None

    def _foreign(self, data: bytes, pos: int) -> str:
        return "tls" if data.startswith(b"\x16\x03", pos) else "no-http"

    def _head_is_cut(self, holed: bool) -> bool:
        queue = self.queue
        data, start = queue.data, queue.pos
        line_end = data.find(b"\n", start)
        known = self._start_line(data[start:line_end].rstrip(b"\r")) if line_end > 0 else None
        if known is None:
            self._pass(len(data) - start, "after-gap" if holed else "incomplete-head")
            queue.pos = len(data)
            return True
        request = self._request_of(start)
        if isinstance(request, Wait):
            return False
        last_line_end = data.rfind(b"\n") + 1
        fields = self._sections.response.read(data[line_end + 1 : last_line_end])
        message = self._begin(start)
        message.version, message.status = known.version, known.status
        self._note_violations(message, fields)
        self._request = request
        self._finish_cut_head(message, known.encoded + fields.encoded, False, holed)
        return True
