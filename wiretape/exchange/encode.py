"""The hot writer of the wire format of `exchange.proto`.

The generated classes cost 13 µs an exchange, more than reading it from the wire. This file writes
the same bytes directly, fields in ascending order as the generated classes do; the property test in
`tests/exchange/test_encode.py` holds it equal to them. Everything here takes and returns wire
bytes; nothing else in the package knows a tag number.

Large contents are never joined: a message is a list of parts whose sizes add up, and the recording
joins them once, into its chunk.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from struct import Struct

from wiretape.exchange.records import EXCHANGES, Record

VARINT = tuple(
    bytes((n,)) if n < 0x80 else bytes((n & 0x7F | 0x80, n >> 7)) for n in range(1 << 14)
)
"""Encodings of 0 … 16383: nearly every length in HTTP traffic."""

TIMES = Struct("<BQBQ")
"""first_byte_at_ns and last_byte_at_ns with their tags, which follow on each other."""

Parts = list[bytes]


def varint(value: int) -> bytes:
    """`value` ≥ 0 as a base-128 varint."""
    if value < 1 << 14:
        return VARINT[value]
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def delimited(number: int, payload: bytes) -> bytes:
    """A length-delimited field (string, bytes, message); present even where `payload` is empty."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def text(number: int, value: bytes) -> bytes:
    """A string or bytes field, left out where empty as proto3 does."""
    return delimited(number, value) if value else b""


def number(field_number: int, value: int) -> bytes:
    """A varint field, left out where zero as proto3 does."""
    return varint(field_number << 3) + varint(value) if value else b""


def field(tag: bytes, name: bytes, value: bytes) -> bytes:
    """One entry of `repeated Field`; `tag` is the encoded tag of fields or trailers."""
    inner = text(1, name) + text(2, value)
    return tag + varint(len(inner)) + inner


REQUEST_FIELD, REQUEST_TRAILER = b"\x32", b"\x42"
RESPONSE_FIELD, RESPONSE_TRAILER = b"\x22", b"\x32"


def gap(offset: int, length: int, reason: int) -> bytes:
    return number(1, offset) + number(2, length) + number(3, reason)


def violation(code: str, source: str, detail: str, side: int) -> bytes:
    return (
        text(1, code.encode()) + text(2, source.encode()) + text(3, detail.encode())
        + number(4, side)
    )  # fmt: skip


def content(
    data: Sequence[bytes],
    length: int,
    framing: int,
    complete: bool,
    gaps: Iterable[tuple[int, int, int]] = (),
    chunk_lengths: Sequence[int] = (),
) -> tuple[Parts, int]:
    """A Content message as parts with their total size in bytes.

    `data` pieces are used as they are, not copied. `gaps` are (offset, length, reason).
    """
    kept = sum(map(len, data))
    parts: Parts = []
    if kept:
        parts.append(b"\x0a" + varint(kept))
        parts.extend(data)
    tail = number(2, length) + number(3, framing)
    for offset, missing, reason in gaps:
        tail += delimited(4, gap(offset, missing, reason))
    if complete:
        tail += b"\x28\x01"
    if len(chunk_lengths) > 1:
        tail += delimited(6, b"".join(map(varint, chunk_lengths)))
    parts.append(tail)
    return parts, sum(map(len, parts)) if len(parts) < 4 else kept + len(parts[0]) + len(tail)


def content_frame(length: int) -> tuple[bytes, bytes]:
    """What stands before and after the data of a Content that is complete and of a known length.

    -1 stands for a message that has no content at all.
    """
    if length < 0:
        return b"", b"\x28\x01"
    size = varint(length)
    return (b"\x0a" + size, b"\x10" + size + _FRAMED) if length else (b"", _FRAMED)


_FRAMED = b"\x18\x01\x28\x01"
"""The end of a Content that is complete: framing LENGTH, and that it is complete."""

REQUEST_FIRST_AT, RESPONSE_FIRST_AT = 9 << 3 | 1, 7 << 3 | 1


def times(first_at_tag: int, first_at_ns: int, last_at_ns: int) -> bytes:
    """first_byte_at_ns and last_byte_at_ns, whose tags follow on each other."""
    return TIMES.pack(first_at_tag, first_at_ns, first_at_tag + 8, last_at_ns)


@lru_cache(maxsize=1 << 12)
def endpoint(address: str, port: int) -> bytes:
    """An Endpoint message."""
    encoded = address.encode()
    if not encoded or not port:
        return text(1, encoded) + number(2, port)
    return b"\x0a%b%b\x10%b" % (varint(len(encoded)), encoded, varint(port))


def connection(
    ident: bytes,
    client: bytes,
    server: bytes,
    opened_at_ns: int,
    source: str,
    midstream: bool,
    vlans: Sequence[int],
    tunnels: Sequence[bytes] = (),
    about: bytes = b"",
) -> bytes:
    """A Connection message of encoded Endpoint and Tunnel messages; `about`: fields 6 and 7."""
    encoded = b"%b\x12%b%b\x1a%b%b%b%b%b%b" % (
        text(1, ident),
        varint(len(client)),
        client,
        varint(len(server)),
        server,
        b"\x21" + opened_at_ns.to_bytes(8, "little") if opened_at_ns else b"",
        text(5, source.encode()),
        about,
        b"\x40\x01" if midstream else b"",
    )
    if vlans:
        encoded += text(9, b"".join(map(varint, vlans)))
    return encoded + b"".join([delimited(10, each) for each in tunnels])


def about(pid: int, command: bytes, container: str) -> bytes:
    """Field 6 of Connection: the process that has its socket."""
    return delimited(6, number(1, pid) + text(2, command) + text(3, container.encode()))


def tls(server_name: bytes, alpn: bytes, version: str) -> bytes:
    """Field 7 of Connection, for one whose plaintext was seen."""
    return delimited(7, text(1, server_name) + text(2, alpn) + text(3, version.encode()))


def tunnel(kind: str, key: int, addresses: Sequence[str]) -> bytes:
    """A Tunnel message."""
    ends = [delimited(3, address.encode()) for address in addresses]
    return text(1, kind.encode()) + number(2, key) + b"".join(ends)


def half_ledger(counts: Sequence[int], undecoded_reason: str, conflicting_bytes: int = 0) -> bytes:
    """A HalfLedger; `counts` are its fields 1 to 9 in order."""
    encoded = b"".join([number(n, value) for n, value in enumerate(counts, 1) if value])
    return encoded + text(10, undecoded_reason.encode()) + number(11, conflicting_bytes)


def whole_half_ledger(size: int) -> bytes:
    """The HalfLedger of a side all of whose `size` > 0 bytes came in order, and in messages."""
    count = varint(size)
    return b"\x08%b\x10%b\x38%b" % (count, count, count)


def connection_end(
    ident: bytes,
    closed_at_ns: int,
    how: int,
    client: bytes,
    server: bytes,
    violations: Sequence[bytes] = (),
    drops: int = 0,
    client_closed_at_ns: int = 0,
) -> bytes:
    """A ConnectionEnd; `client` and `server` are encoded HalfLedgers, `violations` Violations."""
    encoded = b"%b%b%b\x22%b%b\x2a%b%b" % (
        text(1, ident),
        b"\x11" + closed_at_ns.to_bytes(8, "little") if closed_at_ns else b"",
        number(3, how),
        varint(len(client)),
        client,
        varint(len(server)),
        server,
    )
    encoded += b"".join([delimited(6, each) for each in violations])
    if drops:
        encoded += number(7, drops)
    if client_closed_at_ns:
        encoded += b"\x41" + client_closed_at_ns.to_bytes(8, "little")
    return encoded


def exchange(
    ident: bytes,
    connection_field: bytes,
    ordinal: int,
    role: int,
    request: tuple[Sequence[bytes], int] | None,
    interim: Sequence[tuple[Sequence[bytes], int]],
    response: tuple[Sequence[bytes], int] | None,
    violations: Sequence[bytes],
) -> tuple[tuple[bytes, ...], int]:
    """An Exchange as parts with their total size.

    `connection_field` is the whole field 2, tag included, made once for each connection. Messages
    are (parts, size) as their readers made them; `violations` are encoded Violation messages.
    """
    body: Parts = []
    size = 0
    if request is not None:
        tag = b"\x0a" + varint(request[1])
        body.append(tag)
        body.extend(request[0])
        size = len(tag) + request[1]
    for message, length in interim:
        tag = b"\x12" + varint(length)
        body.append(tag)
        body.extend(message)
        size += len(tag) + length
    if response is not None:
        tag = b"\x1a" + varint(response[1])
        body.append(tag)
        body.extend(response[0])
        size += len(tag) + response[1]
    for encoded in violations:
        piece = delimited(4, encoded)
        body.append(piece)
        size += len(piece)
    head = _exchange_head(ident, connection_field, ordinal, role) + varint(size)
    return (head, *body), size + len(head)


Answered = tuple[int, int, bytes, bytes]
"""A request and its response with nothing beside them: the packet that finished them, when they
began, and both messages, encoded."""


def answered_exchanges(
    ident: bytes, connection_field: bytes, role: int, ordinal: int, exchanges: Iterable[Answered]
) -> list[Record]:
    """What `exchange` gives for each of `exchanges`, as records.

    `ident` is that of the connection, `ordinal` of the first. All at once, for there are many.
    """
    records: list[Record] = []
    # All identifiers have a length that one byte holds, and so has its own: no varint is needed.
    before_ordinal = b"-" + ident + b"-"
    fixed = 16 + len(before_ordinal)
    role_field = _ROLES[role]
    small, limit = VARINT, len(VARINT)
    for number, (packet, first_at_ns, request, response) in enumerate(exchanges, ordinal):
        asked_size, answered_size = len(request), len(response)
        asked = small[asked_size] if asked_size < limit else varint(asked_size)
        answered = small[answered_size] if answered_size < limit else varint(answered_size)
        size = 2 + len(asked) + asked_size + len(answered) + answered_size
        digits = b"%d" % number
        head = b"\x0a%c%016x%b%b%b%b%b\x52%b\x0a%b" % (
            fixed + len(digits),
            first_at_ns,
            before_ordinal,
            digits,
            connection_field,
            b"\x18" + varint(number) if number else b"",
            role_field,
            small[size] if size < limit else varint(size),
            asked,
        )
        parts = head, request, b"\x1a" + answered, response
        records.append((packet, EXCHANGES, parts, len(head) - 1 - len(asked) + size, first_at_ns))
    return records


def exchange_ident(first_at_ns: int, connection: bytes, ordinal: int) -> bytes:
    """The identifier of an exchange; `connection` is that of its connection."""
    return b"%016x-%b-%d" % (first_at_ns, connection, ordinal)


def cause(ident: bytes, evidence: str) -> bytes:
    """Fields 5 and 6 of Exchange. It is known last, and fields may stand in any order."""
    return text(5, ident) + text(6, evidence.encode())


def head_size(request: bytes) -> int:
    """How many bytes of an encoded HttpRequest, or of its beginning, stand before its content."""
    at, size = 0, len(request)
    # All of them are delimited.
    while at < size and request[at] <= REQUEST_FIELD[0]:
        length = shift = 0
        while True:
            at += 1
            length |= (request[at] & 0x7F) << shift
            shift += 7
            if request[at] < 0x80:
                break
        at += 1 + length
    return at


def field_pattern(names: Iterable[bytes]) -> re.Pattern[bytes]:
    """For `named_fields`: fields that have one of `names`, in whatever case."""
    spelled = b"|".join(
        re.escape(bytes((len(name),))) + b"(?i:%b)" % re.escape(name) for name in names
    )
    return re.compile(rb"\x0a(%b)\x12([\x80-\xff]?[\x00-\x7f])" % spelled, re.DOTALL)


def named_fields(
    pattern: re.Pattern[bytes], request: bytes, size: int
) -> list[tuple[bytes, bytes]]:
    """Lower-case name and value of those fields in the first `size` bytes of an encoded
    HttpRequest."""
    fields = []
    at = 0
    while found := pattern.search(request, at, size):
        name, length = found.groups()
        begin = found.end()
        at = begin + (length[0] if len(length) == 1 else length[0] & 0x7F | length[1] << 7)
        fields.append((name[1:].lower(), request[begin:at]))
    return fields


def _exchange_head(ident: bytes, connection_field: bytes, ordinal: int, role: int) -> bytes:
    """The fields before the protocol's message, and its tag."""
    number = b"\x18" + varint(ordinal) if ordinal else b""
    side = _ROLES[role]
    return b"".join((b"\x0a", VARINT[len(ident)], ident, connection_field, number, side, b"\x52"))


_ROLES = b"", b"\x20\x01", b"\x20\x02"
