"""Reads the requests of one direction (RFC 9112 §3, §6)."""

import re
from bisect import bisect_right

from wiretape.exchange import encode
from wiretape.exchange.encode import (
    CONTENT_EMPTY,
    CONTENT_NONE,
    FRAMED_BY_LENGTH,
    REQUEST_FIRST_AT,
    TIMES,
    varint,
)
from wiretape.exchange.http1 import framing, grammar
from wiretape.exchange.http1.head import FieldSection, SectionReader
from wiretape.exchange.http1.message import Message
from wiretape.exchange.http1.reader import (
    MAX_HEAD,
    REQUEST,
    Reader,
    Sections,
)

_TOKEN = re.compile(grammar.TOKEN)
_VERSION = re.compile(rb"\d+\.\d+")

_START_LINES: dict[tuple[bytes, bytes], bytes] = {
    (method, b"HTTP/" + version): encode.text(1, version) + encode.text(2, method)
    for method in grammar.METHODS - {b"CONNECT"}
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
        if queue.pos >= len(queue.data):
            return self._wait_for_head()
        return self._read_usual() or self._read_tolerantly()

    def _read_usual(self) -> bool:
        """Reads on as long as whole requests of the usual kind follow each other.

        This loop is most of the cost of reading requests: it makes no calls it can do without and
        leaves everything odd to `_read_tolerantly`.
        """
        queue = self.queue
        data, base, pos = queue.data, queue.base, queue.pos
        ends, at_ns, packets, acks = queue.ends, queue.at_ns, queue.packets, queue.acks
        size, begun, max_whole, lost_end = len(data), pos, self._max_whole, self.lost_end
        segment = bisect_right(ends, base + pos)
        templates, pending = self._sections.request.templates, self._conversation.pending
        find, pack_times = data.find, TIMES.pack
        while pos < size:
            end = find(b"\r\n\r\n", pos)
            if end < 0:
                break
            lines = data[pos:end].split(b"\r\n")
            words = lines[0].split(b" ")
            template = templates.get((len(lines), lines[-1][:8]))
            if len(words) != 3 or template is None:
                break
            method, target, version = words
            start_line = _START_LINES.get((method, version))
            if start_line is None or not target or target[0] != 0x2F:
                break
            if data.count(b"\n", pos, end) >= len(lines) or not template.match(lines):
                break
            stop = end + 4
            length = template.length
            if length > 0:
                stop += length
            if stop > size or length > max_whole:
                break
            offset = base + pos
            while ends[segment] <= offset:
                segment += 1
            message = Message()
            message.start = offset
            if offset == lost_end:
                message.after_loss = True
            message.first_at_ns = first_at_ns = at_ns[segment]
            if acks:
                message.raw_ack = acks[segment]
            message.end = offset = base + stop
            while ends[segment] < offset:
                segment += 1
            last_at_ns = at_ns[segment]
            if last_at_ns < first_at_ns:
                last_at_ns = first_at_ns
            message.last_at_ns = last_at_ns
            message.packet = packets[segment]
            message.method = method
            message.version = version[5:]
            if length > 0:
                count = varint(length)
                content = b"".join(
                    (b"\x0a", count, data[end + 4 : stop], b"\x10", count, FRAMED_BY_LENGTH)
                )
            else:
                content = CONTENT_NONE if length else CONTENT_EMPTY
            encoded = b"".join(
                (
                    start_line,
                    b"\x1a",
                    varint(len(target)),
                    target,
                    template.encoded,
                    b"\x3a",
                    varint(len(content)),
                    content,
                    pack_times(REQUEST_FIRST_AT, first_at_ns, REQUEST_FIRST_AT + 8, last_at_ns),
                )
            )
            message.parts = (encoded,)
            message.size = len(encoded)
            pending.append(message)
            pos = stop
        if pos == begun:
            return False
        queue.pos = pos
        self.message_bytes += pos - begun
        return True

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
            + self._prefix_of(target, fields.host, method) + fields.fields
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
