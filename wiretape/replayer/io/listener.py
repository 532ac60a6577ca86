"""Loopback listeners that stand for the recorded upstreams: one for each name of an upstream."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from time import time_ns
from typing import cast

from wiretape.exchange.http1 import MessageParser
from wiretape.exchange.v1.exchange_pb2 import HttpRequest, HttpResponse
from wiretape.replayer.mocks import Answer, Mocks

_LOOPBACK = "127.0.0.1"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# How many requests are known by their bytes, and how long these may be.
_MAX_KNOWN = 2048
_MAX_KNOWN_BYTES = 4096
# What was written before a reset has to be read before it, or is lost.
_BEFORE_RESET_NS = 50 * 10**6

# Asks the real upstream: its name and the request; what to write back, and whether to close then.
PassOn = Callable[[str, HttpRequest], Awaitable[tuple[bytes, bool]]]


class UpstreamProtocol(asyncio.Protocol):
    """One connection that the build opened to an upstream."""

    def __init__(self, name: str, listeners: Listeners) -> None:
        self._name = name
        self._mocks = listeners.mocks
        self._listeners = listeners
        self._parser = MessageParser.requests()
        self._transport: asyncio.Transport | None = None
        self._asked: deque[tuple[HttpRequest, int]] = deque()
        # An answer is on its way; those after it wait.
        self._busy = False
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop has transports of its own, outside asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)
        self._listeners.open.add(self._transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        if self._ended:
            return
        # Builds ask the same again and again: what was read once need not be parsed anew.
        idle = not self._parser.in_message
        if idle and (known := self._listeners.known.get(data)) is not None:
            self._take([known])
            return
        messages = self._parser.receive_data(data, time_ns())
        if idle and len(messages) == 1 and not self._parser.in_message:
            self._listeners.learn(data, messages[0])
        if self._take(messages):
            return
        if (why := self._parser.failed) is not None:
            self._ended = True
            self._mocks.refuse(self._name, f"what came is not HTTP/1: {why}")
            self._transport.close()
        elif self._parser.in_message and data.endswith(b"\r\n\r\n") and _waits(data):
            self._transport.write(_CONTINUE)

    def eof_received(self) -> bool:
        if not self._ended and self._parser.in_message:
            self._take(self._parser.receive_eof(time_ns()))
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        assert self._transport is not None
        self._ended = True
        self._listeners.open.discard(self._transport)

    def _take(self, messages: Sequence[HttpRequest | HttpResponse]) -> bool:
        """Answer each in its turn; True where that ended the connection."""
        for message in messages:
            assert isinstance(message, HttpRequest)
            self._asked.append((message, time_ns()))
        self._answer_next()
        return self._ended

    def _answer_next(self) -> None:
        while self._asked and not self._busy and not self._ended:
            request, at_ns = self._asked.popleft()
            answer = self._mocks.answer(self._name, request, at_ns)
            if answer.miss is not None and self._listeners.pass_on is not None:
                self._busy = True
                self._listeners.begin(self._pass_on(request, answer, self._listeners.pass_on))
            elif answer.wait_ns:
                self._busy = True
                self._later(answer.wait_ns, partial(self._write_late, answer))
            else:
                self._write(answer)

    async def _pass_on(self, request: HttpRequest, answer: Answer, pass_on: PassOn) -> None:
        assert answer.miss is not None
        try:
            wire, close = await pass_on(answer.miss.name, request)
        except OSError as error:
            answer.miss.reason += f"; it could not be passed on: {error}"
        else:
            answer.miss.passed_on = True
            answer = Answer(wire, close)
        self._write_late(answer)

    def _write_late(self, answer: Answer) -> None:
        self._busy = False
        if not self._ended:
            self._write(answer)
            self._answer_next()

    def _write(self, answer: Answer) -> None:
        assert self._transport is not None
        if answer.wire:
            self._transport.write(answer.wire)
        if not answer.close:
            return
        self._ended = True
        hold_ns = answer.hold_ns
        if answer.reset and answer.wire:
            hold_ns = max(hold_ns, _BEFORE_RESET_NS)
        if hold_ns:
            self._later(hold_ns, lambda: self._end(answer.reset))
        else:
            self._end(answer.reset)

    def _later(self, after_ns: int, then: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(after_ns / 1e9, then)

    def _end(self, reset: bool) -> None:
        assert self._transport is not None
        if self._transport.is_closing():
            return  # the build did not wait for it
        if not reset:
            self._transport.close()
            return
        # With no time to linger, closing is a reset.
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()


def _waits(head: bytes) -> bool:
    """The client sends its content only after 100 (Continue) (RFC 9110 §10.1.1)."""
    return b"\nexpect: 100-continue" in head.lower()


class Listeners:
    """Listens for as many upstreams as the build is told of.

    `pass_on`: who is asked where the recording has no answer; nobody without it.
    """

    def __init__(self, mocks: Mocks, pass_on: PassOn | None = None) -> None:
        self.mocks = mocks
        self.pass_on = pass_on
        self.open: set[asyncio.Transport] = set()
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.known: dict[bytes, HttpRequest | HttpResponse] = {}
        """Requests by the bytes that they came in."""

    def learn(self, data: bytes, request: HttpRequest | HttpResponse) -> None:
        """`data` is this request and nothing more."""
        if len(data) <= _MAX_KNOWN_BYTES and request.content.complete:
            self.known[data] = request
            if len(self.known) > _MAX_KNOWN:
                del self.known[next(iter(self.known))]

    def protocol(self, name: str) -> UpstreamProtocol:
        """For a new connection to upstream `name`; "" where the request says which one."""
        return UpstreamProtocol(name, self)

    async def listen(self, name: str, host: str = _LOOPBACK, port: int = 0) -> int:
        """Start to stand for upstream `name`; the port. Raises OSError."""
        server = await asyncio.get_running_loop().create_server(
            lambda: self.protocol(name), host, port
        )
        self._servers.append(server)
        found: int = server.sockets[0].getsockname()[1]
        return found

    def begin(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for server in self._servers:
            server.close()
        self._servers.clear()
        for transport in tuple(self.open):
            transport.abort()
