"""Networks of one test: namespaces, what joins them, what goes wrong on the way.

A `Network` is a context; whatever happens, the namespaces and the processes in them are gone
afterwards, and with the namespaces their interfaces and rules. The host's own network is never
touched.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Self

HERE = Path(__file__).parent
FORWARDER, TUNNEL = HERE / "live_forwarder.py", HERE / "live_tunnel.py"
PATIENCE_S = 20.0
"""How long it is waited for what must come soon."""
SMALL_GSO = ("gso_max_segs", "2", "gso_max_size", "4000")
"""So that losses and reordering meet many packets, not a few giant ones."""
_LISTEN, _TIME_WAIT = "0A", "06"
_SETTLED = {_LISTEN, _TIME_WAIT}


class NetworkError(Exception):
    """A command that should have worked did not; the text says which, and what it said."""


def missing(*tools: str) -> str | None:
    """What this host lacks for such tests, in one line; None where nothing."""
    if os.geteuid() != 0:
        return "needs root"
    if lacking := [tool for tool in ("ip", "nft", "tcpdump", *tools) if shutil.which(tool) is None]:
        return f"needs {', '.join(lacking)}"
    try:
        with Network() as probe:
            three_hosts(probe)
            bridge(probe)
            probe.lose("client", "output", 1)
            probe.translate("middle", "right")
    except NetworkError as error:
        return f"not possible on this host: {error}"
    return None


def run(*command: str, stdin: str | None = None) -> str:
    """Runs a command to its end; its output. Raises NetworkError."""
    done = subprocess.run(
        command,
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    if done.returncode:
        raise NetworkError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


class Network:
    """Parts, each a network namespace of its own, and the processes in them."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._parts: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        self._stack.close()

    # -- namespaces and interfaces

    def name(self, part: str) -> str:
        """The name of the part's namespace."""
        return f"wiretape-{os.getpid()}-{part}"

    def add(self, *parts: str) -> None:
        """New namespaces with nothing but loopback."""
        for part in parts:
            # Before it is made: we may be ended between the two.
            self._stack.callback(_remove, self.name(part))
            run("ip", "netns", "add", self.name(part))
            self._parts.append(part)
            # IPv6 addresses are usable at once, those too that the kernel makes.
            self.set(part, "ipv6/conf/default/accept_dad", 0)
            self.ip(part, "link", "set", "lo", "up")

    def ip(self, part: str, *arguments: str) -> str:
        return run("ip", "-n", self.name(part), *arguments)

    def set(self, part: str, setting: str, value: int) -> None:
        """A setting of the kernel, below net."""
        inside = ("ip", "netns", "exec", self.name(part))
        run(*inside, "tee", f"/proc/sys/net/{setting}", stdin=str(value))

    def join(self, part: str, interface: str, other: str, peer: str) -> None:
        """A pair of virtual Ethernet interfaces between two parts, both up."""
        there = ("peer", "name", peer, "netns", self.name(other))
        self.ip(part, "link", "add", interface, "type", "veth", *there)
        self.ip(part, "link", "set", interface, "up")
        self.ip(other, "link", "set", peer, "up")

    def address(self, part: str, interface: str, *addresses: str) -> None:
        """Gives an interface addresses with their prefix lengths."""
        for address in addresses:
            self.ip(part, "address", "add", address, "dev", interface)

    def hasten(self, part: str, interface: str, *networks: str) -> None:
        """Retransmissions to these networks come after 30 ms, not 200: tests should not wait."""
        for network in networks:
            route = (network, "dev", interface)
            self.ip(part, "route", "replace", *route, "proto", "kernel", "rto_min", "30ms")

    def rules(self, part: str, text: str) -> None:
        """Adds a ruleset of nftables."""
        run("ip", "netns", "exec", self.name(part), "nft", "-f", "-", stdin=text)

    def lose(self, part: str, hook: str, percent: int) -> None:
        """Drops TCP packets by chance: at `output` before they are sent, at `input` after they
        came."""
        self.rules(
            part,
            f"""table inet loss {{
                chain {hook} {{
                    type filter hook {hook} priority 0
                    meta l4proto tcp numgen random mod 100 < {percent} counter drop
                }}
            }}""",
        )

    def translate(self, part: str, interface: str) -> None:
        """Gives what leaves by an interface the address of that interface."""
        self.rules(
            part,
            f"""table inet translation {{
                chain leaving {{
                    type nat hook postrouting priority 100
                    oifname "{interface}" masquerade
                }}
            }}""",
        )

    # -- processes

    def start(
        self,
        part: str,
        *command: str | Path,
        stdin: int = subprocess.DEVNULL,
        stdout: int | IO[str] = subprocess.DEVNULL,
        stderr: int | IO[str] | None = None,
    ) -> subprocess.Popen[str]:
        """Starts a command inside a part; it is ended with the network at the latest.

        It yields to whoever only watches: all share two cores here.
        """
        inside = ("nice", "-n", "10", "ip", "netns", "exec", self.name(part))
        process = subprocess.Popen(
            [*inside, *map(str, command)], stdin=stdin, stdout=stdout, stderr=stderr, text=True
        )
        self._stack.callback(stop, process, signal.SIGKILL)
        return process

    def watch(self, *command: str | Path) -> subprocess.Popen[str]:
        """Starts a command that watches, in no part of its own."""
        process = subprocess.Popen(
            [*map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._stack.callback(stop, process, signal.SIGKILL)
        return process

    def start_script(self, part: str, *command: str | Path) -> subprocess.Popen[str]:
        """Starts a Python script inside a part and waits until it prints that it is ready."""
        pipe = subprocess.PIPE
        process = self.start(part, sys.executable, *command, stdin=pipe, stdout=pipe, stderr=pipe)
        wait_for_line(process, process.stdout, "ready")
        return process

    # -- waiting

    def settle(self) -> None:
        """Waits until no connection of any part has anything left to send."""
        deadline = time.monotonic() + PATIENCE_S
        while open_sockets := [s for part in self._parts for s in self._open_sockets(part)]:
            if time.monotonic() > deadline:
                raise NetworkError(f"connections that do not end: {open_sockets}")
            time.sleep(0.02)

    def _open_sockets(self, part: str) -> Iterable[str]:
        tables = run(
            "ip", "netns", "exec", self.name(part), "cat", "/proc/net/tcp", "/proc/net/tcp6"
        )
        for line in tables.splitlines():
            words = line.split()
            if words[0] != "sl" and words[3] not in _SETTLED:
                yield f"{part}: {' '.join(words[1:4])}"

    def send_marker(self, part: str, address: str, text: str) -> None:
        """Sends a datagram that ends a capture: what is seen after it does not matter."""
        program = "import socket, sys; a = sys.argv; " + (
            "f = socket.AF_INET6 if ':' in a[1] else socket.AF_INET; "
            "socket.socket(f, socket.SOCK_DGRAM).sendto(a[2].encode(), (a[1], 9))"
        )
        inside = ("ip", "netns", "exec", self.name(part))
        run(*inside, sys.executable, "-c", program, address, text)


def two_hosts(network: Network) -> None:
    """A client and a server, eth0 to eth0."""
    network.add("client", "server")
    network.join("client", "eth0", "server", "eth0")
    give_addresses(network)


def give_addresses(network: Network, interface: str = "eth0") -> None:
    """IPv4 and IPv6 addresses of client and server in one network each."""
    for part, number in (("client", 1), ("server", 2)):
        network.address(part, interface, f"10.77.0.{number}/24", f"fd77::{number}/64")
        network.hasten(part, interface, "10.77.0.0/24", "fd77::/64")


SERVER_V4, SERVER_V6 = "10.77.0.2", "fd77::2"
CLIENT_V4 = "10.77.0.1"


def three_hosts(network: Network) -> None:
    """As `two_hosts`, with a part in the middle through whose left and right interface all has to
    go, and that does nothing yet."""
    network.add("client", "middle", "server")
    network.join("client", "eth0", "middle", "left")
    network.join("server", "eth0", "middle", "right")


def forward_badly(network: Network, seed: int) -> subprocess.Popen[str]:
    """Reorders and repeats what goes through the middle of `three_hosts`; never loses any."""
    for part, interface in (
        ("client", "eth0"), ("server", "eth0"), ("middle", "left"), ("middle", "right"),
    ):  # fmt: skip
        network.ip(part, "link", "set", interface, *SMALL_GSO)
    return network.start_script("middle", FORWARDER, "left", "right", str(seed))


def tunnel(network: Network) -> None:
    """A client and a server, tun0 to tun0: interfaces without a link layer."""
    network.add("client", "server")
    network.start_script("client", TUNNEL)
    network.ip("client", "link", "set", "tun1", "netns", network.name("server"), "name", "tun0")
    for part in ("client", "server"):
        network.ip(part, "link", "set", "tun0", "up")
    give_addresses(network, "tun0")


def bridge(network: Network) -> None:
    """Joins left and right of `three_hosts` as a switch does."""
    network.ip("middle", "link", "add", "bridge0", "type", "bridge")
    network.ip("middle", "link", "set", "bridge0", "up")
    for interface in ("left", "right"):
        network.ip("middle", "link", "set", interface, "master", "bridge0")


def route(network: Network, translated: bool) -> None:
    """Has the middle of `three_hosts` route, and perhaps translate the client's addresses."""
    for part, interface, v4, v6 in (
        ("client", "eth0", "10.77.1.1/24", "fd77:1::1/64"),
        ("middle", "left", "10.77.1.3/24", "fd77:1::3/64"),
        ("middle", "right", "10.77.0.3/24", "fd77::3/64"),
        ("server", "eth0", f"{SERVER_V4}/24", f"{SERVER_V6}/64"),
    ):
        network.address(part, interface, v4, v6)
    for part, v4, v6 in (("client", "10.77.1.3", "fd77:1::3"), ("server", "10.77.0.3", "fd77::3")):
        network.ip(part, "route", "add", "default", "via", v4)
        network.ip(part, "-6", "route", "add", "default", "via", v6)
    network.set("middle", "ipv4/ip_forward", 1)
    network.set("middle", "ipv6/conf/all/forwarding", 1)
    if translated:
        network.translate("middle", "right")


def wait_for_line(process: subprocess.Popen[str], stream: IO[str] | None, word: str) -> str:
    """Reads lines of a process up to one with `word`, which it returns. Raises NetworkError."""
    assert stream is not None
    said = []
    while line := stream.readline():
        said.append(line.strip())
        if word in line:
            return line
    said += (process.communicate(timeout=PATIENCE_S)[1] or "").splitlines()
    raise NetworkError(f"{process.args!r} ended: {' '.join(said)}")


def stop(process: subprocess.Popen[str], how: signal.Signals = signal.SIGTERM) -> str:
    """Ends a process that may have ended already; what it had left to say on standard error."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            process.send_signal(how)
    return process.communicate(timeout=PATIENCE_S)[1] or ""


def _remove(name: str) -> None:
    """Removes a namespace with whatever still runs in it; it need not be there."""
    if not Path("/run/netns", name).exists():
        return
    for pid in run("ip", "netns", "pids", name).split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    run("ip", "netns", "delete", name)
