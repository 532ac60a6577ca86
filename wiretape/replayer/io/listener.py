"""Loopback listeners that stand for the recorded upstreams: one for each name of an upstream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import time_ns
from typing import cast

from wiretape.exchange.http1 import MessageParser
from wiretape.exchange.v1.exchange_pb2 import HttpRequest, HttpResponse
from wiretape.replayer.mocks import Mocks

_LOOPBACK = "127.0.0.1"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class _Upstream(asyncio.Protocol):
    """One connection that the build opened to an upstream."""

    def __init__(
        self,
        name: str,
        mocks: Mocks,
        place: Callable[[], int],
        open_: set[asyncio.Transport],
    ) -> None:
        self._open = open_
        self._name = name
        self._mocks = mocks
        self._place = place
        self._parser = MessageParser.requests()
        self._transport: asyncio.Transport | None = None
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop has transports of its own, outside asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)
        self._open.add(self._transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        if self._ended:
            return
        at_ns = time_ns()
        if self._serve(self._parser.receive_data(data, at_ns), at_ns):
            return
        if (why := self._parser.failed) is not None:
            self._ended = True
            self._mocks.refuse(self._name, f"what came is not HTTP/1: {why}", self._place())
            self._transport.close()
        elif self._parser.in_message and data.endswith(b"\r\n\r\n") and _waits(data):
            self._transport.write(_CONTINUE)

    def _serve(self, messages: Sequence[HttpRequest | HttpResponse], at_ns: int) -> bool:
        """Answer each; True where that ended the connection."""
        assert self._transport is not None
        for message in messages:
            assert isinstance(message, HttpRequest)
            answer = self._mocks.answer(self._name, message, self._place(), at_ns)
            self._transport.write(answer.wire)
            if answer.close:
                self._ended = True
                self._transport.close()
                return True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        assert self._transport is not None
        self._open.discard(self._transport)

    def eof_received(self) -> bool:
        if not self._ended and self._parser.in_message:
            at_ns = time_ns()
            self._serve(self._parser.receive_eof(at_ns), at_ns)
        return False


def _waits(head: bytes) -> bool:
    """The client sends its content only after 100 (Continue) (RFC 9110 §10.1.1)."""
    return b"\nexpect: 100-continue" in head.lower()


class Listeners:
    """Listens for as many upstreams as the build is told of."""

    def __init__(self) -> None:
        self._servers: list[asyncio.Server] = []
        self._open: set[asyncio.Transport] = set()

    async def listen(self, name: str, mocks: Mocks, place: Callable[[], int]) -> int:
        """Start to stand for upstream `name`; `place` tells which exchange is in flight.

        Returns the port on 127.0.0.1.
        """
        server = await asyncio.get_running_loop().create_server(
            lambda: _Upstream(name, mocks, place, self._open), _LOOPBACK, 0
        )
        self._servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    def close(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()
        for transport in tuple(self._open):
            transport.abort()
