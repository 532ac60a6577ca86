"""The build in namespaces of its own: every address that it calls is ours. Needs no privilege.

Hosts that were not recorded have no address; what was not recorded refuses connections, because
nobody listens there.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from ipaddress import ip_address

from wiretape.exchange.endpoints import endpoint_text
from wiretape.replayer.io.intercept.attempts import Attempt, PacketWatch
from wiretape.replayer.io.intercept.dns import NameServer
from wiretape.replayer.io.intercept.interception import LOOPBACK, Interception, UnavailableError
from wiretape.replayer.io.intercept.system import covers, invoking_user
from wiretape.replayer.io.supervisor.client import Supervisor, SupervisorError
from wiretape.replayer.io.supervisor.namespaces import WORLD_IPV4
from wiretape.replayer.io.supervisor.process import Job

_DNS = 53
_CONNECT_TIMEOUT_S = 10.0


class NamespaceInterception(Interception):
    """Sockets come from the supervisor, which sits in the build's network."""

    mode = "netns"

    async def open(self) -> None:
        self._watches: list[PacketWatch] = []
        self._trust_us()
        user = invoking_user()
        files, hidden = covers(self.folder, WORLD_IPV4)
        self.environment.update(user.environment if user else {})
        job = Job(
            network=True,
            files=files,
            hidden=hidden,
            user=user.ids if user else None,
            cgroup=None,
        )
        try:
            self.supervisor = await Supervisor.start(job)
        except SupervisorError as error:
            raise UnavailableError(str(error)) from None
        await self._answer_names()
        for (host, port), name in self.names.listeners.items():
            if self.supervisor.has_ipv6 or ":" not in host:
                await self._listen_for(name, host, port)
        served = set(self.names.listeners)
        self._watches = [
            PacketWatch(await self.supervisor.packets("world"), served),
            PacketWatch(await self.supervisor.packets("build"), None),
        ]

    async def _answer_names(self) -> None:
        addresses = {
            host: [a for a in known if self.supervisor.has_ipv6 or ":" not in a]
            for host, known in self.names.addresses.items()
        }
        server = NameServer(addresses, lambda name: self._unknown.add(Attempt("name", name)))
        self._stack.callback(server.close)
        places = [("world", "0.0.0.0"), ("build", LOOPBACK)]
        if self.supervisor.has_ipv6:
            places.append(("world", "::"))
        for where, host in places:
            server.serve_datagrams(await self._socket(where, host, _DNS, socket.SOCK_DGRAM))
            await server.serve_streams(await self._socket(where, host, _DNS))

    async def _listen_for(self, name: str, host: str, port: int) -> None:
        where = "build" if ip_address(host).is_loopback else "world"
        sock = await self._socket(where, host, port)
        if name in self.setting.allowed:
            self.pass_on(sock, name)
        else:
            await self.serve(sock, name)

    async def _socket(
        self, where: str, host: str, port: int, kind: int = socket.SOCK_STREAM
    ) -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            return await self.supervisor.new_socket(where, family, kind, (host, port))
        except SupervisorError as error:
            raise UnavailableError(f"{endpoint_text(host, port)}: {error}") from None

    async def local_socket(self, address: tuple[str, int]) -> socket.socket:
        return await self._socket("build", *address)

    async def hold(self, port: int) -> socket.socket:
        # Where it is taken, by an upstream of that address, the build's own start will tell.
        with contextlib.suppress(UnavailableError):
            return await self._socket("build", LOOPBACK, port)
        return socket.socket()

    async def connect(self, host: str, port: int) -> socket.socket | None:
        loop = asyncio.get_running_loop()
        problem = OSError(f"no address of {host}")
        # What localhost is there, the build's own hosts file says: both.
        names = (LOOPBACK, "::1") if host == "localhost" else (host,)
        known = [
            each
            for name in names
            for each in await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        ]
        for family, kind, _, _, address in known:
            try:
                sock = await self.supervisor.new_socket("build", family, kind)
            except SupervisorError as error:
                raise OSError(str(error)) from None
            try:
                async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                    await loop.sock_connect(sock, address)
            except OSError as error:
                sock.close()
                problem = error
            except BaseException:
                sock.close()
                raise
            else:
                return sock
        raise problem

    async def close(self) -> None:
        with contextlib.ExitStack() as stack:
            for watch in self._watches:
                self._unknown |= watch.attempts()
                stack.callback(watch.close)
        await super().close()
