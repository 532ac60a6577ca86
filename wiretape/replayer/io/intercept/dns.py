"""The name server of the build's world: recorded names, and no others (RFC 1035)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address

_HEADER = struct.Struct("!6H")
_A, _AAAA, _PTR = 1, 28, 12
_INTERNET = 1
_RESPONSE, _AUTHORITATIVE, _RECURSION_DESIRED, _RECURSION_AVAILABLE = 0x8000, 0x400, 0x100, 0x80
_FORMAT_ERROR, _NO_SUCH_NAME, _NOT_IMPLEMENTED = 1, 3, 4
_SECONDS_TO_LIVE = 60
_MAX_DATAGRAM_BYTES = 4096
_MAX_UDP_ANSWER_BYTES = 512
_TRUNCATED = 0x200
_IPV6_PKTINFO = 50
_IP_PKTINFO = 8

Unknown = Callable[[str], None]
"""Is told each name that was asked for and is not recorded."""


def answer(query: bytes, addresses: Mapping[str, Sequence[str]], unknown: Unknown) -> bytes | None:
    """The response to a query; None where it is none.

    Every name has only addresses: a question for anything else gets an answer without records.
    """
    try:
        number, flags, questions, _, _, _ = _HEADER.unpack_from(query)
        name, end = _name(query, _HEADER.size)
        kind, of = struct.unpack_from("!HH", query, end)
    except (struct.error, ValueError):
        return _refusal(query, _FORMAT_ERROR)
    if flags & _RESPONSE:
        return None
    if flags >> 11 & 15 or questions != 1:
        return _refusal(query, _NOT_IMPLEMENTED)
    known = addresses.get(name)
    code = 0
    if known is None:
        code = _NO_SUCH_NAME
        if kind != _PTR:
            unknown(name)
    wanted = {_A: 4, _AAAA: 6}.get(kind)
    records = [
        struct.pack("!HHHIH", 0xC000 | _HEADER.size, kind, _INTERNET, _SECONDS_TO_LIVE, len(packed))
        + packed
        for address in map(ip_address, known or ())
        if address.version == wanted and of == _INTERNET
        for packed in [address.packed]
    ]
    flags = _RESPONSE | _AUTHORITATIVE | _RECURSION_AVAILABLE | flags & _RECURSION_DESIRED | code
    head = _HEADER.pack(number, flags, 1, len(records), 0, 0)
    return head + query[_HEADER.size : end + 4] + b"".join(records)


def _name(message: bytes, at: int) -> tuple[str, int]:
    labels = []
    while length := message[at] if at < len(message) else 64:
        if length > 63:
            raise ValueError("no name")
        labels.append(message[at + 1 : at + 1 + length])
        at += 1 + length
    return b".".join(labels).decode("latin-1").lower(), at + 1


def _refusal(query: bytes, code: int) -> bytes | None:
    if len(query) < _HEADER.size:
        return None
    number, flags = struct.unpack_from("!HH", query)
    return _HEADER.pack(number, _RESPONSE | flags & 0x7900 | code, 0, 0, 0, 0)


class NameServer:
    """Answers on the sockets that it is given, for whichever of its addresses was asked."""

    def __init__(self, addresses: Mapping[str, Sequence[str]], unknown: Unknown) -> None:
        self._addresses = addresses
        self._unknown = unknown
        self._sockets: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []

    def serve_datagrams(self, sock: socket.socket) -> None:
        """On a UDP socket that tells to which address a datagram came, if it has several."""
        self._sockets.append(sock)
        asyncio.get_running_loop().add_reader(sock.fileno(), self._datagram, sock)

    async def serve_streams(self, sock: socket.socket) -> None:
        """On a TCP socket."""
        loop = asyncio.get_running_loop()
        self._servers.append(await loop.create_server(lambda: _Stream(self._answer), sock=sock))

    def _datagram(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            query, told, _, sender = sock.recvmsg(_MAX_DATAGRAM_BYTES, 256)
            said = self._answer(query)
            if said is None:
                return
            if len(said) > _MAX_UDP_ANSWER_BYTES:
                number, flags, *_ = _HEADER.unpack_from(said)
                said = _HEADER.pack(number, flags | _TRUNCATED, 0, 0, 0, 0)
            # The same information, sent along, makes the address that was asked the sender's.
            from_ = [
                (level, kind, data if kind == _IPV6_PKTINFO else bytes(4) + data[8:12] + bytes(4))
                for level, kind, data in told
                if (level, kind)
                in ((socket.IPPROTO_IPV6, _IPV6_PKTINFO), (socket.IPPROTO_IP, _IP_PKTINFO))
            ]
            sock.sendmsg([said], from_, 0, sender)

    def _answer(self, query: bytes) -> bytes | None:
        return answer(query, self._addresses, self._unknown)

    def close(self) -> None:
        for sock in self._sockets:
            asyncio.get_running_loop().remove_reader(sock.fileno())
            sock.close()
        for server in self._servers:
            server.close()


class _Stream(asyncio.Protocol):
    """Each message behind its length, in two bytes (RFC 1035 §4.2.2)."""

    def __init__(self, answer: Callable[[bytes], bytes | None]) -> None:
        self._say = answer
        self._received = bytearray()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._received += data
        while len(self._received) >= 2:
            length = int.from_bytes(self._received[:2], "big")
            if len(self._received) < 2 + length:
                return
            said = self._say(bytes(self._received[2 : 2 + length]))
            del self._received[: 2 + length]
            if said is not None:
                self._transport.write(len(said).to_bytes(2, "big") + said)
