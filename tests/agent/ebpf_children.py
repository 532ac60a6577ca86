"""What a captured process does, one scenario a run, with a log of what really passed.

    python ebpf_children.py SCENARIO LOG

It says "ready", waits for a line, does the scenario, says "done", and ends with its input.
"""

import ctypes
import os
import resource
import signal
import socket
import struct
import sys
import threading
from contextlib import ExitStack, suppress
from pathlib import Path

from ebpf_log import (
    Sock,
    Stream,
    exchange,
    log,
    marked,
    pair,
    ports,
    receive_all,
    received,
    send_all,
    sent,
    together,
    write_log,
)
from ebpf_raw_calls import MSG_WAITFORONE, many, ring_send

# -- calls


def plain() -> None:
    with pair() as (a, b):
        for size in (1, 100, 65535, 65536, 65537, 200_000):
            exchange(a, b, size)
        data = marked(5000)
        sent(a, data, os.write(a.fileno(), data))
        received(b, os.read(b.fileno(), 5000))
        target = bytearray(5000)
        sent(a, data, a.send(data))
        n = b.recv_into(target)
        received(b, target[:n])
        sent(b, data, b.send(data))
        received(a, a.recvfrom(5000)[0])


def vectored() -> None:
    with pair() as (a, b):
        for sizes in ([3], [0, 5, 0, 7], [1] * 1024, list(range(300)), [70_000, 1, 70_000]):
            pieces = [marked(size) for size in sizes]
            whole = b"".join(pieces)
            sent(a, whole, os.writev(a.fileno(), pieces))
            read_vectored(b, len(whole), sizes)
        pieces = [marked(10), marked(20)]
        sent(a, b"".join(pieces), os.pwritev(a.fileno(), pieces, -1))
        targets = [bytearray(15), bytearray(100)]
        n = os.preadv(b.fileno(), targets, -1)
        received(b, b"".join(targets)[:n])


def read_vectored(sock: Sock, size: int, sizes: list[int]) -> None:
    while size:
        targets = [bytearray(n) for n in sizes]
        n = os.readv(sock.fileno(), targets)
        received(sock, b"".join(targets)[:n])
        size -= n
        sizes = [size]


def messages() -> None:
    with pair() as (a, b):
        for count_ in (1, 7, 1024):
            pieces = [marked(33) for _ in range(count_)]
            whole = b"".join(pieces)
            sent(a, whole, a.sendmsg(pieces))
            left = len(whole)
            while left:
                if count_ == 1:
                    data = b.recvmsg(left)[0]
                else:
                    targets = [bytearray(20) for _ in range(min(1024, left // 20 + 1))]
                    n = b.recvmsg_into(targets)[0]
                    data = b"".join(targets)[:n]
                left -= len(received(b, data))


def many_messages() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with pair() as (a, b):
        for sizes in ([[10]], [[5, 6], [7], [8, 9, 10]], [[100]] * 50):
            data = [[marked(size) for size in message] for message in sizes]
            vector, keep = many(data)
            n = libc.sendmmsg(a.fileno(), vector, len(data), 0)
            assert n == len(data)
            whole = b"".join(b"".join(message) for message in data)
            sent(a, whole, len(whole))
            left = len(whole)
            while left:
                room = [[bytes(4), bytes(9)] for _ in range(20)]
                vector, keep = many(room)
                n = libc.recvmmsg(b.fileno(), vector, len(room), MSG_WAITFORONE, None)
                assert n > 0, os.strerror(ctypes.get_errno())
                for k in range(n):
                    text = b"".join(bytes(piece) for piece in keep[k])[: vector[k].length]
                    left -= len(received(b, text))


def sendfile() -> None:
    with pair() as (a, b), Path(sys.executable).open("rb") as file:
        data = file.read(100_000)
        send_all(a, b"before")
        sent(a, data, os.sendfile(a.fileno(), file.fileno(), 0, 100_000), "SENDFILE")
        send_all(a, b"after")
        receive_all(b, len(log[ports(a)]["sent"].data))


def splice() -> None:
    with pair() as (a, b):
        out, into = os.pipe()
        data = marked(3000)
        send_all(a, data)
        n = os.splice(b.fileno(), into, 3000)
        received(b, data[:n], "SENDFILE")
        sent(b, data, os.splice(out, b.fileno(), n), "SENDFILE")
        receive_all(a, n)
        exchange(a, b)


def peek() -> None:
    with pair() as (a, b):
        send_all(a, marked(500))
        b.recv(500, socket.MSG_PEEK)
        b.recvmsg(500, 0, socket.MSG_PEEK)
        b.recv(0)
        receive_all(b, 500)
        data = marked(100)
        send_all(a, data)
        n = b.recv_into(bytearray(60), 60, socket.MSG_TRUNC)
        received(b, data[:n], "TRUNCATED")
        receive_all(b, 40)


def not_ready() -> None:
    with pair() as (a, b):
        for sock in (a, b):
            sock.setblocking(False)
        try:
            b.recv(100)
            raise AssertionError("something came from nowhere")
        except BlockingIOError:
            pass
        data = marked(8 << 20)
        view = memoryview(data)
        refused = 0
        # Until neither is left: what the kernel takes of each write is told by its result.
        left = len(data)
        while left:
            try:
                while view:
                    n = sent(a, view[:500_000], a.send(view[:500_000]))
                    view = view[n:]
            except BlockingIOError:
                refused += 1
            try:
                while True:
                    left -= len(received(b, b.recv(100_000)))
                    if not left:
                        break
            except BlockingIOError:
                pass
        assert refused


# -- descriptors


def duplicates() -> None:
    with pair() as (a, b):
        second = a.dup()
        exchange(second, b)
        descriptor = os.dup2(second.fileno(), second.fileno() + 50)
        with Sock(fileno=descriptor) as third:
            second.close()
            exchange(third, b)
            exchange(a, b)


def forks() -> None:
    with pair() as (a, b):
        exchange(a, b)
        data = marked(2000)
        child = os.fork()
        if not child:
            os.write(a.fileno(), data)
            os._exit(0)
        os.waitpid(child, 0)
        sent(a, data, len(data))
        receive_all(b, len(data))
        exchange(a, b)


def passed_on() -> None:
    """A descriptor goes to another process through a UNIX socket."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    data = marked(2000)
    if not child:
        _, descriptors, _, _ = socket.recv_fds(theirs, 1, 1)
        os.write(descriptors[0], data)
        os._exit(0)
    with pair() as (a, b):
        exchange(a, b)
        socket.send_fds(ours, [b"x"], [a.fileno()])
        os.waitpid(child, 0)
        sent(a, data, len(data))
        receive_all(b, len(data))


def reused() -> None:
    """Many short connections on the same few descriptors, in threads."""

    def work() -> None:
        for _ in range(150):
            with pair() as (a, b):
                exchange(a, b, 300)

    together(4, work)


def threads() -> None:
    def work() -> None:
        with pair() as (a, b):
            for size in (10, 5000, 100_000):
                exchange(a, b, size)

    together(12, work)


def large() -> None:
    with pair() as (a, b):
        exchange(a, b, 10 << 20)


def one_call() -> None:
    """10 MB in a single blocking call."""
    with pair() as (a, b):
        data = marked(10 << 20)
        thread = threading.Thread(target=lambda: sent(a, data, a.send(data)))
        thread.start()
        receive_all(b, len(data))
        thread.join()
        assert len(log[ports(a)]["sent"].data) == len(data)


def interleaved() -> None:
    """Two threads write to one socket, in an order that only its reader knows."""
    with pair() as (a, b):

        def work() -> None:
            for _ in range(400):
                data = marked(3000)
                assert a.send(data) == len(data)

        writers = threading.Thread(target=together, args=(2, work))
        writers.start()
        receive_all(b, 2 * 400 * 3000)
        writers.join()
        log[ports(a)]["sent"].data += log[ports(b)]["received"].data


def crowd() -> None:
    """5,000 connections at once."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (20_000, 20_000))
    with ExitStack() as stack, socket.create_server(("127.0.0.1", 0), backlog=100) as listening:
        pairs = []
        for _ in range(5000):
            a = stack.enter_context(socket.create_connection(listening.getsockname()))
            b = stack.enter_context(listening.accept()[0])
            pairs.append((a, b))
        for a, b in pairs:
            send_all(a, marked(100))
        for a, b in reversed(pairs):
            receive_all(b, 100)
            send_all(b, marked(200))
        for a, _ in pairs:
            receive_all(a, 200)


# -- ends


def half_closed() -> None:
    with pair() as (a, b):
        send_all(a, marked(100))
        a.shutdown(socket.SHUT_WR)
        receive_all(b, 100)
        assert b.recv(1) == b""
        send_all(b, marked(200))
        receive_all(a, 200)


def reset() -> None:
    with pair() as (a, b):
        exchange(a, b)
        log[ports(a)]["reset"] = Stream()
        b.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        b.close()
        try:
            a.recv(1)
            raise AssertionError("no reset")
        except ConnectionResetError:
            pass


def refused() -> None:
    """A connect that fails, and then one of the same socket that does not."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with socket.socket() as a:
        with suppress(ConnectionRefusedError):
            a.connect(("127.0.0.1", port))
        with socket.create_server(("127.0.0.1", port)) as listening:
            a.setblocking(False)
            a.connect_ex(listening.getsockname())
            b, _ = listening.accept()
        a.setblocking(True)
        with b:
            exchange(a, b)


def ipv6() -> None:
    with pair(socket.AF_INET6, "::1") as (a, b):
        exchange(a, b)


def both_families() -> None:
    """An IPv6 socket that hears IPv4."""
    with (
        socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listening,
        socket.create_connection(("127.0.0.1", listening.getsockname()[1])) as a,
    ):
        b, _ = listening.accept()
        with b:
            exchange(a, b)


def other_kinds() -> None:
    """Nothing of this is TCP."""
    a, b = socket.socketpair()
    a.sendall(b"unix")
    b.recv(10)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        one.sendto(b"udp", one.getsockname())
        one.recv(10)
    out, into = os.pipe()
    os.write(into, b"pipe")
    os.read(out, 10)
    with Path(os.devnull).open("wb") as file:
        file.write(b"file")


def by_ring() -> None:
    with pair() as (a, b):
        for hole in ("", "BYPASSED", "", "BYPASSED"):
            data = marked(1000)
            if hole:
                sent(a, data, ring_send(a, data), hole)
            else:
                send_all(a, data)
            receive_all(b, 1000)


# -- what the tests themselves set off


def waiting() -> None:
    """Connections from before "ready", one of them with a reader that waits."""
    a, b, thread, results = before
    data = marked(700)
    sent(b, data, b.send(data))
    thread.join()
    received(a, results[0])
    exchange(a, b)


def _wait_in_read() -> tuple[Sock, Sock, threading.Thread, list[bytes]]:
    listening = socket.create_server(("127.0.0.1", 0))
    a = socket.create_connection(listening.getsockname())
    b, _ = listening.accept()
    a.sendall(b"early")
    b.recv(10)
    results: list[bytes] = []
    thread = threading.Thread(target=lambda: results.append(a.recv(1000)))
    thread.start()
    return a, b, thread, results


def killed() -> None:
    """Dies in the middle of a read, with the connection open."""
    with pair() as (a, b):
        exchange(a, b)
        write_log(Path(sys.argv[2]))
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGKILL)).start()
        a.recv(1)


def renamed() -> None:
    ctypes.CDLL(None).prctl(15, b"wiretape-child", 0, 0, 0)
    with pair() as (a, b):
        exchange(a, b)


if __name__ == "__main__":
    scenario = globals()[sys.argv[1]]
    before = _wait_in_read() if scenario is waiting else None
    print("ready", flush=True)
    sys.stdin.readline()
    scenario()
    write_log(Path(sys.argv[2]))
    print("done", flush=True)
    sys.stdin.read()
