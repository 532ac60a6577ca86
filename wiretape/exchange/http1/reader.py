"""The tolerant, passive reader of one direction of an HTTP/1 connection (RFC 9112).

A reader consumes a byte queue and never fails: what breaks the grammar is a violation, what was
not seen is a gap, what is no HTTP is counted as undecoded. It stops where only the other direction
can tell how to go on, and is advanced again until neither side moves, so how the bytes were
batched cannot matter.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from wiretape.exchange import encode
from wiretape.exchange.http1 import framing, grammar
from wiretape.exchange.http1.content import ContentReader, Progress
from wiretape.exchange.http1.head import FieldSection, SectionReader
from wiretape.exchange.http1.message import Message
from wiretape.exchange.http1.plain import MAX_WHOLE_CONTENT, PlainReader
from wiretape.exchange.http1.template import HeadTemplates
from wiretape.exchange.stream import ByteQueue
from wiretape.exchange.v1 import exchange_pb2 as pb

REQUEST_CONTENT, RESPONSE_CONTENT = b"\x3a", b"\x2a"
"""Tags of content in HttpRequest and HttpResponse."""
MAX_CONTENT = 1 << 30
MAX_HEAD = 1 << 20
"""A header section beyond this is no message we will hold memory for."""

_EMPTY_LINES = b"\r\n"


class Sections:
    """The section readers that all connections of one program share, with their dictionaries."""

    def __init__(
        self, scheme: bytes = b"http", max_content_bytes: int = MAX_CONTENT, learning: bool = True
    ) -> None:
        """`learning`: heads of a shape that comes again are read by templates."""
        self.request = SectionReader(encode.REQUEST_FIELD, scheme)
        self.request_trailer = SectionReader(encode.REQUEST_TRAILER)
        self.request_heads = HeadTemplates(5, learning)
        self.response = SectionReader(encode.RESPONSE_FIELD)
        self.response_heads = HeadTemplates(12, learning)
        self.plain_requests = PlainReader(self.request_heads, REQUEST_CONTENT, max_content_bytes)
        self.plain_responses = PlainReader(self.response_heads, RESPONSE_CONTENT, max_content_bytes)
        self.response_trailer = SectionReader(encode.RESPONSE_TRAILER)


class Conversation(Protocol):
    """What a reader asks of, and tells, the pair of directions it belongs to."""

    pending: deque[Message]
    """Requests begun and not answered, in order. The request reader appends."""

    def request_finished(self, request: Message) -> None:
        """Called where it did not finish at once when it was appended, or takes over."""

    def request_of(self, response_start: int, raw_ack: int) -> "Message | Wait | None":
        """The request that a response beginning here answers; None where it was never seen."""

    def response_finished(self, response: Message, request: Message | None) -> None: ...


class Wait:
    """Answer of `request_of`: the other direction has to be read further first."""


WAIT = Wait()


class Reader:
    """What both directions share. `advance` returns whether anything moved.

    Byte counters: every byte and hole that the queue handed out is in exactly one of
    `message_bytes` (holes inside messages included), `undecoded_bytes` and `hole_bytes`.
    """

    side: int
    _head_looks_right: Callable[[bytes, int], bool | None]
    # Numbers in HttpRequest or HttpResponse: the tag of content, then those of head and head_gaps.
    content_tag: bytes
    _first_at_tag: int
    _raw_number: int
    _gaps_number: int

    def __init__(
        self,
        queue: ByteQueue,
        conversation: Conversation,
        sections: Sections,
        max_content_bytes: int,
        synchronized: bool,
    ) -> None:
        """`synchronized`: the queue begins where the connection did."""
        self.queue = queue
        self.message_bytes = 0
        self.undecoded_bytes = 0
        self.hole_bytes = 0
        self.undecoded: dict[str, int] = {}
        """Undecoded bytes by reason."""
        self.lost_end = -1
        """Offset after the last hole or undecoded stretch: messages may be lost before it."""
        self.lost_since = -1
        """The packet since which nothing was understood; -1 where all was."""
        self._conversation = conversation
        self._sections = sections
        self._content = ContentReader(max_content_bytes)
        self._max_whole = min(MAX_WHOLE_CONTENT, max_content_bytes)
        self._message: Message | None = None
        self._messages = 0
        """How many it has read to their end."""
        self._trailer_sections = self._sections_of_trailers(sections)
        self._last = 0, 0
        """Time and packet of the last byte that was read of the message in progress."""
        self.head = b""
        """Encoded, of the message whose content is being read."""
        self._raw = b""
        self._head_gaps: list[bytes] = []
        self._scanned_to = 0
        """Offset before which no head ends that is still unread."""
        self._lost_reason = "midstream"
        self._next = self._read_head if synchronized else self._find_message

    # -- steps: each returns whether it moved; the next one is in self._next

    def advance(self) -> bool:
        moved = False
        while self._next():
            moved = True
        return moved

    def step(self) -> bool:
        """Advances as far as the end of the next message."""
        moved = False
        before = self._messages
        while self._messages == before and self._next():
            moved = True
        return moved

    @property
    def at_head(self) -> bool:
        """What comes next, if it is a message, begins at the queue's position."""
        return self._next == self._read_head

    @property
    def position(self) -> int:
        """Offset up to which every byte belongs to a message already begun, or to none."""
        return self.queue.offset

    @property
    def finished(self) -> bool:
        """Nothing will come any more."""
        queue = self.queue
        return queue.closed and queue.offset >= queue.end

    @property
    def in_message(self) -> bool:
        """A message has begun and has not ended; its head may still be coming."""
        queue = self.queue
        if self._next == self._read_content:
            return True
        return self._next == self._read_head and queue.end > queue.offset

    @property
    def held_bytes(self) -> int:
        """Memory that what is unread, and the content that is being read, take."""
        queue = self.queue
        return queue.end - queue.offset + self._content.held_bytes

    def evict_content(self) -> int:
        """Lets go of what was read of the content in progress; returns how many bytes that were."""
        return self._content.evict() if self._next == self._read_content else 0

    def release(self) -> None:
        """Nothing more will be read: lets go of everything, so that no cycle keeps it alive."""
        self._next = _at_end
        del self._conversation, self._content

    def become_opaque(self, reason: str) -> None:
        """What follows is not HTTP/1: it is counted and passed over."""
        self._lost_reason = reason
        self._next = self._pass_over

    def start_over(self) -> None:
        """What follows may be HTTP again, as inside a CONNECT tunnel."""
        self._lost_reason = "tunnel"
        self._next = self._find_message

    def _read_head(self) -> bool:
        raise NotImplementedError

    def _read_content(self) -> bool:
        queue, content = self.queue, self._content
        begun = queue.offset
        progress = content.advance(queue)
        if queue.offset > begun:
            self._note_last(queue.offset)
        if progress is Progress.MORE:
            if queue.pull():
                return True
            if queue.hole is not None:
                progress = content.take_hole(queue)
                if progress is Progress.MORE:
                    return True
                if progress is Progress.LOST:
                    self._finish(False)
                    self._lose_in_gap()
                    return True
            elif queue.closed:
                self._finish(content.framing == framing.CLOSE, queue.closed_packet)
                return True
            else:
                return False
        if progress is Progress.DONE:
            self._finish(True)
        else:
            judged = queue.segment(queue.base + content.judged)
            self._finish(False, queue.packets[judged])
            self._lose("after-broken-framing")
        return True

    def _find_message(self) -> bool:
        """Looks for the next message where segments begin: a message is not guessed elsewhere."""
        queue = self.queue
        data, pos = queue.data, queue.pos
        size = len(data)
        while pos < size:
            looks = self._head_looks_right(data, pos)
            if looks:
                self._pass(pos - queue.pos, self._lost_reason)
                queue.pos = pos
                self._next = self._read_head
                return True
            if looks is None and not (queue.hole is not None or queue.closed):
                self._pass(pos - queue.pos, self._lost_reason)
                queue.pos = pos
                return queue.pull()
            if looks is None and queue.pull():
                return True
            pos = min(queue.ends[queue.segment(queue.base + pos)] - queue.base, size)
        self._pass(size - queue.pos, self._lost_reason)
        queue.pos = size
        return self._past_readable()

    def _pass_over(self) -> bool:
        queue = self.queue
        self._pass(len(queue.data) - queue.pos, self._lost_reason)
        queue.pos = len(queue.data)
        return self._past_readable()

    def _past_readable(self) -> bool:
        """Outside messages, with nothing readable left: what comes next."""
        queue = self.queue
        if queue.pull():
            return True
        hole = queue.hole
        if hole is None:
            return False
        if self.lost_since < 0:
            self.lost_since = hole.packet
        self.hole_bytes += queue.take_hole(hole.length).length
        self.lost_end = queue.offset
        return True

    def _pass(self, length: int, reason: str) -> None:
        if length:
            if self.lost_since < 0:
                self.lost_since = self.queue.packets[self.queue.segment(self.queue.offset)]
            self.lost_end = self.queue.offset + length
            self.undecoded_bytes += length
            self.undecoded[reason] = self.undecoded.get(reason, 0) + length

    def _lose(self, reason: str) -> None:
        self._lost_reason = reason
        self._next = self._find_message

    def _lose_in_gap(self) -> None:
        """The hole that a message took at its end may have taken others too."""
        self.lost_end = self.queue.offset
        self.lost_since = self.queue.holes_taken[-1][1]
        self._lose("after-gap")

    # -- heads

    def _head_end(self) -> tuple[int, int, int, int] | None:
        """(start, end of start line, start of section, end of head) of a head that is there whole.

        Skips empty lines before it (RFC 9112 §2.2). None where more bytes are needed.
        """
        queue = self.queue
        data, pos = queue.data, queue.pos
        if pos < len(data) and data[pos] in _EMPTY_LINES:
            while pos < len(data) and data[pos] in _EMPTY_LINES:
                pos += 1
            self.message_bytes += pos - queue.pos
            if self.lost_end == queue.offset:
                self.lost_end += pos - queue.pos
            queue.pos = pos
        # Three bytes of the end of the head may have been there before.
        unscanned = max(pos, self._scanned_to - queue.base - 3)
        limit = min(pos + MAX_HEAD, len(data))
        end = data.find(b"\r\n\r\n", unscanned, limit)
        found = grammar.HEAD_END.search(data, unscanned, end + 4 if end >= 0 else limit)
        if found is None:
            self._scanned_to = queue.base + limit
            return None
        line_end = data.find(b"\n", pos)
        after_line = line_end + 1
        if line_end > pos and data[line_end - 1] == 0x0D:
            line_end -= 1
        return pos, line_end, min(after_line, found.start() + 1), found.end()

    @staticmethod
    def _section_end(data: bytes, end: int) -> int:
        """Where the field lines stop: before the empty line that ends the head at `end`."""
        end -= 1
        while data[end - 1] == 0x0D:
            end -= 1
        return end

    def _head_is_cut(self, holed: bool) -> bool:
        """No whole head is readable and none will be: a hole or the end follows what there is."""
        raise NotImplementedError

    def _wait_for_head(self) -> bool:
        queue = self.queue
        unread = len(queue.data) - queue.pos
        if unread and self._cannot_be_head(queue.data, queue.pos):
            self._lose(self._foreign(queue.data, queue.pos))
            return True
        if unread >= MAX_HEAD:
            self._pass(MAX_HEAD, "head-too-long")
            queue.pos += MAX_HEAD
            self._lose("head-too-long")
            return True
        if queue.pull():
            return True
        holed = queue.hole is not None
        if not holed and not queue.closed:
            return False
        if unread:
            return self._head_is_cut(holed)
        if holed:
            self._lose("after-gap")
            return self._past_readable()
        return False

    def _cannot_be_head(self, data: bytes, pos: int) -> bool:
        """The first line is there and is no start line, or the first bytes already are not."""
        raise NotImplementedError

    def _foreign(self, data: bytes, pos: int) -> str:
        """Names what cannot be a head: the protocol where its first bytes tell it."""
        return "no-http"

    def _begin(self, start: int) -> Message:
        """A message whose first byte is data[start]."""
        queue = self.queue
        message = Message()
        message.start = message.end = queue.base + start
        segment = queue.segment(message.start)
        message.first_at_ns = message.last_at_ns = queue.at_ns[segment]
        message.packet = queue.packets[segment]
        message.raw_ack = self._raw_ack(segment)
        message.after_loss = message.start == self.lost_end
        if self.lost_since >= 0:
            message.lost_since, self.lost_since = self.lost_since, -1
        return message

    def _raw_ack(self, segment: int) -> int:
        acks = self.queue.acks
        return acks[segment] if acks else -1

    def _note_violations(self, message: Message, fields: FieldSection) -> None:
        for code, detail in fields.violations:
            message.violates(code, detail, self.side)

    # -- content and the end of a message

    def _begin_content(
        self, message: Message, head: bytes, raw: bytes, kind: int, length: int, end: int
    ) -> None:
        """Goes on to the content of a message whose head ended at data[end]."""
        queue = self.queue
        content_end = end + length
        if 0 <= length <= self._max_whole and content_end <= len(queue.data):
            self._take_whole(message, head, raw, kind, end, content_end)
            return
        self._message, self.head, self._raw = message, head, raw
        if end > queue.pos:
            self._note_last(queue.base + end)
        queue.pos = end
        self._content.begin(kind, length)
        self._next = self._read_content

    def _take_whole(
        self, message: Message, head: bytes, raw: bytes, kind: int, start: int, end: int
    ) -> None:
        """The usual message: its content is data[start:end], and of known length."""
        queue = self.queue
        queue.pos = end
        end_offset = queue.base + end
        last = queue.segment(end_offset - 1)
        first_at_ns = message.first_at_ns
        message.end = end_offset
        message.last_at_ns = max(queue.at_ns[last], first_at_ns)
        message.packet = max(message.packet, queue.packets[last])
        self.message_bytes += end_offset - message.start
        before, after = encode.content_frame(end - start if kind else -1)
        encoded = b"".join(
            (
                head,
                self.content_tag,
                encode.varint(len(before) + end - start + len(after)),
                before,
                queue.data[start:end],
                after,
                encode.times(self._first_at_tag, first_at_ns, message.last_at_ns),
                encode.text(self._raw_number, raw),
            )
        )
        message.parts = (encoded,)
        message.size = len(encoded)
        self._messages += 1
        self._done(message)

    def _note_last(self, end: int) -> None:
        """The bytes before offset `end` were read: when the last one came, and in which packet."""
        queue = self.queue
        last = queue.segment(end - 1)
        self._last = queue.at_ns[last], queue.packets[last]

    def _finish(self, complete: bool, packet: int = 0) -> None:
        """Ends the message at the queue's position; `packet` ended it, or its last byte did."""
        message, queue, content = self._message, self.queue, self._content
        assert message is not None, "finished without a message"
        self._message = None
        message.end = queue.offset
        self.message_bytes += message.end - message.start
        last_at_ns, last_packet = self._last
        message.last_at_ns = max(last_at_ns, message.first_at_ns)
        given_up = queue.given_up_before(message.end)
        message.packet = max(message.packet, last_packet, given_up, packet)
        for code, detail in content.violations:
            message.violates(code, detail, self.side)
        if not complete and content.framing != framing.NONE and not content.ends_in_gap:
            message.violates("incomplete-content", "", self.side)
        message.gapped |= content.gapped
        parts, size = content.encoded(complete)
        tail = encode.times(self._first_at_tag, message.first_at_ns, message.last_at_ns)
        if content.trailers:
            tail = self._trailer_sections.read(content.trailers).encoded + tail
        tail += encode.text(self._raw_number, self._raw)
        for missing in self._head_gaps:
            tail += encode.delimited(self._gaps_number, missing)
        lead = self.head + self.content_tag + encode.varint(size)
        message.parts = (lead, *parts, tail)
        message.size = len(lead) + size + len(tail)
        self.head = self._raw = b""
        self._head_gaps = []
        self._next = self._read_head
        self._messages += 1
        self._done(message)

    def _finish_cut_head(self, message: Message, head: bytes, alone: bool, holed: bool) -> None:
        """Ends a message of which only the readable bytes of its head will ever be there.

        `alone`: nothing is missing (HTTP/0.9). `holed`: a hole follows, else the end.
        """
        queue = self.queue
        start = queue.pos
        self._message, self.head, self._raw = message, head, queue.data[start:]
        queue.pos = len(queue.data)
        self._note_last(queue.offset)
        if not alone:
            message.violates("incomplete-head", "", self.side)
        if holed and queue.hole is not None:
            message.gapped = True
            seen = len(queue.data) - start
            hole = queue.take_hole(queue.hole.length)
            self._head_gaps = [encode.gap(seen, hole.length, hole.reason)]
        self._content.begin(framing.NONE, 0)
        self._finish(alone, 0 if holed else queue.closed_packet)
        if holed:
            self._lose_in_gap()

    def _sections_of_trailers(self, sections: Sections) -> SectionReader:
        raise NotImplementedError

    def _done(self, message: Message) -> None:
        raise NotImplementedError


def _at_end() -> bool:
    return False


REQUEST, RESPONSE = int(pb.Violation.REQUEST), int(pb.Violation.RESPONSE)
