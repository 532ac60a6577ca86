"""Messages as reports keep them: the head whole, of a long content the first piece."""

from __future__ import annotations

from dataclasses import dataclass

from wiretape.exchange.content import ContentError, decode_content
from wiretape.exchange.http1.writer import field_lines, request_head, response_head
from wiretape.exchange.v1.exchange_pb2 import HttpRequest, HttpResponse

# A run of 10,000 exchanges keeps four messages of each.
MAX_KEPT_BYTES = 16 << 10
_MAX_HEAD_BYTES = 64 << 10
# What a kept piece may become when its codings are undone.
_MAX_DECODED_BYTES = 64 << 10

FieldLine = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Kept:
    """`head` as it was sent; `content` without framing, codings not undone, perhaps its start only.

    `length` is that of the whole content in bytes; `trailers` are field lines.
    """

    head: bytes
    content: bytes
    length: int
    trailers: bytes = b""

    @property
    def whole(self) -> bool:
        return len(self.content) == self.length

    @property
    def start_line(self) -> str:
        return self.head.partition(b"\n")[0].decode("latin-1").rstrip("\r")

    @property
    def fields(self) -> list[FieldLine]:
        return _read_fields(self.head.partition(b"\n")[2])

    @property
    def trailer_fields(self) -> list[FieldLine]:
        return _read_fields(self.trailers)

    def value(self, name: str) -> str:
        """The values of all fields called `name` (lower case) as one list."""
        return ", ".join(value for other, value in self.fields if other.lower() == name)

    def plain(self) -> bytes:
        """The content with its codings undone; as it was sent where that cannot be."""
        codings = self.value("content-encoding")
        if not codings or not self.whole:
            return self.content
        try:
            return decode_content(self.content, codings, _MAX_DECODED_BYTES)
        except ContentError:
            return self.content


def keep(message: HttpRequest | HttpResponse, limit: int = MAX_KEPT_BYTES) -> Kept:
    """What a report needs of `message`, with at most `limit` bytes of its content."""
    head = request_head(message) if isinstance(message, HttpRequest) else response_head(message)
    data = message.content.data
    return Kept(head[:_MAX_HEAD_BYTES], data[:limit], len(data), field_lines(message.trailers))


def _read_fields(block: bytes) -> list[FieldLine]:
    """Field lines as they stand, in latin-1; a folded line belongs to the one before."""
    found: list[FieldLine] = []
    for line in block.decode("latin-1").split("\n"):
        if line[:1] in (" ", "\t") and found:
            name, value = found[-1]
            found[-1] = (name, f"{value} {line.strip()}")
        elif line.strip("\r"):
            name, _, value = line.partition(":")
            found.append((name.strip(), value.strip()))
    return found
