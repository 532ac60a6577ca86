"""An open-loop HTTP load: a request leaves when it is due, whatever became of those before it.

usage: python3 bench/load.py PORT RATE SECONDS [--tls] [--connections N] [--warm-up SECONDS]

Prints what came of it as a line of JSON.

Requests come at random, RATE a second on average, the same way in each run. One leaves on a
keep-alive connection that has no other under way; where all have, it waits, and its latency counts
from when it was due all the same: a server that stands still is charged with everything that was
asked meanwhile. wrk and hey ask again when they were answered, so they slow down together with the
server and hardly see that it did ("coordinated omission"). This is one loop over epoll with no
library in between: a request costs it some 20 microseconds of CPU time, the kernel's included.
"""

import argparse
import json
import random
import select
import socket
import ssl
import time
from array import array
from collections.abc import Sequence
from pathlib import Path

TARGETS = (b"/api/orders/%d",) * 3 + (b"/api/items?after=%d",)
"""Asked for by turns; each with a number of its own."""
_REQUEST = (
    b"GET %s HTTP/1.1\r\nHost: shop.test\r\nUser-Agent: load/1.0\r\nAccept: application/json\r\n"
    b"X-Request-Id: %%016x\r\n\r\n"
)
_FIRST_NUMBER = 10**9
"""All numbers have as many digits: answers of one kind have one size."""
_MOST_BYTES = 1 << 16
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}


class Connection:
    """A keep-alive connection, and what is under way on it."""

    def __init__(self, port: int, tls: ssl.SSLContext | None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket)
        self.due_ns = 0
        """When its request was due."""
        self.missing_bytes = 0
        """What of the answer has not come."""

    def receive(self) -> int:
        """How many bytes came; 0 where a TLS record is not whole yet."""
        try:
            answer = self.socket.recv(_MOST_BYTES)
        except ssl.SSLWantReadError:
            return 0
        if not answer:
            raise SystemExit("the server closed a connection")
        return len(answer)


def unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def answer_sizes(port: int, tls: ssl.SSLContext | None) -> list[int]:
    """How many bytes each of TARGETS is answered with, the head included."""
    sizes = []
    with Connection(port, tls).socket as asking:
        for target in TARGETS:
            asking.sendall(_REQUEST % (target % _FIRST_NUMBER) % 0)
            answer = asking.recv(_MOST_BYTES)
            if not answer.startswith(b"HTTP/1.1 200 "):
                raise SystemExit(f"the server answers {answer[:40]!r}")
            sizes.append(len(answer))
    return sizes


def due_times(rate: float, seconds: float) -> Sequence[int]:
    """Nanoseconds from the start: a Poisson process, as many clients make it together."""
    source, at, times = random.Random(1), 0.0, array("q")
    while (at := at + source.expovariate(rate)) < seconds:
        times.append(int(at * 1e9))
    return times


def offer(
    port: int, due_ns: Sequence[int], count: int, tls: ssl.SSLContext | None
) -> tuple[Sequence[int], float]:
    """Asks when it is due, on so many connections; latencies in the order of the answers, in
    nanoseconds, and the seconds that it took."""
    sizes, requests = answer_sizes(port, tls), [_REQUEST % target for target in TARGETS]
    idle = [Connection(port, tls) for _ in range(count)]
    busy = {connection.socket.fileno(): connection for connection in idle}
    poll = select.epoll()
    for connection in idle:
        connection.socket.setblocking(False)
        poll.register(connection.socket, select.EPOLLIN)
    latencies = array("q")
    clock, kinds, total, sent = time.monotonic_ns, len(TARGETS), len(due_ns), 0
    started = clock()
    while len(latencies) < total:
        now = clock() - started
        while idle and sent < total and due_ns[sent] <= now:
            connection, kind = idle.pop(), sent % kinds
            connection.due_ns, connection.missing_bytes = due_ns[sent], sizes[kind]
            connection.socket.send(requests[kind] % (_FIRST_NUMBER + sent, sent))
            sent += 1
        if idle and sent < total:
            # epoll's own timeout counts in milliseconds, which is too coarse.
            left_ns = due_ns[sent] - (clock() - started)
            if left_ns > 0:
                select.select([poll], (), (), left_ns / 1e9)
            answered = poll.poll(0)
        else:
            answered = poll.poll()
        for file, _ in answered:
            connection = busy[file]
            connection.missing_bytes -= connection.receive()
            if connection.missing_bytes <= 0:
                latencies.append(clock() - started - connection.due_ns)
                idle.append(connection)
    return latencies, (clock() - started) / 1e9


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("port", type=int)
    options.add_argument("rate", type=float)
    options.add_argument("seconds", type=float)
    options.add_argument("--tls", action="store_true")
    options.add_argument("--connections", type=int, default=64)
    options.add_argument("--warm-up", type=float, default=1.0, help="seconds that no latency tells")
    asked = options.parse_args()
    # Timers may otherwise be late by 50 microseconds.
    Path("/proc/self/timerslack_ns").write_text("1000")
    due_ns = due_times(asked.rate, asked.seconds)
    cpu = time.process_time()
    latencies, seconds = offer(
        asked.port, due_ns, asked.connections, unverified() if asked.tls else None
    )
    cpu = time.process_time() - cpu
    told = sorted(latencies[int(asked.rate * asked.warm_up) :]) or [0]
    quantiles = {
        name: told[min(int(len(told) * part), len(told) - 1)] / 1000
        for name, part in _QUANTILES.items()
    }
    result = {"requests": len(latencies), "seconds": seconds, "cpu": cpu, "latency_us": quantiles}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
