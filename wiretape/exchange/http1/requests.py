"""Reads the requests of one direction (RFC 9112 §3, §6)."""

import re

from wiretape.exchange import encode
from wiretape.exchange.http1 import framing, grammar
from wiretape.exchange.http1.head import FieldSection, SectionReader
from wiretape.exchange.http1.message import Message
from wiretape.exchange.http1.reader import MAX_HEAD, REQUEST, REQUEST_CONTENT, Reader, Sections
from wiretape.exchange.http1.template import MAX_HEAD as MAX_LEARNED
from wiretape.exchange.http1.template import request_line

_TOKEN = re.compile(grammar.TOKEN)
_VERSION = re.compile(rb"\d+\.\d+")

_LEARNED = grammar.METHODS - {b"CONNECT"}
"""Methods whose heads are worth a template."""


class RequestReader(Reader):
    side = REQUEST
    _head_looks_right = staticmethod(grammar.may_start_request)
    content_tag = REQUEST_CONTENT
    _first_at_tag = encode.REQUEST_FIRST_AT
    _raw_number, _gaps_number = 11, 12

    resumed = 0
    """The packet of a reply for which requests had to wait."""

    def _sections_of_trailers(self, sections: Sections) -> SectionReader:
        return sections.request_trailer

    def _read_head(self) -> bool:
        queue = self.queue
        if queue.pos >= len(queue.data):
            return self._wait_for_head()
        plain = self._sections.request_heads.read(queue.data, queue.pos)
        if plain is None:
            return self._read_tolerantly()
        template, head, end, length = plain
        message = self._begin_at(queue.pos, end)
        message.method, message.version = template.method, template.version
        self._conversation.pending.append(message)
        self._begin_content(message, head, b"", template.framing, length, end)
        return True

    def _begin_at(self, start: int, head_end: int) -> Message:
        """A request whose head is data[start:head_end]."""
        message, queue = self._begin(start), self.queue
        ended = queue.segment(queue.base + head_end - 1)
        head_packet = max(queue.packets[ended], self.resumed)
        message.head_packets = message.packet, head_packet
        return message

    def _read_tolerantly(self) -> bool:
        queue = self.queue
        found = self._head_end()
        if found is None:
            return self._wait_for_head()
        data = queue.data
        start, line_end, section_start, end = found
        line = data[start:line_end]
        parsed = grammar.request_line(line)
        if parsed is None:
            self._lose(self._foreign(data, start))
            return True
        fields = self._sections.request.read(data[section_start : self._section_end(data, end)])
        message = self._begin_at(start, end)
        method, target, version, violation = parsed
        if not _TOKEN.fullmatch(method):
            violation, method = "invalid-method", b""
        if version is None or not _VERSION.fullmatch(version):
            violation, version = "invalid-version", b""
        if violation:
            message.violates(violation, line[:120].decode("latin-1"), REQUEST)
        message.method, message.version = method, version
        canonical = (
            not violation
            and fields.canonical
            and data[start:section_start] == b"%b %b HTTP/%b\r\n" % (method, target, version)
            and data[end - 4 : end] == b"\r\n\r\n"
        )
        before = encode.text(1, version) + encode.text(2, method)
        after = self._prefix_of(target, fields.host, method)
        head = before + encode.text(3, target) + after + fields.fields
        plain = canonical and fields.plain_in(version) and end - start <= MAX_LEARNED
        if plain and target[:1] == b"/" and method in _LEARNED:
            first = request_line(method, target, version, before, after)
            lines = [first, *self._sections.request.lines(data[section_start : end - 2])]
            of_content = framing.of_request(fields, version)
            self._sections.request_heads.learn(lines, method, version, 0, *of_content)
        return self._take_head(message, head, b"" if canonical else data[start:end], fields, end)

    @staticmethod
    def _prefix_of(target: bytes, host: bytes | None, method: bytes) -> bytes:
        """Encoded scheme and authority, by the form of the target (RFC 9112 §3.2, §3.3)."""
        scheme, authority = b"http", host or b""
        if method == b"CONNECT":
            authority = target
        elif target[:1] != b"/" and b"://" in target[:16]:
            scheme, _, rest = target.partition(b"://")
            authority = re.split(rb"[/?#]", rest, maxsplit=1)[0].rpartition(b"@")[2]
            scheme = scheme.lower() if re.fullmatch(rb"[A-Za-z0-9+.-]+", scheme) else b""
        return encode.text(4, scheme) + encode.text(5, authority)

    def _take_head(
        self, message: Message, head: bytes, raw: bytes, fields: FieldSection, end: int
    ) -> bool:
        if fields.violations:
            self._note_violations(message, fields)
        if fields.transfer_coded and message.version == b"1.0":
            message.violates("transfer-encoding-in-http-1.0", "", REQUEST)
        if fields.transfer_coded and not fields.chunked:
            message.violates("request-length-unknown", "", REQUEST)
        message.takes_over = fields.upgrade or message.method == b"CONNECT"
        kind, length = framing.of_request(fields, message.version)
        self._conversation.pending.append(message)
        self._begin_content(message, head, raw, kind, length, end)
        return True

    def _done(self, message: Message) -> None:
        if message.takes_over:
            self._next = self._await_reply
        else:
            self._next = self._read_head
        self._conversation.request_finished(message)

    def _await_reply(self) -> bool:
        return False

    def go_on(self) -> None:
        """The reply refused to take the connection over: requests follow as before."""
        if self._next == self._await_reply:
            self._next = self._read_head

    def _cannot_be_head(self, data: bytes, pos: int) -> bool:
        line_end = data.find(b"\n", pos, pos + MAX_HEAD)
        if line_end < 0:
            return not grammar.REQUEST_LINE_BEGINS.fullmatch(data, pos)
        return grammar.request_line(data[pos:line_end].rstrip(b"\r")) is None

    def _foreign(self, data: bytes, pos: int) -> str:
        if data.startswith(b"\x16\x03", pos):
            return "tls"
        return "no-http"

    def _head_is_cut(self, holed: bool) -> bool:
        """Records a request whose start line is there; of HTTP/0.9 the line is all there is."""
        queue = self.queue
        data, start = queue.data, queue.pos
        line_end = data.find(b"\n", start)
        parsed = grammar.request_line(data[start:line_end].rstrip(b"\r")) if line_end > 0 else None
        if parsed is None:
            self._pass(len(data) - start, "after-gap" if holed else "incomplete-head")
            queue.pos = len(data)
            return True
        last_line_end = data.rfind(b"\n") + 1
        fields = self._sections.request.read(data[line_end + 1 : last_line_end])
        message = self._begin(start)
        method, target, version, violation = parsed
        method = method if _TOKEN.fullmatch(method) else b""
        version = version if version and _VERSION.fullmatch(version) else b""
        message.method, message.version = method, version
        if violation:
            message.violates(violation, "", REQUEST)
        alone = version == b"0.9" and last_line_end == len(data) == line_end + 1 and not holed
        self._note_violations(message, fields)
        head = (
            encode.text(1, version) + encode.text(2, method) + encode.text(3, target)
            + self._prefix_of(target, fields.host, method) + fields.fields
        )  # fmt: skip
        self._conversation.pending.append(message)
        self._finish_cut_head(message, head, alone, holed)
        return True
