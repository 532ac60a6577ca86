"""Streams put together from events by position alone, and the processes whose they are."""

import pickle
import select
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from live_agent import PATIENCE_S

from wiretape.agent.sources.ebpf.events import RECEIVED, SENT, HoleReason, Kind
from wiretape.agent.sources.ebpf.source import EbpfSource, SocketConnection

CHILDREN = Path(__file__).with_name("ebpf_children.py")
Logged = dict[tuple[int, int], dict[str, tuple[bytes, list[tuple[int, int, str]]]]]


class Stream:
    def __init__(self, in_parallel: bool) -> None:
        self.in_parallel = in_parallel
        """Several write at the same time."""
        self.data = bytearray()
        self.holes: list[tuple[int, int, str]] = []
        self.error: int | None = None
        """0: it ended in order."""

    def add(self, position: int, length: int, payload: bytes | None, reason: str) -> None:
        back = len(self.data) - position
        if back > 0:
            assert self.in_parallel, "bytes come twice"
            position, length = position + back, max(length - back, 0)
            payload = None if payload is None else payload[back:]
        if position > len(self.data):
            self._hole(position - len(self.data), "RING_LOST")
        if payload is None and length:
            self._hole(length, reason)
        elif payload is not None:
            assert len(payload) == length
            self.data += payload

    def _hole(self, length: int, reason: str) -> None:
        self.holes.append((len(self.data), length, reason))
        self.data += bytes(length)


class Capture:
    """All that a source has told."""

    def __init__(self, source: EbpfSource) -> None:
        self.source = source
        self.in_parallel = False
        self.streams: dict[int, tuple[Stream, Stream]] = defaultdict(
            lambda: (Stream(self.in_parallel), Stream(self.in_parallel))
        )
        self.connections: dict[int, SocketConnection] = {}
        self.closed: set[int] = set()
        self.notices: list[tuple[int, int]] = []
        self.processes: dict[int, set[int]] = defaultdict(set)
        self.events = 0

    def read(self) -> None:
        for batch in self.source.batches():
            self.events += len(batch)
            for n in range(len(batch)):
                number, kind = int(batch.connection[n]), Kind(batch.kind[n])
                if kind is Kind.NOTICE:
                    self.notices.append((int(batch.process[n]), int(batch.reason[n])))
                    continue
                if kind is Kind.OPENED:
                    assert number not in self.connections
                    self.connections[number] = self.source.connections[number]
                    continue
                assert number in self.connections, "nobody knows this connection"
                assert number not in self.closed, "it is over"
                self.processes[number].add(int(batch.process[n]))
                streams = self.streams[number]
                if kind is Kind.CLOSED:
                    self.closed.add(number)
                    for stream, total in zip(streams, batch.closed(n), strict=True):
                        stream.add(total, 0, b"", "")
                    continue
                stream = streams[int(batch.direction[n])]
                if kind is Kind.ENDED:
                    stream.error = int(batch.length[n])
                    continue
                assert batch.at_ns[n] <= batch.ended_ns[n]
                payload = bytes(batch.payload(n)) if kind is Kind.DATA else None
                reason = HoleReason(batch.reason[n]).name if kind is Kind.HOLE else ""
                stream.add(int(batch.position[n]), int(batch.length[n]), payload, reason)

    def by_ports(self, local: int, remote: int) -> list[int]:
        return [
            number
            for number, connection in self.connections.items()
            if (connection.local[1], connection.remote[1]) == (local, remote)
        ]

    def agrees(self, logged: Logged, closed: bool = True) -> None:
        """Exactly the logged connections, with exactly the bytes that passed."""
        for ports, streams in logged.items():
            numbers = self.by_ports(*ports)
            assert len(numbers) == 1, f"{ports}: {numbers}"
            number = numbers[0]
            if closed:
                assert number in self.closed
            for name, direction in (("sent", SENT), ("received", RECEIVED)):
                data, holes = streams[name]
                seen = self.streams[number][direction]
                assert seen.holes == holes, f"{ports} {name}"
                wanted = bytearray(data)
                for position, length, _ in holes:
                    wanted[position : position + length] = bytes(length)
                assert seen.data == wanted, f"{ports} {name}"
        assert len(self.connections) == len(logged)


class Child:
    """A process that does one scenario of ebpf_children.py."""

    def __init__(self, scenario: str, log: Path) -> None:
        self._log = log
        self.process = subprocess.Popen(
            [sys.executable, CHILDREN, scenario, log],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._line() == b"ready\n"
        self.pid = self.process.pid

    def _line(self) -> bytes:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def done(self, capture: Capture) -> Logged:
        """Its log, once it is through; what is captured meanwhile is read."""
        assert self.process.stdout is not None
        while not select.select([self.process.stdout], [], [], 0.01)[0]:
            capture.read()
        assert self._line() == b"done\n", "the scenario failed"
        return self.log()

    def log(self) -> Logged:
        with self._log.open("rb") as file:
            logged: Logged = pickle.load(file)
        return logged

    def end(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(PATIENCE_S)


@contextmanager
def child(scenario: str, folder: Path) -> Iterator[Child]:
    running = Child(scenario, folder / f"{scenario}.log")
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
        running.end()


def settled(capture: Capture) -> None:
    """Reads until all connections are closed, or nothing comes any more."""

    def over() -> bool:
        capture.read()
        return capture.closed == set(capture.connections)

    deadline = time.monotonic() + PATIENCE_S
    while not over() and time.monotonic() < deadline:
        time.sleep(0.02)
