"""Reads the requests of one direction (RFC 9112 §3, §6)."""

import re

from wiretape.exchange import encode
from wiretape.exchange.http1 import framing, grammar
from wiretape.exchange.http1.head import FieldSection, SectionReader
from wiretape.exchange.http1.message import Message
from wiretape.exchange.http1.reader import MAX_HEAD, REQUEST, Reader, Sections

_FIRST_BYTES = re.compile(rb"[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]{0,64}(?:[ \t].*)?", re.DOTALL)
_TOKEN = re.compile(grammar.TOKEN)
_VERSION = re.compile(rb"\d+\.\d+")

_START_LINES: dict[tuple[bytes, bytes], bytes] = {
    (method, b"HTTP/" + version): encode.text(1, version) + encode.text(2, method)
    for method in grammar.METHODS
    for version in (b"1.1", b"1.0")
}
"""Encoded version and method of the usual start lines."""


class RequestReader(Reader):
    side = REQUEST
    _head_looks_right = staticmethod(grammar.may_start_request)
    _content_tag = b"\x3a"
    _first_at_tag = encode.REQUEST_FIRST_AT
    _raw_number, _gaps_number = 11, 12

    def _sections_of_trailers(self, sections: Sections) -> SectionReader:
        return sections.request_trailer

    def _read_head(self) -> bool:
        queue = self.queue
        data = queue.data
        start = queue.pos
        # The usual head: whole, its section seen before or without a bare LF, its line strict.
        end = data.find(b"\r\n\r\n", start)
        if end < 0:
            return self._read_tolerantly()
        line_end = data.find(b"\r\n", start)
        words = data[start:line_end].split(b" ")
        if len(words) != 3 or not words[1]:
            return self._read_tolerantly()
        usual = _START_LINES.get((words[0], words[2]))
        section = data[line_end + 2 : end + 2]
        if usual is None or b"\n\n" in section or b"\n\r\n" in section:
            return self._read_tolerantly()
        method, target, version = words
        fields = self._sections.request.read(section)
        message = self._begin(start)
        message.method = method
        message.version = version[5:]
        prefix = fields.prefix
        if target[0] != 0x2F:
            prefix = self._prefix_of(target, fields.host, method)
        head = b"%b\x1a%b%b%b%b" % (
            usual, encode.varint(len(target)), target, prefix, fields.encoded,
        )  # fmt: skip
        raw = b"" if fields.canonical else data[start : end + 4]
        return self._take_head(message, head, raw, fields, end + 4)

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
        message = self._begin(start)
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
        head = (
            encode.text(1, version) + encode.text(2, method) + encode.text(3, target)
            + self._prefix_of(target, fields.host, method) + fields.encoded
        )  # fmt: skip
        return self._take_head(message, head, b"" if canonical else data[start:end], fields, end)

    @staticmethod
    def _prefix_of(target: bytes, host: bytes | None, method: bytes) -> bytes:
        """Encoded scheme and authority, by the form of the target (RFC 9112 §3.2, §3.3)."""
        scheme, authority = b"http", host or b""
        if method == b"CONNECT":
            authority = target
        elif b"://" in target[:16]:
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
        message.takes_over = fields.upgrade or message.method == b"CONNECT"
        message.expects_continue = fields.expects_continue
        kind, length = framing.of_request(fields, message.version)
        self._conversation.request_begun(message)
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
            return not _FIRST_BYTES.fullmatch(data, pos, min(len(data), pos + 128))
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
            + self._prefix_of(target, fields.host, method) + fields.encoded
        )  # fmt: skip
        self._conversation.request_begun(message)
        self._finish_cut_head(message, head, alone, holed)
        return True
