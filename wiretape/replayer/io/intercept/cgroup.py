"""The build in a control group of its own, whose sockets lead to our listeners. Needs root, bcc.

Programs of the kernel (calls.bpf.c) are asked at each call. They stay with the group: where we are
killed, the build reaches nothing more than before, until it is ended with us.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
import time
from ipaddress import IPv4Address, ip_address
from pathlib import Path

from wiretape.exchange.endpoints import endpoint_text
from wiretape.kernel.bpf import Map, attach_to_cgroup
from wiretape.kernel.loader import EbpfError, Loaded, load
from wiretape.replayer.io.intercept.attempts import Attempt
from wiretape.replayer.io.intercept.dns import NameServer
from wiretape.replayer.io.intercept.interception import LOOPBACK, Interception, UnavailableError
from wiretape.replayer.io.intercept.system import covers, invoking_user
from wiretape.replayer.io.supervisor.client import Supervisor, SupervisorError
from wiretape.replayer.io.supervisor.namespaces import WORLD_IPV4
from wiretape.replayer.io.supervisor.process import Job

_SOURCE = Path(__file__).with_name("calls.bpf.c")
_SOCKET, _SOCKET_ADDRESS = 9, 18
_PROGRAMS = {
    "connect4": (_SOCKET_ADDRESS, 10), "connect6": (_SOCKET_ADDRESS, 11),
    "bound4": (_SOCKET, 12), "bound6": (_SOCKET, 13),
    "sendmsg4": (_SOCKET_ADDRESS, 14), "sendmsg6": (_SOCKET_ADDRESS, 15),
    "recvmsg4": (_SOCKET_ADDRESS, 19), "recvmsg6": (_SOCKET_ADDRESS, 20),
    "getpeername4": (_SOCKET_ADDRESS, 29), "getpeername6": (_SOCKET_ADDRESS, 30),
}  # fmt: skip
"""Program and attach types, as bpf(2) numbers them."""
_MAPS = ("served", "name_servers", "refused", "known")
_TCP, _UDP = 6, 17
_PLACE_BYTES = 24
_GROUP = re.compile(r"wiretape-replay-(\d+)-(\d+)")
_FIRST_LISTENER = IPv4Address("127.87.0.1")
_REMOVAL_S = 5.0


class CgroupInterception(Interception):
    """Listeners of ours in this machine's own network, one address for each upstream."""

    mode = "cgroup"

    async def open(self) -> None:
        if os.geteuid() != 0:
            raise UnavailableError("it needs root")
        self._trust_us()
        try:
            loaded = load([_SOURCE], _PROGRAMS, _MAPS, {})
        except EbpfError as error:
            raise UnavailableError(str(error).splitlines()[0]) from None
        self._stack.callback(loaded.close)
        self._maps = {name: Map(descriptor) for name, descriptor in loaded.maps.items()}
        self._group = self._make_group()
        self._attach(loaded)
        await self._answer_names()
        await self._listen_for_all()
        user = invoking_user()
        self.environment.update(user.environment if user else {})
        files, hidden = covers(self.folder, WORLD_IPV4)
        job = Job(
            network=False,
            files=files,
            hidden=hidden,
            user=user.ids if user else None,
            cgroup=str(self._group),
        )
        try:
            self.supervisor = await Supervisor.start(job)
        except SupervisorError as error:
            raise UnavailableError(str(error)) from None

    def _make_group(self) -> Path:
        root = _hierarchy()
        _sweep(root)
        group = root / f"wiretape-replay-{os.getpid()}-{_started(os.getpid())}"
        try:
            group.mkdir()
        except OSError as error:
            raise UnavailableError(f"a control group in {root}: {error.strerror}") from None
        self._stack.callback(_remove, group)
        return group

    def _attach(self, loaded: Loaded) -> None:
        group = os.open(self._group, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for name, (_, kind) in _PROGRAMS.items():
                attach_to_cgroup(group, loaded.programs[name], kind)
        except OSError as error:
            why = f"programs cannot be attached to a control group: {error.strerror}"
            raise UnavailableError(why) from None
        finally:
            os.close(group)

    async def _answer_names(self) -> None:
        server = NameServer(
            self.names.addresses, lambda name: self._unknown.add(Attempt("name", name))
        )
        self._stack.callback(server.close)
        for number, host in enumerate((LOOPBACK, "::1")):
            try:
                stream = _bound(host, socket.SOCK_STREAM)
                datagrams = _bound(host, socket.SOCK_DGRAM)
            except OSError:
                continue  # no IPv6 here
            for at, protocol, sock in ((0, _TCP, stream), (2, _UDP, datagrams)):
                key = struct.pack("=I", at + number)
                self._maps["name_servers"][key] = _place(sock.getsockname(), protocol)
            await server.serve_streams(stream)
            server.serve_datagrams(datagrams)

    async def _listen_for_all(self) -> None:
        for number, ((host, port), name) in enumerate(self.names.listeners.items()):
            address = str(_FIRST_LISTENER + number) if ":" not in host else "::1"
            try:
                sock = _bound(address, socket.SOCK_STREAM)
            except OSError:
                continue  # no IPv6 here
            self._lead((host, port), sock)
            if name in self.setting.allowed:
                self.pass_on(sock, name)
            else:
                await self.serve(sock, name)

    def _lead(self, called: tuple[str, int], sock: socket.socket) -> None:
        """What goes to that address and port comes to that socket."""
        self._maps["served"][_place(called, _TCP)] = _place(sock.getsockname(), _TCP)
        self._maps["known"][_place((called[0], 0), 0)] = b"\1"

    async def local_socket(self, address: tuple[str, int]) -> socket.socket:
        sock = await super().local_socket(address)
        self._lead(sock.getsockname(), sock)
        return sock

    async def close(self) -> None:
        if hasattr(self, "_maps"):
            self._unknown |= {_attempt(key) for key in self._maps["refused"].keys(_PLACE_BYTES)}
        await super().close()


def _bound(host: str, kind: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
    sock.setblocking(False)
    try:
        sock.bind((host, 0))
    except OSError:
        sock.close()
        raise
    return sock


def _place(at: tuple[str, int], protocol: int) -> bytes:
    """`struct place` of calls.bpf.c; `at` may have more than an address and a port."""
    host, port = at[:2]
    address = ip_address(host)
    packed = address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed
    return packed + struct.pack("!Hxx", port) + struct.pack("=I", protocol)


def _attempt(place: bytes) -> Attempt:
    address = ip_address(place[:16])
    mapped = getattr(address, "ipv4_mapped", None)
    port, protocol = struct.unpack_from("!H", place, 16)[0], struct.unpack_from("=I", place, 20)[0]
    return Attempt(
        "tcp" if protocol == _TCP else "udp", endpoint_text(str(mapped or address), port)
    )


def _hierarchy() -> Path:
    """Where the second version of control groups is mounted."""
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(place)
    raise UnavailableError("no control groups of version 2 are mounted")


def _started(pid: int) -> int:
    """When a process began, in ticks since the boot; 0 for none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[19])


def _sweep(root: Path) -> None:
    """Remove the groups of runs that were killed, and what is in them."""
    for group in root.glob("wiretape-replay-*"):
        match = _GROUP.fullmatch(group.name)
        if match is not None and _started(int(match[1])) != int(match[2]):
            _remove(group)


def _remove(group: Path) -> None:
    with contextlib.suppress(OSError):
        (group / "cgroup.kill").write_text("1")
    until = time.monotonic() + _REMOVAL_S
    while True:
        try:
            group.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            # Its last processes are still on their way out.
            if time.monotonic() > until:
                return
            time.sleep(0.01)
        else:
            return
