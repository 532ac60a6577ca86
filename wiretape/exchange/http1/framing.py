"""How the end of a message's content is marked (RFC 9112 §6.3), and the sources of violations."""

from wiretape.exchange.http1.head import FieldSection
from wiretape.exchange.v1 import exchange_pb2 as pb

NONE, LENGTH, CHUNKED, CLOSE = (
    int(pb.Content.NONE),
    int(pb.Content.LENGTH),
    int(pb.Content.CHUNKED),
    int(pb.Content.CLOSE),
)

SOURCES = {
    "missing-version": "RFC 9112 §3",
    "malformed-request-line": "RFC 9112 §3",
    "malformed-status-line": "RFC 9112 §4",
    "missing-reason-space": "RFC 9112 §4",
    "invalid-method": "RFC 9110 §9.1",
    "invalid-version": "RFC 9112 §2.3",
    "bare-lf": "RFC 9112 §2.2",
    "obs-fold": "RFC 9112 §5.2",
    "field-without-colon": "RFC 9112 §5",
    "space-before-colon": "RFC 9112 §5.1",
    "invalid-field-name": "RFC 9110 §5.1",
    "transfer-encoding-with-content-length": "RFC 9112 §6.1",
    "repeated-transfer-encoding": "RFC 9112 §6.1",
    "unusual-transfer-encoding": "RFC 9112 §6.1",
    "request-length-unknown": "RFC 9112 §6.3",
    "repeated-host": "RFC 9112 §3.2",
    "conflicting-content-length": "RFC 9112 §6.3",
    "invalid-content-length": "RFC 9112 §6.3",
    "repeated-content-length": "RFC 9112 §6.3",
    "invalid-chunk-size": "RFC 9112 §7.1",
    "chunk-size-overflow": "RFC 9112 §7.1",
    "space-in-chunk-size": "RFC 9112 §7.1.1",
    "chunk-without-line-end": "RFC 9112 §7.1",
    "incomplete-head": "RFC 9112 §8",
    "incomplete-content": "RFC 9112 §8",
    "transfer-encoding-in-http-1.0": "RFC 9112 §6.1",
    "conflicting-retransmission": "RFC 9293 §3.10.7.4",
}


def of_request(fields: FieldSection, version: bytes) -> tuple[int, int]:
    """(framing, length) of a request's content; length is -1 where framing does not say it.

    A Transfer-Encoding that does not end in chunked leaves a request without a readable length
    (rule 4): an observer reads no content then, but for what Content-Length says.
    """
    if version == b"0.9":
        return NONE, 0
    if fields.transfer_coded:
        if fields.chunked:
            return CHUNKED, -1
        if fields.length < 0:
            return NONE, 0
    if fields.length > 0:
        return LENGTH, fields.length
    return (LENGTH if fields.length == 0 else NONE), 0


def has_no_content(status: int, method: bytes) -> bool:
    """Whether a response ends with its head whatever its fields say (rules 1 and 2)."""
    if method == b"CONNECT" and 200 <= status < 300:
        return True
    return method == b"HEAD" or 100 <= status < 200 or status in (204, 304)


def of_response(fields: FieldSection, status: int, method: bytes) -> tuple[int, int]:
    """(framing, length) of a response's content, given the method of its request.

    Transfer-Encoding overrides Content-Length (rule 3), and one that does not end in chunked
    means up to the end of the connection (rule 4).
    """
    if has_no_content(status, method):
        return NONE, 0
    if fields.transfer_coded:
        return (CHUNKED if fields.chunked else CLOSE), -1
    if fields.length >= 0:
        return LENGTH, fields.length
    return CLOSE, -1
