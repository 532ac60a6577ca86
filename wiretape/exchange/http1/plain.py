"""Plain messages: the head is of a shape that is known, and the content is there whole.

Nearly all traffic is like this, so it is read in one call a message. Whatever else a message may be
is left to the tolerant readers, which give the same for it.
"""

from wiretape.exchange import encode
from wiretape.exchange.http1.content import chunk_size
from wiretape.exchange.http1.framing import CHUNKED, LENGTH, NONE
from wiretape.exchange.http1.template import HeadTemplate, HeadTemplates

MAX_WHOLE_CONTENT = 64 * 1024
"""Up to this size a content that is there whole is encoded in one piece."""
_MAX_FRAMES = 16384
_MAX_CHUNK_LINE = 64


class _Frames(dict[int, tuple[bytes, bytes]]):
    """What stands before and after the data of a complete Content, by its length in bytes.

    -1 stands for a message that has no content at all.
    """

    def __init__(self, tag: bytes) -> None:
        self._tag = tag

    def __missing__(self, length: int) -> tuple[bytes, bytes]:
        if len(self) >= _MAX_FRAMES:
            self.clear()
        before, after = encode.content_frame(length)
        size = encode.varint(len(before) + max(length, 0) + len(after))
        self[length] = frame = self._tag + size + before, after
        return frame


PlainMessage = tuple[HeadTemplate, bytes, tuple[bytes, ...], bytes, bytes, bytes, int]
"""Template, layout, and the values that change in the head; then what stands before, in and after
the data of the encoded content; then where the message ends."""


class PlainReader:
    """Reads the plain messages of one direction; shared by all connections."""

    def __init__(self, heads: HeadTemplates, content_tag: bytes, max_content_bytes: int) -> None:
        self._match = heads.match
        self._tag = content_tag
        self._frames = _Frames(content_tag)
        self._max_length = min(max_content_bytes, MAX_WHOLE_CONTENT)

    def read(self, data: bytes, pos: int, asked: bytes = b"") -> PlainMessage | None:
        """The message that begins at data[pos]; `asked`: the method that it answers."""
        head = self._match(data, pos)
        if head is None:
            return None
        template, layout, values, end, length = head
        kind = template.framing
        if kind == LENGTH and asked != b"HEAD":
            stop = end + length
            if stop > len(data) or length > self._max_length:
                return None
            before, after = self._frames[length]
            return template, layout, values, before, data[end:stop], after, stop
        if asked == b"HEAD" or kind == NONE:
            before, after = self._frames[-1]
            return template, layout, values, before, b"", after, end
        if kind == CHUNKED:
            chunked = self._whole_chunks(data, end)
            if chunked is not None:
                content, stop = chunked
                before = self._tag + encode.varint(len(content))
                return template, layout, values, before, content, b"", stop
        return None

    def _whole_chunks(self, data: bytes, pos: int) -> tuple[bytes, int] | None:
        """The encoded Content of chunks without trailers (RFC 9112 §7.1), and where they end."""
        pieces: list[bytes] = []
        lengths: list[int] = []
        total = 0
        while True:
            line_end = data.find(b"\r\n", pos, pos + _MAX_CHUNK_LINE)
            if line_end < 0:
                return None
            length, violation = chunk_size(data[pos:line_end])
            begin, pos = line_end + 2, line_end + 4 + length
            if violation or data[pos - 2 : pos] != b"\r\n":
                return None
            if not length:
                break
            total += length
            if total > self._max_length:
                return None
            pieces.append(data[begin : pos - 2])
            lengths.append(length)
        parts, _ = encode.content(pieces, total, CHUNKED, True, (), lengths)
        return b"".join(parts), pos
