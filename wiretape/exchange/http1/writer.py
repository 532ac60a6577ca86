"""Writes recorded messages back, byte for byte as they were on the wire (RFC 9112 §3-§7).

The raw head is used where the recording kept one; otherwise start line and fields give the same
bytes. Contents are framed as recorded: chunks keep their sizes, extensions of chunks are not kept.
"""

from collections.abc import Iterable

from wiretape.exchange.v1 import exchange_pb2 as pb


def write_request(request: pb.HttpRequest) -> bytes:
    return request_head(request) + framed_content(request.content, request.trailers)


def write_response(response: pb.HttpResponse) -> bytes:
    return response_head(response) + framed_content(response.content, response.trailers)


def request_head(request: pb.HttpRequest) -> bytes:
    """Start line, fields and the empty line."""
    if request.head:
        return request.head
    line = b"%b %b HTTP/%b\r\n" % (
        request.method.encode(), request.target, request.version.encode(),
    )  # fmt: skip
    return line + field_lines(request.fields) + b"\r\n"


def response_head(response: pb.HttpResponse) -> bytes:
    """Start line, fields and the empty line; nothing for HTTP/0.9, which has no head."""
    if response.head or response.version == "0.9":
        return response.head
    line = b"HTTP/%b %d %b\r\n" % (response.version.encode(), response.status, response.reason)
    return line + field_lines(response.fields) + b"\r\n"


def field_lines(fields: Iterable[pb.Field]) -> bytes:
    return b"".join([b"%b: %b\r\n" % (field.name, field.value) for field in fields])


def framed_content(content: pb.Content, trailers: Iterable[pb.Field]) -> bytes:
    """The content as its framing puts it on the wire."""
    if content.framing != pb.Content.CHUNKED:
        return content.data
    pieces = []
    offset = 0
    data = content.data
    for size in content.chunk_lengths or ([len(data)] if data else []):
        pieces.append(b"%x\r\n%b\r\n" % (size, data[offset : offset + size]))
        offset += size
    if content.complete:
        pieces.append(b"0\r\n%b\r\n" % field_lines(trailers))
    return b"".join(pieces)
