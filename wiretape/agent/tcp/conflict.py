"""Bytes that were sent again with another value (RFC 9293 §3.10.7.4).

A receiver keeps what it has and trims the rest off; so what arrives first is delivered here. Which
of the two the real receiver took cannot be known of a capture, so both are kept.
"""

from collections.abc import Sequence
from typing import NamedTuple

from wiretape.exchange import encode
from wiretape.exchange.http1 import Message
from wiretape.exchange.http1.framing import SOURCES
from wiretape.exchange.v1 import exchange_pb2 as pb

CODE = "conflicting-retransmission"
MAX_SHOWN_BYTES = 64
MAX_CONFLICTS = 64
"""So many are kept of one half-connection; all are counted."""


REQUEST, RESPONSE = int(pb.Violation.REQUEST), int(pb.Violation.RESPONSE)


class Conflict(NamedTuple):
    """From the first byte that differs to the last one; `first` and `other` may be cut short."""

    offset: int
    length: int
    first: bytes
    other: bytes
    packet: int
    """The one that brought the other bytes."""


def differing(offset: int, first: bytes, other: bytes, packet: int) -> tuple[Conflict, int]:
    """The conflict of two unequal strings of the same length, and how many bytes differ in it."""
    size = len(first)
    both = int.from_bytes(first, "big") ^ int.from_bytes(other, "big")
    marks = both.to_bytes(size, "big")
    start = size - len(marks.lstrip(b"\0"))
    stop = len(marks.rstrip(b"\0"))
    shown = slice(start, min(stop, start + MAX_SHOWN_BYTES))
    conflict = Conflict(offset + start, stop - start, first[shown], other[shown], packet)
    return conflict, size - marks.count(0)


def in_message(
    conflicts: Sequence[Conflict], message: Message, packet: int, side: int
) -> tuple[tuple[bytes, ...], list[Conflict]]:
    """Violations for bytes of a message that `packet`, or one before, brought; the other ones."""
    start, end = message.start, message.end
    inside = [c for c in conflicts if start <= c.offset < end and c.packet <= packet]
    others = [c for c in conflicts if c not in inside]
    return tuple(_violation(each, start, side) for each in inside), others


def in_no_message(
    of_client: Sequence[Conflict], of_server: Sequence[Conflict]
) -> tuple[bytes, ...]:
    """Violations for what is left at the end, in the order in which it came."""
    both = ((of_client, REQUEST), (of_server, RESPONSE))
    found = [(each.packet, side, each) for conflicts, side in both for each in conflicts]
    return tuple(_violation(each, 0, side) for _, side, each in sorted(found))


def _violation(conflict: Conflict, base: int, side: int) -> bytes:
    """`base`: offset of the byte from which the detail counts."""
    detail = (
        f"offset {conflict.offset - base}, {conflict.length} bytes: "
        f"first {_shown(conflict.first, conflict.length)}, "
        f"then {_shown(conflict.other, conflict.length)}"
    )
    return encode.violation(CODE, SOURCES[CODE], detail, side)


def _shown(data: bytes, length: int) -> str:
    """Printable ASCII as it is, the rest escaped as in Python."""
    text = repr(data)[1:]
    return text + "…" if len(data) < length else text
