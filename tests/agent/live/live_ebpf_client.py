"""Many connections at once with a mark in each.

python live_ebpf_client.py HOST PORT WAY NUMBER...
"""

import os
import random
import resource
import socket
import sys
import threading
from collections.abc import Callable

HOST, PORT = sys.argv[1], int(sys.argv[2])


def connect() -> socket.socket:
    opened = socket.create_connection((HOST, PORT), timeout=60)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened


def asked(mark: str, size: int = 0) -> bytes:
    """A request with the mark in its target and all over its content."""
    word = f"<{mark}>".encode()
    content = (word * (size // len(word) + 1))[:size]
    head = f"POST /{mark} HTTP/1.1\r\nHost: by-hand\r\nContent-Length: {size}\r\n\r\n"
    return head.encode() + content


def receive(connection: socket.socket, mark: str, size: int) -> None:
    """The whole answer, which has to be this mark's."""
    got = b""
    while b"\r\n\r\n" not in got:
        got += some(connection)
    head, _, content = got.partition(b"\r\n\r\n")
    length = int(head.partition(b"Content-Length: ")[2].split()[0])
    while len(content) < length:
        content += some(connection)
    if content != f"you asked for /{mark}\n".encode() + asked(mark, size).partition(b"\r\n\r\n")[2]:
        raise SystemExit(f"{mark}: a stranger's answer: {content[:60]!r}")


def some(connection: socket.socket) -> bytes:
    data = connection.recv(1 << 16)
    if not data:
        raise SystemExit("the server closed")
    return data


def at_once(count: int, rounds: int) -> None:
    """All open; in each round all ask, in another order, in two pieces; then all are answered."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    chance = random.Random(1)
    connections = [connect() for _ in range(count)]
    for turn in range(rounds):
        order = list(enumerate(connections))
        chance.shuffle(order)
        wire = [asked(f"{n}-{turn}", n % 3000) for n in range(count)]
        for n, connection in order:
            connection.sendall(wire[n][:30])
        for n, connection in order:
            connection.sendall(wire[n][30:])
        for n, connection in reversed(order):
            receive(connection, f"{n}-{turn}", n % 3000)
    for connection in connections:
        connection.close()


def short(count: int, threads: int) -> None:
    """So many connections one after the other, in each of so many threads: the same few
    descriptors again and again, for a socket, a file or a pipe."""

    def work(thread: int) -> None:
        for n in range(count):
            with connect() as connection:
                mark = f"{thread}-{n}"
                connection.sendall(asked(mark, 50))
                receive(connection, mark, 50)
            first, second = os.pipe()
            os.write(second, b"GET /pipe HTTP/1.1\r\n\r\n")
            os.read(first, 100)
            os.close(first)
            os.close(second)

    in_threads(threads, work)


def sized(*sizes: int) -> None:
    """Contents of these sizes there and back, one after the other."""
    with connect() as connection:
        for n, size in enumerate(sizes):
            writer = threading.Thread(target=connection.sendall, args=(asked(f"{n}", size),))
            writer.start()
            receive(connection, f"{n}", size)
            writer.join()


def in_threads(count: int, work: Callable[[int], None]) -> None:
    failures: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    running = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if failures:
        raise failures[0]


if __name__ == "__main__":
    ways = (at_once, short, sized)
    by_name = {way.__name__: way for way in ways}
    by_name[sys.argv[3]](*map(int, sys.argv[4:]))
