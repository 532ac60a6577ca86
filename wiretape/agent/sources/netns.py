"""Network namespaces: sockets are made in one, and stay there."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wiretape.agent.sources.ring import RingError

_CLONE_NEWNET = 0x40000000


@contextmanager
def inside(netns: str | None) -> Iterator[None]:
    """Inside a network namespace, by the name that `ip netns` gave it or by path. Sockets made
    there stay there. Raises RingError, PermissionError."""
    if netns is None:
        yield
        return
    path = Path(netns) if "/" in netns else Path("/run/netns", netns)
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise RingError(f"no network namespace {netns}: {path} is not there") from None
        try:
            _enter(there, netns)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _enter(here, "our own")
    finally:
        os.close(here)


def _enter(file: int, name: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(file, _CLONE_NEWNET):
        number = ctypes.get_errno()
        if number == 1:
            raise PermissionError(number, os.strerror(number), name)
        raise RingError(f"network namespace {name}: {os.strerror(number)}")
