"""What all interceptions have in common; `none` is this and nothing more."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wiretape.replayer.io.intercept.attempts import Attempt
from wiretape.replayer.io.intercept.names import Names, Upstream, split
from wiretape.replayer.io.intercept.relay import relay
from wiretape.replayer.io.supervisor.client import Supervisor, readable

if TYPE_CHECKING:
    from wiretape.replayer.io.intercept.certificates import Authority

LOOPBACK = "127.0.0.1"
_TLS_HANDSHAKE = b"\x16"


class UnavailableError(Exception):
    """This host does not allow it: why, in a few words."""


@dataclass(frozen=True, slots=True)
class Setting:
    """`protocol` makes what answers a new connection to an upstream, by the name of that.

    `allowed` are `host:port` that are passed on to the real network; `target` is that of the build.
    """

    upstreams: Sequence[Upstream]
    protocol: Callable[[str], asyncio.Protocol]
    allowed: Sequence[str] = ()
    target: str = ""


class Interception:
    """Listeners, and the environment and the process in which the build is started."""

    mode = "none"
    supervisor: Supervisor

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.names = Names.of(setting.upstreams, setting.allowed)
        self.environment: dict[str, str] = {}
        self.attempts: list[Attempt] = []
        """What the build tried to reach and was not recorded; complete once this is closed."""
        self.passed: set[str] = set()
        """What of `allowed` was really called."""
        self._unknown: set[Attempt] = set()
        self._servers: list[asyncio.Server] = []
        self._accepting: set[asyncio.Task[None]] = set()
        self._stack = contextlib.ExitStack()
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="wiretape-"))
        self.folder = Path(folder)
        """For what the build may read."""
        self.folder.chmod(0o755)
        self._authority: Authority | None = None
        self._contexts: dict[str, ssl.SSLContext] = {}

    async def open(self) -> None:
        """Raises UnavailableError where the host does not allow it."""
        self._trust_us()
        self.supervisor = await Supervisor.start()

    def _trust_us(self) -> None:
        """Where upstreams are called by https, an authority for this run."""
        if not self.names.tls:
            return
        from wiretape.replayer.io.intercept.certificates import Authority

        self._authority = Authority()
        self.environment.update(self._authority.environment(self.folder, os.environ))

    async def close(self) -> None:
        """Ends all that it began, the build too."""
        for task in self._accepting:
            task.cancel()
        for server in self._servers:
            server.close()
        if hasattr(self, "supervisor"):
            await self.supervisor.close()
        self.attempts = sorted(self._unknown)
        self._stack.close()

    async def listen(self, name: str) -> int:
        """Stand for that upstream at a port of 127.0.0.1 where the build is; the port."""
        sock = await self.local_socket((LOOPBACK, 0))
        port: int = sock.getsockname()[1]
        await self.serve(sock, name)
        return port

    async def local_socket(self, address: tuple[str, int]) -> socket.socket:
        """A TCP socket bound to a loopback address of the build's."""
        sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(address)
        except OSError:
            sock.close()
            raise
        return sock

    async def hold(self, port: int) -> socket.socket:
        """Keeps a port of 127.0.0.1 where the build is from whoever asks for any, until closed."""
        sock = socket.socket()
        # Where it is taken already, no other gets it either.
        with contextlib.suppress(OSError):
            sock.bind((LOOPBACK, port))
        return sock

    async def connect(self, host: str, port: int) -> socket.socket | None:
        """A connected socket to the build. Raises OSError; None: connect as ever."""
        return None

    async def serve(self, sock: socket.socket, name: str) -> None:
        """Answer for that upstream on a socket that is bound: in plain text, and by TLS where the
        recording has it so."""
        loop = asyncio.get_running_loop()
        if name not in self.names.tls:
            server = await loop.create_server(lambda: self.setting.protocol(name), sock=sock)
            self._servers.append(server)
            return
        sock.listen(128)
        self.accept(sock, lambda accepted: self.either(accepted, name))

    def accept(
        self, sock: socket.socket, begin: Callable[[socket.socket], Coroutine[object, object, None]]
    ) -> None:
        """Begin a task for each connection that comes to a listening socket."""
        loop = asyncio.get_running_loop()

        async def accepting() -> None:
            with sock:
                while True:
                    accepted, _ = await loop.sock_accept(sock)
                    self._task(begin(accepted))

        self._task(accepting())

    def pass_on(self, sock: socket.socket, name: str) -> None:
        """Pass the connections to a bound socket on to where `name` really is."""
        sock.listen(128)

        async def begin(accepted: socket.socket) -> None:
            self.passed.add(name)
            await relay(accepted, *split(name))

        self.accept(sock, begin)

    def _task(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.ensure_future(work)
        self._accepting.add(task)
        task.add_done_callback(self._accepting.discard)

    async def either(self, sock: socket.socket, name: str) -> None:
        """Answer for an upstream on an accepted connection: TLS or plain text, as the first byte
        tells."""
        try:
            await readable(sock.fileno())
            first = sock.recv(1, socket.MSG_PEEK)
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: self.setting.protocol(name),
                sock,
                ssl=self._context(name) if first == _TLS_HANDSHAKE else None,
            )
        except OSError:
            sock.close()

    def _context(self, name: str) -> ssl.SSLContext:
        assert self._authority is not None, "names.tls is empty else"
        if name not in self._contexts:
            self._contexts[name] = self._authority.context(name)
        return self._contexts[name]
