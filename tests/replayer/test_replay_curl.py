"""Commands that send a request again: a shell and curl send what was recorded, all bytes of it."""

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wiretape.exchange.http1 import MessageParser
from wiretape.exchange.v1.exchange_pb2 import HttpRequest
from wiretape.replayer.kept import Kept
from wiretape.replayer.report.curl import curl_command

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


@dataclass
class _Echo:
    """A server that keeps the requests it got and closes after each."""

    port: int = 0
    requests: list[HttpRequest] = field(default_factory=list)

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                parser = MessageParser.requests()
                found: list[HttpRequest] = []
                while not found and (data := client.recv(65536)):
                    messages = parser.receive_data(data, 0)
                    found += [one for one in messages if isinstance(one, HttpRequest)]
                self.requests += found
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


@pytest.fixture(scope="module")
def echo() -> Iterator[_Echo]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = _Echo(listener.getsockname()[1])
        thread = threading.Thread(target=found.serve, args=(listener,), daemon=True)
        thread.start()
        yield found
        # Closing alone does not wake who waits for a connection.
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


Lines = list[tuple[bytes, bytes]]


def request_of(method: str, target: bytes, lines: Lines, content: bytes = b"") -> Kept:
    head = method.encode() + b" " + target + b" HTTP/1.1\r\n"
    head += b"".join(b"%b: %b\r\n" % line for line in lines) + b"\r\n"
    return Kept(head, content, len(content))


def sent_again(echo: _Echo, kept: Kept) -> tuple[str, bytes, Lines, bytes]:
    """What arrives when the command is run by a POSIX shell, but for the length."""
    command = curl_command(kept, "http://127.0.0.1:{port}")
    assert command is not None
    echo.requests.clear()
    done = subprocess.run(
        ["sh", "-c", command],
        env={"PATH": "/usr/bin:/bin", "PORT": str(echo.port)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, (command, done.stderr)
    (request,) = echo.requests
    lines = [(one.name, one.value) for one in request.fields]
    told = [line for line in lines if line[0].lower() != b"content-length"]
    return request.method, request.target, told, request.content.data


HOST = (b"Host", b"shop.example")
CASES = [
    ("GET", b"/", [HOST], b""),
    ("GET", b"/a/../b/./c?x=1&y=%20[1]{2}", [HOST, (b"Accept", b"*/*")], b""),
    ("GET", b"/with space|and\"quotes'#fragment\\", [HOST], b""),
    ("GET", b"/caf\xc3\xa9/\xff", [HOST], b""),
    ("OPTIONS", b"*", [HOST], b""),
    ("GET", b"http://other.example/a", [HOST], b""),
    ("HEAD", b"/a", [HOST], b""),
    ("DELETE", b"/a", [HOST], b""),
    ("POST", b"/a", [HOST], b""),
    ("POST", b"/a", [HOST, (b"Content-Type", b"application/json")], b'{"a": "it\'s $HOME `x`"}'),
    ("POST", b"/a", [HOST], b"@/etc/passwd"),
    ("POST", b"/a", [HOST], b"a\r\nb\n\tc%20%s\\n"),
    ("PUT", b"/a", [HOST], bytes(range(256))),
    ("GET", b"/a", [HOST], b"a content of a GET"),
    ("X-ODD'", b"/a", [HOST], b""),
    ("GET", b"/a", [HOST, (b"X-Empty", b""), (b"X", b"1"), (b"x", b"2")], b""),
    ("GET", b"/a", [HOST, (b"X-Bytes", b"caf\xe9 \x01'%s\\x\" $(reboot)")], b""),
    ("GET", b"/a", [HOST, (b"User-Agent", b"own/1"), (b"Accept-Encoding", b"gzip")], b""),
]


@pytest.mark.parametrize(("method", "target", "lines", "content"), CASES)
def test_what_arrives_is_what_was_recorded(
    echo: _Echo, method: str, target: bytes, lines: Lines, content: bytes
) -> None:
    kept = request_of(method, target, lines, content)
    assert sent_again(echo, kept) == (method, target, lines, content)


_VALUE = st.binary(max_size=30).map(
    lambda value: bytes(c for c in value if c not in b"\r\n\0").strip(b" \t")
)
_NAME = st.from_regex(rb"X-[A-Za-z0-9_!#$%&'*+.^`|~-]{1,8}", fullmatch=True)
_TARGET = st.binary(max_size=30).map(
    lambda value: b"/" + bytes(c for c in value if c > 32 and c != 127)
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    method=st.sampled_from(["GET", "POST", "PATCH", "PURGE"]),
    target=_TARGET,
    lines=st.lists(st.tuples(_NAME, _VALUE), max_size=4),
    content=st.binary(max_size=60),
)
def test_any_request(echo: _Echo, method: str, target: bytes, lines: Lines, content: bytes) -> None:
    kept = request_of(method, target, [HOST, *lines], content)
    assert sent_again(echo, kept) == (method, target, [HOST, *lines], content)


@pytest.mark.parametrize(
    "kept",
    [
        Kept(b"POST / HTTP/1.1\r\n\r\n", b"the start", 100),
        Kept(b"", b"", 0),
        Kept(b"garbage\r\n\r\n", b"", 0),
    ],
)
def test_what_is_no_whole_request_has_no_command(kept: Kept) -> None:
    assert curl_command(kept, "http://127.0.0.1:1") is None


@pytest.mark.parametrize(
    ("target", "begins"),
    [
        ("http://127.0.0.1:{port}", 'curl -sS -i "http://127.0.0.1:$PORT"/a '),
        ("http://127.0.0.1:8080", "curl -sS -i http://127.0.0.1:8080/a "),
        ("https://[::1]:8443/", "curl -sS -i -k 'https://[::1]:8443'/a "),
        ("http://$(reboot):{port}", 'curl -sS -i "http://\\$(reboot):$PORT"/a '),
    ],
)
def test_where_it_is_sent(target: str, begins: str) -> None:
    command = curl_command(request_of("GET", b"/a", [HOST]), target)
    assert command is not None
    assert command.startswith(begins)
