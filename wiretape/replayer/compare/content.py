"""Contents compared as what they are: JSON as values, text by line, anything else by byte.

Content codings are undone first (RFC 9110 §8.4); framing and chunk sizes have no meaning.
"""

from __future__ import annotations

from wiretape.exchange.content import ContentError, decode_content, field_value
from wiretape.exchange.v1.exchange_pb2 import HttpRequest, HttpResponse
from wiretape.replayer.compare.difference import Difference
from wiretape.replayer.compare.json_value import canonical_json, compare_json, parse_json
from wiretape.replayer.compare.text import compare_bytes, compare_text
from wiretape.replayer.correlate import Judgement

# What one content may become when its codings are undone.
MAX_DECODED_BYTES = 64 << 20

_TEXTUAL = ("text/", "application/xml", "application/javascript", "application/x-www-form")

Message = HttpRequest | HttpResponse


def media_type(message: Message) -> str:
    """Type and subtype in lower case, without parameters; "" where there is none."""
    value = field_value(message.fields, b"content-type")
    return value.partition(b";")[0].strip().lower().decode("latin-1")


def is_json(message: Message) -> bool:
    kind = media_type(message)
    return kind == "application/json" or kind.endswith("+json")


def plain(message: Message) -> bytes:
    """The content without its codings; ContentError where they cannot be undone."""
    codings = field_value(message.fields, b"content-encoding")
    if not codings:
        return message.content.data
    return decode_content(message.content.data, codings, MAX_DECODED_BYTES)


def canonical_content(message: Message) -> bytes:
    """The same bytes for contents that mean the same."""
    try:
        data = plain(message)
    except ContentError:
        return message.content.data
    if is_json(message):
        try:
            return canonical_json(parse_json(data))
        except ValueError:
            return data
    return data


def compare_contents(recorded: Message, live: Message, judgement: Judgement) -> list[Difference]:
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
    if expected == actual:
        judgement.saw(expected, actual)
        return []
    try:
        expected, actual = plain(recorded), plain(live)
    except ContentError as error:
        return [
            Difference("content", "content", None, None, f"the content coding is broken: {error}")
        ]
    judgement.saw(expected, actual)
    if expected == actual:
        return []
    if is_json(recorded) or not media_type(recorded):
        try:
            return compare_json(parse_json(expected), parse_json(actual), judgement)
        except (ValueError, RecursionError):
            # Not JSON on one side at least, or not what two readers would agree on: then as text.
            return _compare_undeclared(expected, actual, judgement)
    kind = media_type(recorded)
    if kind.startswith(_TEXTUAL) or kind.endswith("+xml"):
        return _compare_undeclared(expected, actual, judgement)
    return compare_bytes(expected, actual)


def _compare_undeclared(expected: bytes, actual: bytes, judgement: Judgement) -> list[Difference]:
    try:
        return compare_text(expected.decode(), actual.decode(), judgement)
    except UnicodeDecodeError:
        return compare_bytes(expected, actual)
