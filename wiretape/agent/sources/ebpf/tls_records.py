"""What ciphertext tells without a key: where records end, and what the hellos say (RFC 8446)."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

HANDSHAKE, APPLICATION_DATA = 22, 23
_KINDS = range(20, 25)
_HEADER_BYTES = 5
_MAX_RECORD_BYTES = (1 << 14) + 2048
"""RFC 5246 §6.2.3."""
_MAX_HELLO_BYTES = 1 << 14
_CLIENT_HELLO, _SERVER_HELLO = 1, 2
_SERVER_NAME, _ALPN, _SUPPORTED_VERSIONS = 0, 16, 43
_VERSIONS = {0x0301: "1.0", 0x0302: "1.1", 0x0303: "1.2", 0x0304: "1.3"}

OVERHEADS = {"1.3": (17, 9), "1.2": (24, 16)}
"""Bytes that a record is longer than what it carries, its header not counted: of TLS 1.3 a type and
a tag (RFC 8446 §5.2), of TLS 1.2 nonce and tag (RFC 5288 §3, RFC 7905 §2)."""
_ANY_OVERHEADS = (17, 24, 16, 9)


class Records:
    """One direction of a stream, cut into records."""

    def __init__(self) -> None:
        self.is_broken = False
        """These are no records, or some were not seen."""
        self.messages = bytearray()
        """Handshake messages in the clear, from the first on."""
        self._is_clear = True
        self._header = b""
        self._kind = 0
        self._length = 0
        self._left = 0

    def feed(self, data: memoryview) -> list[int]:
        """Takes what follows; the lengths of records with application data that ended in it."""
        ended: list[int] = []
        at, end = 0, len(data)
        while at < end and not self.is_broken:
            if not self._left:
                need = _HEADER_BYTES - len(self._header)
                self._header += bytes(data[at : at + need])
                at += need
                if len(self._header) == _HEADER_BYTES:
                    self._begin()
                continue
            size = min(self._left, end - at)
            if self._kind == HANDSHAKE and self._is_clear:
                self.messages += data[at : at + size]
                self._is_clear = len(self.messages) < _MAX_HELLO_BYTES
            at += size
            self._left -= size
            if not self._left and self._kind == APPLICATION_DATA:
                ended.append(self._length)
        return ended

    def lose(self) -> None:
        """Some bytes were not seen."""
        self.is_broken = True

    def begin_again(self) -> None:
        """A record may begin with what comes next."""
        self.is_broken, self._is_clear = False, False
        self._header, self._left = b"", 0

    def _begin(self) -> None:
        kind, major, self._length = struct.unpack(">BBxH", self._header)
        self._header = b""
        self._kind, self._left = kind, self._length
        self._is_clear = self._is_clear and kind == HANDSHAKE
        if kind not in _KINDS or major != 3 or not 0 < self._length <= _MAX_RECORD_BYTES:
            self.is_broken = True


@dataclass(frozen=True)
class Tls:
    """What a handshake says in the clear; empty where it does not, or was not seen."""

    server_name: bytes = b""
    alpn: bytes = b""
    """What the server chose: TLS 1.3 does not show it."""
    version: str = ""

    @property
    def overheads(self) -> Sequence[int]:
        return OVERHEADS.get(self.version, _ANY_OVERHEADS)


def tls_of(one: bytes, other: bytes) -> Tls:
    """`one` and `other` are the handshake messages of both directions, in whichever order."""
    client, server = _Hello(), _Hello()
    for messages in (one, other):
        if messages[:1] == bytes([_CLIENT_HELLO]):
            client = _hello(messages, is_client=True)
        elif messages[:1] == bytes([_SERVER_HELLO]):
            server = _hello(messages, is_client=False)
    name = client.extensions.get(_SERVER_NAME, b"")
    alpn = server.extensions.get(_ALPN, b"")
    version = server.extensions.get(_SUPPORTED_VERSIONS, server.version)
    return Tls(
        # RFC 6066 §3: a list of names, of which there is one, of a kind of one byte
        server_name=_vector(name[3:], 2),
        # RFC 7301 §3.1: a list of one
        alpn=_vector(alpn[2:], 1),
        version=_VERSIONS.get(int.from_bytes(version, "big"), ""),
    )


@dataclass
class _Hello:
    version: bytes = b""
    extensions: dict[int, bytes] = field(default_factory=dict)


def _hello(messages: bytes, is_client: bool) -> _Hello:
    """RFC 8446 §4.1.2 and §4.1.3, as far as it is there."""
    body = _vector(messages[1:], 3)
    hello = _Hello(version=body[:2])
    at = 2 + 32
    at += 1 + len(_vector(body[at:], 1))
    if is_client:
        at += 2 + len(_vector(body[at:], 2))
        at += 1 + len(_vector(body[at:], 1))
    else:
        at += 2 + 1
    extensions = _vector(body[at:], 2)
    at = 0
    while at + 4 <= len(extensions):
        kind = int.from_bytes(extensions[at : at + 2], "big")
        value = _vector(extensions[at + 2 :], 2)
        hello.extensions.setdefault(kind, value)
        at += 4 + len(value)
    return hello


def _vector(data: bytes, size: int) -> bytes:
    """What follows a length of so many bytes."""
    length = int.from_bytes(data[:size], "big")
    return bytes(data[size : size + length])


def fits(lengths: Sequence[int], plaintext: int, overheads: Sequence[int]) -> bool:
    """Whether records that follow on each other, of these lengths, carry just so much plaintext."""
    for overhead in overheads:
        first, carried = 0, 0
        for last, length in enumerate(lengths):
            carried += length - overhead
            while carried > plaintext and first <= last:
                carried -= lengths[first] - overhead
                first += 1
            if carried == plaintext and first <= last:
                return True
    return False
