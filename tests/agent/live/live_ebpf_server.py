"""Servers that use their sockets in one particular way; each answers a request with its target and
its content, on connections that stay open.

python live_ebpf_server.py PORT WAY
"""

import os
import resource
import selectors
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator

PIECES_MOST = 1024
"""IOV_MAX."""


def answers(got: bytearray) -> Iterator[bytes]:
    """An answer to each whole request in `got`, which it leaves there no more."""
    while (end := got.find(b"\r\n\r\n")) >= 0:
        head = bytes(got[:end])
        length = head.partition(b"Content-Length: ")[2].split(b"\r\n")[0]
        size = end + 4 + int(length or 0)
        if len(got) < size:
            return
        content = b"you asked for " + head.split()[1] + b"\n" + got[end + 4 : size]
        del got[:size]
        yield b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content


def forking(listening: socket.socket) -> None:
    """A process for each connection, which the parent accepts and closes."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        connection, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            got = bytearray()
            while data := connection.recv(1 << 16):
                got += data
                for answer in answers(got):
                    connection.sendall(answer)
            os._exit(0)
        connection.close()


def preforked(listening: socket.socket) -> None:
    """Four processes wait in accept."""
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            each_in_turn(listening, blocking)
        children.append(child)

    def end(*unused: object) -> None:
        for child in children:
            os.kill(child, signal.SIGKILL)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    while True:
        signal.pause()


def threaded(listening: socket.socket) -> None:
    each_in_thread(listening, blocking)


def vectored(listening: socket.socket) -> None:
    each_in_thread(listening, in_vectors)


def by_messages(listening: socket.socket) -> None:
    each_in_thread(listening, in_messages)


def peeking(listening: socket.socket) -> None:
    each_in_thread(listening, looking_first)


def handed_on(listening: socket.socket) -> None:
    """One thread reads, another one writes."""
    each_in_thread(listening, from_another_thread)


def each_in_turn(listening: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    while True:
        connection, _ = listening.accept()
        with connection:
            serve(connection)


def each_in_thread(listening: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    def served(connection: socket.socket) -> None:
        with connection:
            serve(connection)

    while True:
        connection, _ = listening.accept()
        threading.Thread(target=served, args=(connection,), daemon=True).start()


def blocking(connection: socket.socket) -> None:
    got = bytearray()
    while data := connection.recv(1 << 16):
        got += data
        for answer in answers(got):
            connection.sendall(answer)


def in_vectors(connection: socket.socket) -> None:
    """writev and readv, with as many pieces as there may be."""
    got, file = bytearray(), connection.fileno()
    while True:
        room = [bytearray(n % 7) for n in range(PIECES_MOST - 1)] + [bytearray(50_000)]
        size = os.readv(file, room)
        if not size:
            return
        got += b"".join(room)[:size]
        for answer in answers(got):
            while answer:
                step = max(len(answer) // PIECES_MOST, 3)
                pieces = [answer[at : at + step] for at in range(0, len(answer), step)]
                answer = answer[os.writev(file, pieces[:PIECES_MOST]) :]


def in_messages(connection: socket.socket) -> None:
    """sendmsg and recvmsg with several pieces, some of them empty."""
    got = bytearray()
    while True:
        room = [bytearray(1), bytearray(), bytearray(40), bytearray(30_000)]
        size = connection.recvmsg_into(room)[0]
        if not size:
            return
        got += b"".join(room)[:size]
        for answer in answers(got):
            while answer:
                pieces = (b"", answer[:10], b"", answer[10:70_000])
                answer = answer[connection.sendmsg(pieces) :]


def looking_first(connection: socket.socket) -> None:
    got = bytearray()
    while connection.recv(100, socket.MSG_PEEK):
        connection.recvmsg(5000, 0, socket.MSG_PEEK)
        got += connection.recv(1 << 12)
        for answer in answers(got):
            connection.sendall(answer)


def from_another_thread(connection: socket.socket) -> None:
    got = bytearray()
    while data := connection.recv(1 << 16):
        got += data
        writer = threading.Thread(target=connection.sendall, args=(b"".join(answers(got)),))
        writer.start()
        writer.join()


def non_blocking(listening: socket.socket) -> None:
    """One loop over epoll that reads little at a time, and writes until it may no more."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    listening.setblocking(False)
    with selectors.DefaultSelector() as selector:
        selector.register(listening, selectors.EVENT_READ)
        waiting: dict[socket.socket, tuple[bytearray, bytearray]] = {}
        while True:
            for key, _ in selector.select():
                if key.fileobj is listening:
                    accept_all(listening, selector, waiting)
                    continue
                connection = key.fileobj
                assert isinstance(connection, socket.socket)
                if not served_some(connection, *waiting[connection]):
                    selector.unregister(connection)
                    del waiting[connection]
                    connection.close()
                elif waiting[connection][1]:
                    selector.modify(connection, selectors.EVENT_READ | selectors.EVENT_WRITE)
                else:
                    selector.modify(connection, selectors.EVENT_READ)


def accept_all(
    listening: socket.socket,
    selector: selectors.BaseSelector,
    waiting: dict[socket.socket, tuple[bytearray, bytearray]],
) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except BlockingIOError:
            return
        connection.setblocking(False)
        waiting[connection] = bytearray(), bytearray()
        selector.register(connection, selectors.EVENT_READ)


def served_some(connection: socket.socket, got: bytearray, owed: bytearray) -> bool:
    """Reads and writes until it would have to wait; whether there is more to come."""
    try:
        while not owed:
            data = connection.recv(4000)
            if not data:
                return False
            got += data
            owed += b"".join(answers(got))
    except BlockingIOError:
        pass
    except ConnectionError:
        return False
    try:
        while owed:
            del owed[: connection.send(owed)]
    except BlockingIOError:
        pass
    except ConnectionError:
        return False
    return True


def endless(listening: socket.socket) -> None:
    """Whoever asks gets an answer that does not end, in large writes."""

    def serve(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 40))
        number = 0
        while True:
            numbers = struct.pack(">100000I", *range(number, number + 100_000))
            connection.sendall(numbers)
            number += 100_000

    each_in_thread(listening, serve)


def silent(listening: socket.socket) -> None:
    """Reads whatever comes, and answers with what cannot be an answer."""

    def serve(connection: socket.socket) -> None:
        connection.settimeout(15)
        try:
            while connection.recv(1 << 16):
                connection.sendall(b"\0\xff not an answer \r\n\r\n" * 3)
        except OSError:
            pass

    each_in_thread(listening, serve)


def main() -> None:
    ways = (
        forking, preforked, threaded, vectored, by_messages, peeking, handed_on, non_blocking,
        endless, silent,
    )  # fmt: skip
    by_name = {way.__name__: way for way in ways}
    listening = socket.create_server(
        ("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True, backlog=2048
    )
    print("ready", flush=True)
    by_name[sys.argv[2]](listening)


if __name__ == "__main__":
    main()
