"""Namespaces for the build: entered before any thread starts, and gone with their last process.

With a network of its own there are two namespaces of that kind. In the build's lies what every
machine has: a loopback interface, and one interface with a default route. At its other end lies
the *world*, to which all addresses belong, so that whoever listens there is whom the build meant
to call, and both have all ports for themselves.

    build: lo, up0 198.18.0.1, fd57:4954::1  ──default──▶  world: down0 198.18.0.2, fd57:4954::2
                                                                  local 0.0.0.0/0 and ::/0
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from wiretape.replayer.io.supervisor.netlink import Netlink

WORLD_IPV4, WORLD_IPV6 = "198.18.0.2", "fd57:4954::2"
"""Of the networks for benchmarks (RFC 2544) and for private use: nobody's."""
_BUILD_IPV4, _BUILD_IPV6 = "198.18.0.1", "fd57:4954::1"

_NEW_MOUNT, _NEW_USER, _NEW_PID, _NEW_NET = 0x20000, 0x10000000, 0x20000000, 0x40000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_CHILD_SUBREAPER = 1, 4, 24, 36
_KILL = 9

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def become(user: int, group: int, groups: Sequence[int]) -> None:
    """This process goes on as that user. Raises OSError."""
    os.setgroups(groups)
    os.setgid(group)
    os.setuid(user)
    # Else /proc/self belongs to root from here on.
    _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def isolate(network: bool) -> None:
    """New namespaces for mounts and for the processes that come; with `network`, of a user too.

    The user keeps its number. Raises OSError.
    """
    user, group = os.geteuid(), os.getegid()
    if network:
        _check(_libc.unshare(_NEW_USER), "a user namespace")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
        _check(_libc.unshare(_NEW_NET), "a network namespace")
    _check(_libc.unshare(_NEW_MOUNT | _NEW_PID), "namespaces of mounts and processes")


def mount(files: Mapping[str, str], hidden: Sequence[str]) -> None:
    """Lay files over others, and nothing over folders. Raises OSError.

    What is not there needs no cover.
    """
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    # A container may forbid it; then the numbers in /proc are those outside.
    with contextlib.suppress(OSError):
        _mount("proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    for place, file in files.items():
        if Path(place).exists():
            _mount(file, place, None, _MS_BIND)
    for place in hidden:
        if Path(place).is_dir():
            _mount("tmpfs", place, "tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)


def _mount(source: str | None, target: str, kind: str | None, flags: int) -> None:
    result = _libc.mount(
        source.encode() if source else None,
        target.encode(),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        None,
    )
    _check(result, f"mount {target}")


class Network:
    """The two networks; made in the thread whose network becomes the build's. Raises OSError."""

    def __init__(self) -> None:
        self.build = _here()
        _check(_libc.unshare(_NEW_NET), "a network namespace")
        self.world = _here()
        with contextlib.closing(Netlink()) as link:
            link.up("lo")
            link.add_pair("down0", "up0", self.build)
            link.up("down0")
        with self.inside("build"), contextlib.closing(Netlink()) as link:
            link.up("lo")
            link.up("up0")
        self._connect(4, _BUILD_IPV4, WORLD_IPV4)
        self.has_ipv6 = True
        try:
            self._connect(6, _BUILD_IPV6, WORLD_IPV6)
        except OSError:
            self.has_ipv6 = False
        _enter(self.build)
        # Without a capability the build may still listen where its image may.
        with contextlib.suppress(OSError):
            Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text("0")

    def _connect(self, version: int, build: str, world: str) -> None:
        with contextlib.closing(Netlink()) as link:
            link.add_address("down0", world)
            link.add_route("down0", build)
            link.own_all("lo", version)
        with self.inside("build"), contextlib.closing(Netlink()) as link:
            link.add_address("up0", build)
            link.add_route("up0", world)
            link.add_default("up0", world)

    @contextlib.contextmanager
    def inside(self, which: str) -> Iterator[None]:
        """Inside "world" or "build"; sockets that are made there stay there."""
        before = _here()
        _enter(self.world if which == "world" else self.build)
        try:
            yield
        finally:
            _enter(before)
            os.close(before)


def _here() -> int:
    return os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _enter(namespace: int) -> None:
    _check(_libc.setns(namespace, _NEW_NET), "a network namespace")


def give_up_capabilities() -> None:
    """None is left in what is executed next, root's or a file's own."""
    for capability in range(64):
        if _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0):
            break


def die_with_parent() -> None:
    """Killed where the process that started this one ends, however it does."""
    _libc.prctl(_PR_SET_PDEATHSIG, _KILL, 0, 0, 0)


def adopt_orphans() -> None:
    """Children of ours that lose their parent become our own."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
