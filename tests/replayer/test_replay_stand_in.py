"""`replay mock`: the upstreams alone; what is passed on; faults on the wire; times of today."""

import http.client
import json
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from tapes import BEGIN_NS, TARGET, Outcome, Tape, build, replay_command, request_of, response_of

from wiretape.exchange.v1.exchange_pb2 import ConnectionEnd
from wiretape.replayer.mocks.mock_time import is_signed, shifted, spell
from wiretape.replayer.values import read_instant

Replay = Callable[..., Outcome]
HOST = {"Host": "prices.internal"}
HOUR_NS = 3600 * 10**9
HELLO = {"hello": "world", "n": 1}


@contextmanager
def standing_in(file: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The command, and the port of its first upstream; ended by SIGTERM."""
    command = replay_command("mock", file, "--service", ":8080", *options)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    found = re.search(r"at 127\.0\.0\.1:(\d+)", process.stdout.readline())
    assert found
    try:
        yield process, int(found[1])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def ask(port: int, path: str, fields: dict[str, str] | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
        for name, value in {**HOST, **(fields or {})}.items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def recording(tape: Tape, path: Path) -> Path:
    tape.inbound(
        request_of("GET", "/hello"),
        response_of(200, HELLO),
        (request_of("GET", "/a", fields=HOST), response_of(200, b"1")),
        (request_of("GET", "/a", fields=HOST), response_of(200, b"2")),
    )
    return tape.write(path / "x.mcap")


def test_upstreams_alone(tape: Tape, tmp_path: Path) -> None:
    with standing_in(recording(tape, tmp_path)) as (process, port):
        assert [ask(port, "/a") for _ in range(3)] == [(200, b"1"), (200, b"2"), (200, b"2")]
    assert process.returncode == 0
    assert process.stdout is not None
    assert "3 calls answered from the recording" in process.stdout.read()


def test_one_place_for_all_upstreams(tape: Tape, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{probe.getsockname()[1]}"
    with standing_in(recording(tape, tmp_path), "--listen", listen) as (process, port):
        assert ask(port, "/a") == (200, b"1")
        status, content = ask(port, "/b")
        assert status == 599
        assert json.loads(content)["nearest"] == "GET /a"
    assert process.returncode == 3
    assert process.stdout is not None
    assert "not recorded: prices.internal:80 GET /b" in process.stdout.read()


def test_nothing_to_answer(replay: Replay, tape: Tape, tmp_path: Path) -> None:
    tape.inbound(request_of("GET", "/hello"), response_of(200, HELLO))
    done = replay("mock", tape.write(tmp_path / "x.mcap"), "--service", ":8080")
    assert (done.code, done.complaint) == (
        4, "replay: nothing to answer: no upstream call was recorded",
    )  # fmt: skip


class Upstream(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        content = b'{"price": 7}'
        self.send_response_only(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("passed_on", "code"), [(True, 0), (False, 3)])
def test_what_is_not_recorded_is_passed_on_where_that_is_asked_for(
    replay: Replay, tape: Tape, tmp_path: Path, upstream: int, passed_on: bool, code: int
) -> None:
    name = f"127.0.0.1:{upstream}"
    tape.inbound(request_of("GET", "/price/mug"), response_of(200, {"price": 7}))
    other = tape.outbound(request_of("GET", "/poll", fields={"Host": name}), response_of(200))
    other.connection.server.address, other.connection.server.port = "127.0.0.1", upstream
    other.http.request.first_byte_at_ns += HOUR_NS
    file = tape.write(tmp_path / "x.mcap")
    env = ("--env", f"UPSTREAM_URL=http://{{mock:{name}}}")
    options = ("--service", ":8080", "--on-miss", "passthrough" if passed_on else "fail")
    done = replay("run", file, *TARGET, *env, *options, *build())
    assert done.code == code, done.out
    assert done.report is not None
    if passed_on:
        assert [attempt["let_out"] for attempt in done.report["attempts"]] == [True]


def fault(tape: Tape, path: Path, how: ConnectionEnd.How, part: int | None) -> Path:
    response = None
    if part is not None:
        response = response_of(200, b"x" * 100)
        response.content.data, response.content.complete = b"x" * part, False
    call = request_of("GET", "/a", fields=HOST)
    tape.inbound(request_of("GET", "/hello"), response_of(200, HELLO), (call, response))
    return tape.write(path / "x.mcap", how)


@pytest.mark.parametrize("part", [None, 40])
@pytest.mark.parametrize("how", [ConnectionEnd.CLOSED, ConnectionEnd.RESET])
def test_faults_come_as_they_did(
    tape: Tape, tmp_path: Path, how: ConnectionEnd.How, part: int | None
) -> None:
    with standing_in(fault(tape, tmp_path, how, part)) as (_, port):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            client.sendall(b"GET /a HTTP/1.1\r\nHost: prices.internal\r\n\r\n")
            came = b""
            ended = "closed"
            try:
                while data := client.recv(1 << 16):
                    came += data
            except ConnectionResetError:
                ended = "reset"
        assert ended == ("reset" if how == ConnectionEnd.RESET else "closed")
        assert came.partition(b"\r\n\r\n")[2] == b"x" * (part or 0)


def test_an_answer_of_today(tape: Tape, tmp_path: Path) -> None:
    expires = datetime.fromtimestamp((BEGIN_NS + HOUR_NS) / 1e9, UTC).isoformat()
    answer = response_of(200, {"expires": expires, "born": "1970-01-01"})
    call = request_of("GET", "/a", fields=HOST)
    tape.inbound(request_of("GET", "/hello"), response_of(200, HELLO), (call, answer))
    file = tape.write(tmp_path / "x.mcap")
    with standing_in(file) as (_, port):
        said = json.loads(ask(port, "/a")[1])
    left_s = datetime.fromisoformat(said["expires"]).timestamp() - time.time()
    assert 3500 < left_s < 3660
    assert said["born"] == "1970-01-01"
    with standing_in(file, "--mock-time", "recorded") as (_, port):
        assert json.loads(ask(port, "/a")[1])["expires"] == expires


RECORDED_NS = 1_700_000_000 * 10**9  # 2023-11-14T22:13:20Z
DAY_NS = 86_400 * 10**9


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Tue, 14 Nov 2023 22:13:20 GMT", "Wed, 15 Nov 2023 23:13:20 GMT"),
        ('"2023-11-14T22:13:20Z"', '"2023-11-15T23:13:20Z"'),
        ('"2023-11-14T23:13:20.123+01:00"', '"2023-11-16T00:13:20.123+01:00"'),
        ('"2023-11-14 22:13"', '"2023-11-15 23:13"'),
        ('"2023-12-31"', '"2024-01-01"'),
        ('"1984-05-01"', '"1984-05-01"'),
        ('{"exp": 1700003600}', '{"exp": 1700093600}'),
        ('{"created_ms":1700000000123}', '{"created_ms":1700090000123}'),
        ('{"phone": 1701234567}', '{"phone": 1701234567}'),
        ('{"createdAt":"1700000000.5"}', '{"createdAt":"1700090000.5"}'),
        ("https://a/b?X-Amz-Date=2023-11-14T22:13:20Z&X-Amz-Signature=ab", None),
        ('{"at":"2023-11-14T22:13:20Z","signature":"ab"}', None),
    ],
)
def test_times_are_moved(text: str, expected: str | None) -> None:
    moved = shifted(text.encode(), RECORDED_NS, DAY_NS + HOUR_NS, {})
    assert moved.decode() == (text if expected is None else expected)


def test_a_moved_time_stays_where_it_is() -> None:
    known: dict[int, int] = {}
    first = shifted(b'"2023-11-14T22:13:20Z"', RECORDED_NS, DAY_NS, known)
    assert shifted(b'"2023-11-14T22:13:20Z"', RECORDED_NS, DAY_NS + HOUR_NS, known) == first


@pytest.mark.parametrize(
    "text",
    ["Tue, 14 Nov 2023 22:13:20 GMT", "2023-11-14T22:13:20Z", "2023-11-14T23:13:20.123456-01:30",
     "2023-11-14 22:13", "2023-11-14", "1700000000", "1700000000.25", "1700000000123456789"],
)  # fmt: skip
def test_spelling_an_instant_gives_it_back(text: str) -> None:
    instant = read_instant(text)
    assert instant is not None
    assert spell(text, instant, instant.at_ns) == text


def test_what_is_signed() -> None:
    assert is_signed(b"HTTP/1.1 200 OK\r\nX-Hub-Signature-256: sha256=1\r\n\r\n")
    assert is_signed(b"HTTP/1.1 200 OK\r\nDigest: sha-256=1\r\n\r\n")
    assert not is_signed(b"HTTP/1.1 200 OK\r\nDate: x\r\n\r\n")
