"""Drives requests at the target, on connections like those recorded."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from time import time_ns
from typing import cast

from wiretape.exchange.http1 import MessageParser
from wiretape.exchange.v1.exchange_pb2 import HttpRequest, HttpResponse
from wiretape.replayer.compare.awaited import Awaited, Near
from wiretape.replayer.config import Target
from wiretape.replayer.mocks.names import closes

# Methods that may be sent again on a new connection without asking (RFC 9110 §9.2.2).
_IDEMPOTENT = frozenset(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"])
_CONNECT_TIMEOUT_S = 10.0
# How long the first kept connection is watched for an end that nothing announced.
_WATCH_S = 0.01
# How long what wrongly follows a response to HEAD may take to come.
_AFTER_HEAD_S = 0.001
_IDLE = (b"HTTP/1.1 408", b"HTTP/1.0 408")
_DROPPED = "the connection was closed without a response"


# Makes a connected socket to a host and port; None says that any way will do. Raises OSError.
Connect = Callable[[str, int], Awaitable[socket.socket | None]]

# The response that is awaited, where it can be told from others by its bytes.
AskAwaited = Callable[[], Awaited | None]


class TargetGoneError(Exception):
    """No connection to the target can be made any more."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(why)
        self.what = what


@dataclass(slots=True)
class Answer:
    """What the target made of one request; times in ns since the epoch.

    `equal` says that it sent the awaited bytes exactly, `near` is a whole response that is nearly
    so; neither was read. Otherwise there is a `response`, or `problem` says why there is none.
    `after_surplus`: the response before it on its connection went on after its end.
    """

    sent_at_ns: int
    done_at_ns: int
    equal: bool = False
    near: Near | None = None
    response: HttpResponse | None = None
    interim: list[HttpResponse] = field(default_factory=list)
    problem: str | None = None
    after_surplus: bool = False

    @property
    def whole(self) -> bool:
        """A response came, to its end."""
        if self.equal or self.near is not None:
            return True
        return self.response is not None and self.response.content.complete


class _Connection(asyncio.Protocol):
    """One connection to the target with at most one exchange in flight."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.closed = False
        self.used = False
        # The target ended it between two exchanges without having said so.
        self.left = False
        # Bytes came that nobody asked for: what follows could not be told apart.
        self.surplus = False
        self._parser = MessageParser.responses()
        self._waiter: asyncio.Future[Answer] | None = None
        self._answer = Answer(0, 0)
        self._method = ""
        self._after_head = False
        self._awaited: Awaited | None = None
        self._matched = 0
        self._begun = b""
        """What came of a response that may yet be near the awaited one."""
        self.deadline_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop has transports of its own, outside asyncio's classes.
        self.transport = cast(asyncio.Transport, transport)

    def ask(
        self,
        wire: bytes,
        method: str,
        awaited: AskAwaited | None,
        waiter: asyncio.Future[Answer],
    ) -> None:
        """Write a request; a response that is the awaited one, or near it, is not parsed."""
        assert self.transport is not None
        self._after_head = self._method == "HEAD"
        self._waiter, self._method = waiter, method
        self._matched, self._begun = 0, b""
        self._answer = Answer(time_ns(), 0)
        self.transport.write(wire)
        # While the target works.
        self._awaited = awaited() if awaited is not None else None
        if self._awaited is None:
            self._parser.expect(method)

    def data_received(self, data: bytes) -> None:
        if self._waiter is None:
            # That an idle connection ends is often told so (RFC 9110 §15.5.9).
            self.surplus = not data.startswith(_IDLE)
            self.close()
            return
        if self._awaited is not None:
            wire = self._awaited.wire
            if not self._begun and wire.startswith(data, self._matched):
                self._matched += len(data)
                if self._matched == len(wire):
                    self._answer.equal = True
                    self._finish()
                return
            data = (self._begun or wire[: self._matched]) + data
            if (near := self._awaited.near(data)) is not None:
                self._answer.near = near
                self._finish()
                return
            if self._awaited.is_begun(data):
                self._begun = data
                return
            self._awaited = None
            self._parser.expect(self._method)
        self._read(self._parser.receive_data(data, time_ns()))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiter is None:
            self.left = not self.closed
            self.closed = True
            return
        self.closed = True
        if self._awaited is not None:
            # The start of a response, and no more of it.
            begun, self._awaited = self._begun or self._awaited.wire[: self._matched], None
            self._parser.expect(self._method)
            self._read(self._parser.receive_data(begun, time_ns()))
        if self._waiter is not None:
            self._read(self._parser.receive_eof(time_ns()))
        if self._waiter is not None:
            self._give_up(_DROPPED)

    def _read(self, messages: Sequence[HttpRequest | HttpResponse]) -> None:
        for message in messages:
            assert isinstance(message, HttpResponse)
            if 100 <= message.status < 200 and message.status != 101:
                self._answer.interim.append(message)
                continue
            self._answer.response = message
            ends = closes(message) or message.status == 101
            self.surplus = not ends and (self._parser.in_message or self._parser.failed is not None)
            if ends or self.surplus:
                self.close()
            self._finish()
            return
        if self._waiter is not None and (why := self._parser.failed) is not None:
            self.close()
            # Some servers send content for HEAD: then what came is the end of that.
            self._give_up(_DROPPED if self._after_head else f"what came is not HTTP/1: {why}")

    def timed_out(self, after: str) -> None:
        if self._waiter is not None:
            self.close()
            self._give_up(f"no {'complete ' if self.heard else ''}response within {after}")

    def _give_up(self, problem: str) -> None:
        self._answer.problem = problem
        self._finish()

    def _finish(self) -> None:
        waiter, self._waiter = self._waiter, None
        self._answer.done_at_ns = time_ns()
        if waiter is not None and not waiter.done():
            waiter.set_result(self._answer)

    @property
    def heard(self) -> bool:
        """A part of a response has come."""
        return bool(self._matched or self._begun) or self._parser.in_message

    @property
    def has_content(self) -> bool:
        """Whether the last response is one that can have a content."""
        status = b""
        if self._answer.response is not None:
            status = b"%d" % self._answer.response.status
        elif self._awaited is not None:
            status = self._awaited.lines[0][9:12]
        return self._method != "HEAD" and status not in (b"204", b"304")

    def close(self) -> None:
        self.closed = True
        if self.transport is not None:
            self.transport.abort()


class Client:
    """The recorded client's side: a connection for each recorded one, kept open as recorded."""

    def __init__(
        self,
        target: Target,
        timeout_ns: int,
        tls: ssl.SSLContext | None = None,
        connect: Connect | None = None,
    ) -> None:
        """`tls`: how a target by https is verified; without it, it is not. `connect` makes the
        sockets, where the target is not in our network."""
        self._target = target
        self._timeout_s = timeout_ns / 1e9
        self._tls = tls or _tls_of(target)
        self._connect = connect
        self._connections: dict[str, _Connection] = {}
        self._busy: set[_Connection] = set()
        self._timer: asyncio.TimerHandle | None = None
        # Whether the target keeps connections open between exchanges; None until it was seen.
        self._keeps: bool | None = None

    async def exchange(
        self,
        connection_id: str,
        wire: bytes,
        method: str,
        awaited: AskAwaited | None,
        last: bool,
    ) -> Answer:
        """Send `wire` and wait for its response; `last` closes the connection then. A response
        that is `awaited`, or near it, is not parsed; that is asked for when the request is sent.

        Raises TargetGoneError where no connection can be made.
        """
        connection = self._connections.get(connection_id)
        if connection is not None and method not in _IDEMPOTENT:
            await self._watch(connection)
        after_surplus = connection is not None and connection.surplus
        if connection is None or connection.closed:
            connection = await self._open(connection_id)
        reused = connection.used
        answer = await self._ask(connection, wire, method, awaited)
        if reused and answer.problem == _DROPPED and not connection.heard and method in _IDEMPOTENT:
            # A kept connection may end at any moment; only a new one shows what the build does.
            self._keeps = False
            with contextlib.suppress(TargetGoneError):
                connection = await self._open(connection_id)
                answer = await self._ask(connection, wire, method, awaited)
        elif reused and answer.problem is None:
            self._keeps = self._keeps is not False
        answer.after_surplus = after_surplus
        if last:
            self._connections.pop(connection_id).close()
        elif not connection.has_content:
            await asyncio.sleep(_AFTER_HEAD_S if method == "HEAD" else 0)
        return answer

    def is_ready(self, connection_id: str, method: str) -> bool:
        """Whether a request would be written at once."""
        connection = self._connections.get(connection_id)
        is_sure = method in _IDEMPOTENT or self._keeps
        return connection is not None and not connection.closed and bool(is_sure)

    async def _watch(self, connection: _Connection) -> None:
        """Before a request that must not be sent twice: is the kept connection still one?

        A target may end a connection at any moment (RFC 9112 §9.3), and one that does so after
        each response, without saying it, would swallow the request.
        """
        if self._keeps is None and not connection.closed:
            await asyncio.sleep(_WATCH_S)
        if connection.left:
            self._keeps = False
        if self._keeps is False and not connection.closed:
            connection.close()

    async def _ask(
        self,
        connection: _Connection,
        wire: bytes,
        method: str,
        awaited: AskAwaited | None,
    ) -> Answer:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Answer] = loop.create_future()
        connection.deadline_s = loop.time() + self._timeout_s
        self._busy.add(connection)
        # One timer for all of them: most requests are answered long before it goes off.
        if self._timer is None:
            self._timer = loop.call_at(connection.deadline_s, self._look_at_deadlines)
        connection.used = True
        try:
            connection.ask(wire, method, awaited, waiter)
            return await waiter
        finally:
            self._busy.discard(connection)

    def _look_at_deadlines(self) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        # The loop's clock may be coarser than ours.
        for connection in [each for each in self._busy if each.deadline_s <= now_s + 0.001]:
            connection.timed_out(f"{self._timeout_s:g} s (--timeout)")
            self._busy.discard(connection)
        first_s = min((each.deadline_s for each in self._busy), default=None)
        self._timer = None
        if first_s is not None:
            self._timer = loop.call_at(first_s, self._look_at_deadlines)

    async def _open(self, connection_id: str) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            host, port = self._target.host, self._target.port
            # Where many are wanted at once, each waits for its turn, which is nobody's fault.
            sock = await self._connect(host, port) if self._connect is not None else None
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                if sock is not None:
                    named = host if self._tls is not None else None
                    _, connection = await loop.create_connection(
                        _Connection, sock=sock, ssl=self._tls, server_hostname=named
                    )
                else:
                    _, connection = await loop.create_connection(
                        _Connection, host, port, ssl=self._tls
                    )
        except ssl.SSLError as error:
            raise TargetGoneError("speaks no TLS with us", error.reason or str(error)) from error
        except (OSError, TimeoutError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise TargetGoneError("accepts no connection any more", why or "no answer") from error
        self._connections[connection_id] = connection
        return connection

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()


def _tls_of(target: Target) -> ssl.SSLContext | None:
    """A build on this machine has whatever certificate it has: it is judged by what it answers."""
    if not target.tls:
        return None
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context


async def accepts(target: Target, connect: Connect | None = None) -> bool:
    """Whether something accepts connections there at this moment; `connect` as for Client."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            sock = await connect(target.host, target.port) if connect is not None else None
            if sock is not None:
                with sock:
                    return bool(sock.getsockname() != sock.getpeername())
            transport, _ = await loop.create_connection(asyncio.Protocol, target.host, target.port)
    except (OSError, TimeoutError):
        return False
    # Where nobody listens, a socket may by chance have got that port itself, and met itself.
    ends = [transport.get_extra_info(end) for end in ("sockname", "peername")]
    transport.abort()
    return bool(ends[0] != ends[1])


async def status_of(
    target: Target, path: str, timeout_ns: int, connect: Connect | None = None
) -> int | None:
    """The status that a GET of `path` gets; None where there is no response."""
    client = Client(target, timeout_ns, connect=connect)
    wire = f"GET {path} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n".encode()
    try:
        answer = await client.exchange("ready", wire, "GET", None, last=True)
    except TargetGoneError:
        return None
    finally:
        client.close()
    return answer.response.status if answer.response is not None else None
