"""The build is told of a proxy by the usual variables, as far as it heeds them (RFC 9110 §3.7).

Requests come in absolute-form, or behind CONNECT, where TLS ends with us.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from time import time_ns
from typing import cast

from wiretape.exchange.endpoints import endpoint_text
from wiretape.exchange.http1 import MessageParser, write_request
from wiretape.exchange.v1.exchange_pb2 import HttpRequest
from wiretape.replayer.io.intercept.attempts import Attempt
from wiretape.replayer.io.intercept.interception import LOOPBACK, Interception
from wiretape.replayer.io.intercept.names import split
from wiretape.replayer.io.intercept.relay import relay
from wiretape.replayer.io.supervisor.client import Supervisor, readable

_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_MAX_HEAD_BYTES = 64 << 10
_ESTABLISHED = b"HTTP/1.1 200 Connection Established\r\n\r\n"
_REFUSED = "HTTP/1.1 502 Not Recorded\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_CONNECT = b"CONNECT "
_FOR_THE_PROXY = (b"proxy-connection", b"proxy-authorization")


class ProxyInterception(Interception):
    """One listener for all upstreams."""

    mode = "proxy"

    async def open(self) -> None:
        self._trust_us()
        self.supervisor = await Supervisor.start()
        with await self.hold(split(self.setting.target)[1] if self.setting.target else 0):
            sock = await self.local_socket((LOOPBACK, 0))
        sock.listen(128)
        port = sock.getsockname()[1]
        self.accept(sock, self._begin)
        self._tell(port)
        self._listeners: dict[int, str] = {}
        self._known = {upstream.name for upstream in self.setting.upstreams}

    def _tell(self, port: int) -> None:
        url = f"http://{LOOPBACK}:{port}"
        host, target = split(self.setting.target) if self.setting.target else (LOOPBACK, 0)
        direct = f"localhost:{target},{LOOPBACK}:{target}"
        if ":" in host:
            # In brackets, or with a port, clients exist that do not start (httpx).
            direct += f",{host}"
        for name in _VARIABLES:
            self.environment[name] = self.environment[name.lower()] = url
        self.environment["NO_PROXY"] = self.environment["no_proxy"] = direct
        self.environment["NODE_USE_ENV_PROXY"] = "1"
        options = " ".join(
            f"-D{scheme}.proxyHost={LOOPBACK} -D{scheme}.proxyPort={port}"
            for scheme in ("http", "https")
        )
        java = self.environment.get("JAVA_TOOL_OPTIONS", os.environ.get("JAVA_TOOL_OPTIONS", ""))
        self.environment["JAVA_TOOL_OPTIONS"] = f"{java} {options} -Dhttp.nonProxyHosts=".lstrip()

    async def listen(self, name: str) -> int:
        port = await super().listen(name)
        # A build that is told of a mock may ask it through the proxy.
        self._listeners[port] = name
        return port

    def named(self, host: str, port: int) -> str | None:
        """The upstream, or the allowed host, that is called so; None for what is refused."""
        name = endpoint_text(host, port).lower()
        if host in (LOOPBACK, "localhost") and port in self._listeners:
            return self._listeners[port]
        if name in self._known or name in self.setting.allowed or name == self.setting.target:
            return name
        return self.names.listeners.get((host, port))

    def refuse(self, host: str, port: int) -> bytes:
        """Take note, and say so."""
        what = endpoint_text(host, port)
        self._unknown.add(Attempt("tcp", what))
        said = f"wiretape: nothing at {what} was recorded\n"
        return _REFUSED.format(len(said.encode()), said).encode()

    def passes(self, name: str) -> bool:
        """Whether it is passed on; noted, but for the build itself."""
        if name in self.setting.allowed:
            self.passed.add(name)
        return name in self.setting.allowed or name == self.setting.target

    async def _begin(self, sock: socket.socket) -> None:
        """One connection to the proxy."""
        try:
            await readable(sock.fileno())
            first = sock.recv(len(_CONNECT), socket.MSG_PEEK)
            if first == _CONNECT:
                await self._tunnel(sock)
            else:
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: _Requests(self, self.setting.protocol), sock
                )
        except OSError:
            sock.close()

    async def _tunnel(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        head = b""
        while b"\r\n\r\n" not in head and len(head) < _MAX_HEAD_BYTES:
            data = await loop.sock_recv(sock, 4096)
            if not data:
                break
            head += data
        try:
            host, port = split(head.split(b" ", 2)[1].decode("latin-1"))
        except (ValueError, IndexError):
            sock.close()
            return
        name = self.named(host, port)
        if name is None:
            await loop.sock_sendall(sock, self.refuse(host, port))
            sock.close()
            return
        await loop.sock_sendall(sock, _ESTABLISHED)
        if self.passes(name):
            await relay(sock, host, port)
        elif name in self.names.tls:
            await self.either(sock, name)
        else:
            await loop.connect_accepted_socket(lambda: self.setting.protocol(name), sock)


class _Requests(asyncio.Protocol):
    """Requests in absolute-form; each goes to what answers for its upstream, on this connection."""

    def __init__(
        self, proxy: ProxyInterception, protocol: Callable[[str], asyncio.Protocol]
    ) -> None:
        self._proxy = proxy
        self._protocol = protocol
        self._parser = MessageParser.requests()
        self._behind: dict[str, asyncio.Protocol] = {}
        self._passing: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop has transports of its own, outside asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        for message in self._parser.receive_data(data, time_ns()):
            assert isinstance(message, HttpRequest)
            self._request(message)
        if self._parser.failed is not None:
            self._transport.close()
        elif self._parser.in_message and data.endswith(b"\r\n\r\n") and _waits(data):
            self._transport.write(_CONTINUE)

    def _request(self, request: HttpRequest) -> None:
        where = _authority(request)
        if where is None:
            self._end(_REFUSED.format(0, "").encode())
            return
        name = self._proxy.named(*where)
        if name is None:
            self._end(self._proxy.refuse(*where))
            return
        kept = [f for f in request.fields if f.name.lower() not in _FOR_THE_PROXY]
        if len(kept) < len(request.fields):
            copies = [(f.name, f.value) for f in kept]
            del request.fields[:]
            for field, value in copies:
                request.fields.add(name=field, value=value)
        if self._proxy.passes(name):
            task = asyncio.ensure_future(self._pass_on(request, *where))
            self._passing.add(task)
            task.add_done_callback(self._passing.discard)
            return
        if name not in self._behind:
            self._behind[name] = self._protocol(name)
            self._behind[name].connection_made(self._transport)
        self._behind[name].data_received(write_request(request))

    async def _pass_on(self, request: HttpRequest, host: str, port: int) -> None:
        """In origin-form, for one response, whose end closes the connection."""
        request.target = (
            b"/" + request.target.split(b"/", 3)[3] if request.target.count(b"/") > 2 else b"/"
        )
        request.fields.add(name=b"Connection", value=b"close")
        request.head = b""
        try:
            reader, writer = await asyncio.open_connection(host, port)
        except OSError:
            self._end(_REFUSED.format(0, "").encode())
            return
        with contextlib.closing(writer), contextlib.suppress(OSError):
            writer.write(write_request(request))
            while data := await reader.read(1 << 16):
                self._transport.write(data)
        self._transport.close()

    def _end(self, said: bytes) -> None:
        self._transport.write(said)
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        for task in self._passing:
            task.cancel()
        for behind in self._behind.values():
            behind.connection_lost(exc)


def _authority(request: HttpRequest) -> tuple[str, int] | None:
    """Host and port of a target in absolute-form; None for any other."""
    scheme, marker, rest = request.target.decode("latin-1").partition("://")
    if not marker or scheme.lower() not in ("http", "https"):
        return None
    authority = rest.partition("/")[0].partition("?")[0].rpartition("@")[2]
    has_port = ":" in authority.rpartition("]")[2]
    default = 443 if scheme.lower() == "https" else 80
    try:
        return split(authority if has_port else f"{authority}:{default}")
    except ValueError:
        return None


def _waits(head: bytes) -> bool:
    """The client sends its content only after 100 (Continue) (RFC 9110 §10.1.1)."""
    return b"\nexpect: 100-continue" in head.lower()
