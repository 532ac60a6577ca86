"""Contents compared as what they are; which that is, the recorded Content-Type says.

Content codings are undone first (RFC 9110 §8.4); framing and chunk sizes have no meaning. What is
not what its type says is compared as text, or by byte.
"""

from __future__ import annotations

import codecs
from typing import NamedTuple

from wiretape.exchange.content import ContentError, decode_content, field_value
from wiretape.exchange.v1.exchange_pb2 import Content, HttpRequest, HttpResponse
from wiretape.replayer.compare.difference import Difference
from wiretape.replayer.compare.field_values import parse_media_type
from wiretape.replayer.compare.fields import Groups
from wiretape.replayer.compare.form import (
    canonical_form,
    compare_forms,
    compare_multipart,
    read_multipart,
)
from wiretape.replayer.compare.json_tree import compare_json
from wiretape.replayer.compare.json_value import canonical_json, parse_json
from wiretape.replayer.compare.stream import compare_events, compare_lines, read_lines
from wiretape.replayer.compare.table import compare_csv
from wiretape.replayer.compare.text import compare_bytes, compare_text
from wiretape.replayer.compare.view import View
from wiretape.replayer.compare.xml_tree import compare_xml, parse_xml

# What one content may become when its codings are undone.
MAX_DECODED_BYTES = 64 << 20

_TEXTUAL = ("text/", "application/javascript", "application/ecmascript", "application/graphql")
_LINES = frozenset(["application/x-ndjson", "application/ndjson", "application/jsonl",
                    "application/json-lines", "application/jsonlines"])  # fmt: skip

# What a coded content begins with, where that tells.
_CODED = {b"\x1f\x8b\x08": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}

Message = HttpRequest | HttpResponse


class Sent(NamedTuple):
    """A content as it was sent, its Content-Type, and its content codings; "" where not said."""

    content: Content
    type: str
    codings: str


def sent(content: Content, fields: Groups) -> Sent:
    """What the fields of a message say of its content."""
    types, codings = fields.get("content-type"), fields.get("content-encoding")
    return Sent(content, ", ".join(types) if types else "", ", ".join(codings) if codings else "")


def sent_by(message: Message) -> Sent:
    """As `sent`, of a message whose fields are not grouped."""
    types, codings = (
        field_value(message.fields, name).decode("latin-1")
        for name in (b"content-type", b"content-encoding")
    )
    return Sent(message.content, types, codings)


def media_type(message: Message) -> str:
    """Type and subtype in lower case, without parameters; "" where there is none."""
    return parse_media_type(sent_by(message).type)[0]


def is_json(kind: str) -> bool:
    """Whether a media type is JSON."""
    return kind in ("application/json", "text/json") or kind.endswith("+json")


def plain(message: Sent | Message) -> bytes:
    """The content without its codings; ContentError where they cannot be undone."""
    message = message if isinstance(message, Sent) else sent_by(message)
    data = message.content.data
    return decode_content(data, message.codings, MAX_DECODED_BYTES) if message.codings else data


def unsaid_coding(recorded: Sent, live: Sent) -> str:
    """The content coding that a live content has and does not name; "" where there is none."""
    for start, coding in _CODED.items():
        if not live.codings and live.content.data.startswith(start):
            # A file of that kind begins so by itself, recorded too.
            itself = not recorded.codings and recorded.content.data.startswith(start)
            return "" if itself else coding
    return ""


def canonical_content(message: Sent | Message) -> bytes:
    """The same bytes for contents that mean the same, as far as that is quickly told."""
    message = message if isinstance(message, Sent) else sent_by(message)
    if not message.content.data:
        return b""
    try:
        data = plain(message)
    except ContentError:
        return message.content.data
    kind, _ = parse_media_type(message.type)
    if is_json(kind) or not kind:
        try:
            return canonical_json(parse_json(data))
        except (ValueError, RecursionError):
            return data
    if kind == "application/x-www-form-urlencoded":
        return canonical_form(data)
    return data


def compare_contents(recorded: Sent, live: Sent, view: View) -> list[Difference]:
    """Differences between two whole or partial contents."""
    if not live.content.complete and recorded.content.complete:
        return [
            Difference(
                "content",
                "content",
                f"{len(recorded.content.data)} bytes",
                f"{len(live.content.data)} bytes, then the connection closed",
                "the content ended early",
            )
        ]
    expected, actual = recorded.content.data, live.content.data
    if expected == actual and (not expected or recorded.codings == live.codings):
        return []
    try:
        expected, actual = plain(recorded), plain(live)
    except ContentError as error:
        return [
            Difference("content", "content", None, None, f"the content coding is broken: {error}")
        ]
    if expected == actual:
        return []
    name = "content-encoding"
    if (unsaid := unsaid_coding(recorded, live)) and not view.ignores("field", name):
        reason = f"the content is in {unsaid}, and no Content-Encoding says so"
        return [view.difference("field", name, name, recorded.codings or None, None, reason)]
    if view.ignores("content", "content"):
        return []
    return compare_data(recorded.type, expected, actual, view, live.type)


def compare_data(
    declared: str, expected: bytes, actual: bytes, view: View, live_declared: str = ""
) -> list[Difference]:
    """Differences between two contents without coding, of the Content-Type `declared`.

    The live one is read as the recorded one; only its boundary and charset are its own.
    """
    kind, parameters = parse_media_type(declared)
    own = parse_media_type(live_declared or declared)[1]
    charset, live_charset = parameters.get("charset", ""), own.get("charset", "")
    try:
        if is_json(kind) or not kind:
            return compare_json(parse_json(expected), parse_json(actual), view)
        if kind == "application/x-www-form-urlencoded":
            return compare_forms(expected, actual, view)
        if kind.startswith("multipart/"):
            parts = read_multipart(expected, parameters.get("boundary", ""))
            others = read_multipart(actual, own.get("boundary", ""))
            if parts is None or others is None:
                return compare_bytes(expected, actual, view)
            return compare_multipart(parts, others, view, compare_data)
        if kind in ("application/xml", "text/xml") or kind.endswith("+xml"):
            xml = parse_xml(expected, charset or None), parse_xml(actual, live_charset or None)
            return compare_xml(*xml, view)
        if kind in _LINES:
            return compare_lines(read_lines(expected), read_lines(actual), view)
    except (ValueError, RecursionError):
        # Not what it says on one side at least, or not what two readers would agree on.
        return _compare_texts(expected, actual, view, charset, live_charset)
    if kind == "text/event-stream":
        texts = _decoded(expected, ""), _decoded(actual, "")
        if texts[0] is not None and texts[1] is not None:
            return compare_events(texts[0], texts[1], view)
    if kind == "text/csv":
        texts = _decoded(expected, charset), _decoded(actual, live_charset)
        if texts[0] is not None and texts[1] is not None:
            return compare_csv(texts[0], texts[1], view)
    if kind.startswith(_TEXTUAL):
        return _compare_texts(expected, actual, view, charset, live_charset)
    return compare_bytes(expected, actual, view)


def _compare_texts(
    expected: bytes, actual: bytes, view: View, charset: str, live_charset: str
) -> list[Difference]:
    """As text, or by byte where one side is not in its charset."""
    text, other = _decoded(expected, charset), _decoded(actual, live_charset)
    if text is None or other is None:
        return compare_bytes(expected, actual, view)
    return compare_text(text, other, view)


def _decoded(data: bytes, charset: str) -> str | None:
    """The text in its charset, UTF-8 where none is named; None where it is in another."""
    try:
        codec = codecs.lookup(charset or "utf-8")
        # Some of Python's codecs are no charsets: hex, zip and the like.
        return data.decode(codec.name) if codec._is_text_encoding else None
    except (LookupError, ValueError):
        return None
