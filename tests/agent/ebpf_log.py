"""Connections of a captured process, with a log of what really passed them."""

import pickle
import socket
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

Sock = socket.socket
_numbers = count()
_lock = threading.Lock()


class Stream:
    """Bytes of one direction, and which of them no event may carry: (position, length, reason)."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.holes: list[tuple[int, int, str]] = []


log: dict[tuple[int, int], dict[str, Stream]] = defaultdict(
    lambda: {"sent": Stream(), "received": Stream()}
)
"""By local and remote port."""


def ports(sock: Sock) -> tuple[int, int]:
    return sock.getsockname()[1], sock.getpeername()[1]


def passed(sock: Sock, direction: str, data: bytes, hole: str = "") -> bytes:
    stream = log[ports(sock)][direction]
    if hole:
        stream.holes.append((len(stream.data), len(data), hole))
    stream.data += data
    return data


def sent(sock: Sock, data: bytes, n: int, hole: str = "") -> int:
    passed(sock, "sent", bytes(data[:n]), hole)
    return n


def received(sock: Sock, data: bytes, hole: str = "") -> bytes:
    return passed(sock, "received", bytes(data), hole)


def marked(size: int) -> bytes:
    """So many bytes that are found nowhere else: each block of 16 names its stream and place."""
    with _lock:
        number = next(_numbers)
    blocks = [b"%05d:%09d\n" % (number, n) for n in range(size // 16 + 1)]
    return b"".join(blocks)[:size]


@contextmanager
def pair(family: int = socket.AF_INET, host: str = "127.0.0.1") -> Iterator[tuple[Sock, Sock]]:
    """A connection's two ends: who connected, who accepted."""
    with socket.create_server((host, 0), family=family) as listening:
        client = socket.socket(family)
        client.connect(listening.getsockname()[:2])
        server, _ = listening.accept()
    with client, server:
        yield client, server


def send_all(sock: Sock, data: bytes) -> None:
    view = memoryview(data)
    while view:
        n = sent(sock, view, sock.send(view))
        view = view[n:]


def receive_all(sock: Sock, size: int, most: int = 1 << 20) -> None:
    while size:
        data = received(sock, sock.recv(min(size, most)))
        assert data
        size -= len(data)


def exchange(one: Sock, other: Sock, size: int = 1000) -> None:
    """There and back."""
    for a, b in ((one, other), (other, one)):
        thread = threading.Thread(target=send_all, args=(a, marked(size)))
        thread.start()
        receive_all(b, size)
        thread.join()


def together(count_: int, work: Callable[[], None]) -> None:
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    running = [threading.Thread(target=guarded) for _ in range(count_)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if failures:
        raise failures[0]


def write_log(place: Path) -> None:
    with place.open("wb") as file:
        pickle.dump(
            {
                key: {name: (bytes(s.data), s.holes) for name, s in streams.items()}
                for key, streams in log.items()
            },
            file,
        )
