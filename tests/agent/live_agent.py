"""`capture-agent run` at work in a network namespace, with a server to be heard there."""

import http.server
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from agent_command import COMMAND, Ran, ran

from wiretape.agent.sources.netns import inside

PATIENCE_S = 20
_numbers = count()


def until(holds: Callable[[], object], what: str) -> None:
    """Waits for a condition; fails where it does not come."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"not in {PATIENCE_S} s: {what}"
        time.sleep(0.02)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=20)


@contextmanager
def namespace() -> Iterator[str]:
    """A network namespace in which loopback is up; skips the test where none can be made."""
    name = f"wiretape-{os.getpid()}-{next(_numbers)}"
    try:
        made = subprocess.run(["ip", "netns", "add", name], capture_output=True, timeout=20)
    except FileNotFoundError:
        pytest.skip("ip is missing (package iproute2)")
    if made.returncode:
        pytest.skip(f"no network namespace can be made: {made.stderr.decode().strip()}")
    try:
        ip("-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        ip("netns", "del", name)


class Agent:
    """The command at work; `end` sends it a signal and returns what it said."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self._said = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        while data := os.read(self.process.stderr.fileno(), 65536):
            self._said += data

    @property
    def said(self) -> str:
        """What it has written on standard error until now."""
        return self._said.decode()

    def hears(self, text: str) -> None:
        until(lambda: text in self.said or self.process.poll() is not None, text)
        assert text in self.said, self.said

    def end(self, number: int = signal.SIGINT) -> Ran:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.ended()

    def ended(self) -> Ran:
        assert self.process.stdout is not None
        out = self.process.stdout.read()
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return ran(code, out, self._said)


@contextmanager
def running(*arguments: str | Path, **options: object) -> Iterator[Agent]:
    """`capture-agent run` with these arguments, once it captures."""
    process = subprocess.Popen(
        [*COMMAND, "run", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,  # type: ignore[call-overload]
    )
    with process:
        agent = Agent(process)
        try:
            agent.hears("capturing from")
            yield agent
        finally:
            if process.poll() is None:
                process.kill()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = f"answer to {self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *unused: object) -> None:
        pass


@contextmanager
def server(netns: str, address: str = "127.0.0.1") -> Iterator[tuple[str, int]]:
    """An HTTP server in the namespace; its address and port."""
    with inside(netns):
        listening = http.server.ThreadingHTTPServer((address, 0), _Handler)
    listening.daemon_threads = True
    thread = threading.Thread(target=listening.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield address, listening.server_address[1]
    finally:
        listening.shutdown()
        listening.server_close()


class Client:
    """One connection that stays open."""

    def __init__(self, netns: str, place: tuple[str, int]) -> None:
        with inside(netns):
            self._socket = socket.create_connection(place, timeout=PATIENCE_S)
        self.port = self._socket.getsockname()[1]

    def get(self, path: str) -> None:
        """Asks, and reads the whole answer."""
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        answer = b""
        body = f"answer to {path}".encode()
        while not answer.endswith(b"\r\n\r\n" + body):
            data = self._socket.recv(65536)
            assert data, "the server closed"
            answer += data

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *unused: object) -> None:
        self._socket.close()


def get(netns: str, place: tuple[str, int], *paths: str) -> None:
    """All on one connection, which is closed at the end."""
    with Client(netns, place) as client:
        for path in paths:
            client.get(path)
