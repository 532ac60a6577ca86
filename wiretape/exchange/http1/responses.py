"""Reads the responses of one direction (RFC 9112 §4, §6)."""

import re
from bisect import bisect_right
from typing import NamedTuple

from wiretape.exchange import encode
from wiretape.exchange.encode import (
    CONTENT_EMPTY,
    FRAMED_BY_LENGTH,
    RESPONSE_FIRST_AT,
    TIMES,
    varint,
)
from wiretape.exchange.http1 import framing, grammar
from wiretape.exchange.http1.head import FieldSection, SectionReader
from wiretape.exchange.http1.message import Message
from wiretape.exchange.http1.reader import (
    MAX_HEAD,
    RESPONSE,
    Reader,
    Sections,
    Wait,
)

_VERSION = re.compile(rb"\d+\.\d+")
MAX_STATUS_LINES = 1024


class _StartLine(NamedTuple):
    """A status line, read."""

    encoded: bytes
    version: bytes
    status: int
    violation: str
    usual: bool
    """Nothing to remark, and its content is as its fields say."""


class ResponseReader(Reader):
    side = RESPONSE
    _head_looks_right = staticmethod(grammar.may_start_response)
    _content_tag = b"\x2a"
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
        return self._read_usual() or self._read_tolerantly()

    def _read_usual(self) -> bool:
        """Reads on as long as whole responses of the usual kind follow each other.

        As in `RequestReader._read_usual`, everything odd is left to `_read_tolerantly`: among it
        contents that are not of known length, and replies to requests that are not.
        """
        queue = self.queue
        data, base, pos = queue.data, queue.base, queue.pos
        ends, at_ns, packets, acks = queue.ends, queue.at_ns, queue.packets, queue.acks
        size, begun, max_whole = len(data), pos, self._max_whole
        segment = bisect_right(ends, base + pos)
        templates, start_lines = self._sections.response.templates, self._start_lines
        conversation = self._conversation
        pending = conversation.pending
        find, pack_times = data.find, TIMES.pack
        acknowledged, ack_number = conversation.acknowledged()
        while pos < size and pending and acknowledged >= 0:
            end = find(b"\r\n\r\n", pos)
            if end < 0:
                break
            lines = data[pos:end].split(b"\r\n")
            start_line = start_lines.get(lines[0])
            template = templates.get((len(lines), lines[-1][:8]))
            if start_line is None or not start_line.usual or template is None:
                break
            if data.count(b"\n", pos, end) >= len(lines) or not template.match(lines):
                break
            length = template.length
            if length < 0:
                break
            stop = end + 4 + length
            if stop > size or length > max_whole:
                break
            request = pending[0]
            if request.method == b"HEAD" or request.takes_over or request.parts is None:
                break
            if request.after_loss:
                break
            offset = base + pos
            while ends[segment] <= offset:
                segment += 1
            if acks:
                ahead = (acks[segment] - ack_number + 0x80000000) % 0x100000000 - 0x80000000
                if acknowledged + ahead <= request.start:
                    break
            message = Message()
            message.start = offset
            message.first_at_ns = first_at_ns = at_ns[segment]
            message.end = offset = base + stop
            while ends[segment] < offset:
                segment += 1
            last_at_ns = at_ns[segment]
            if last_at_ns < first_at_ns:
                last_at_ns = first_at_ns
            message.last_at_ns = last_at_ns
            message.packet = packets[segment]
            message.status = start_line.status
            count = varint(length)
            content: tuple[bytes, ...] = (CONTENT_EMPTY,)
            content_size = len(CONTENT_EMPTY)
            if length:
                body = data[end + 4 : stop]
                content = (b"\x0a", count, body, b"\x10", count, FRAMED_BY_LENGTH)
                content_size += length + 2 * len(count) + 2
            encoded = b"".join(
                (
                    start_line.encoded,
                    template.encoded,
                    b"\x2a",
                    varint(content_size),
                    *content,
                    pack_times(RESPONSE_FIRST_AT, first_at_ns, RESPONSE_FIRST_AT + 8, last_at_ns),
                )
            )
            message.parts = (encoded,)
            message.size = len(encoded)
            pos = queue.pos = stop
            conversation.response_finished(message, request)
        self.message_bytes += pos - begun
        return pos > begun

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
        status = parsed.status
        usual = not parsed.violation and status >= 200 and status not in (204, 304)
        start_line = _StartLine(encoded, parsed.version, status, parsed.violation, usual)
        self._start_lines[line] = start_line
        return start_line

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
