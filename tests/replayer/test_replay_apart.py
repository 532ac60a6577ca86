"""An answer is judged while the build works on the next request, unless that one needs it."""

import json
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tapes import Tape, request_of, response_of

from wiretape.exchange.http1 import write_response
from wiretape.replayer.apart import is_apart
from wiretape.replayer.config import Config
from wiretape.replayer.io.client import _Connection
from wiretape.replayer.judge import Attempt
from wiretape.replayer.run import replay

FIRST, SECOND = "9d18e059-ea22-4a34-b185-206b1ed9eef8", "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
MADE = {"id": FIRST, "cursor": "c2tpcD0yMA", "name": "Chair of oak", "at": "2023-11-14"}


@pytest.mark.parametrize(
    ("target", "fields", "content", "apart"),
    [
        ("/orders", {}, b"", True),
        ("/orders", {"Accept": "application/json"}, b"", True),
        ("/orders", {"Content-Type": "application/json"}, b"{}", True),
        ("/orders", {}, b'{"name": "Chair of oak"}', True),
        (f"/orders/{SECOND}", {}, b"", True),
        (f"/orders/{FIRST}", {}, b"", False),
        (f"/orders?after=x%2F{FIRST}%2F", {}, b"", False),
        ("/orders?cursor=c2tpcD0yMA%3D%3D", {}, b"", False),
        ("/orders", {"X-Order": f"ord_{FIRST}"}, b"", False),
        ("/orders", {"Cookie": f"last={FIRST}; a=b"}, b"", False),
        ("/orders", {}, json.dumps({"parent": FIRST}).encode(), False),
        ("/orders", {}, b"x" * 4097, False),  # not looked at
    ],
)
def test_what_can_be_sent_before_the_answer_is_judged(
    target: str, fields: dict[str, str], content: bytes, apart: bool
) -> None:
    response = write_response(response_of(200, MADE))
    assert is_apart(request_of("POST", target, content, fields), response) is apart


class Handler(BaseHTTPRequestHandler):
    """Makes a new id for every path, and tells it again below /same."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    latest = ""

    def do_GET(self) -> None:
        if not self.path.startswith("/same/"):
            Handler.latest = str(uuid.uuid4())
        status = 404 if self.path.startswith("/same/") and self.latest not in self.path else 200
        content = json.dumps({"id": self.latest}).encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was sent and judged, in order."""
    done: list[str] = []
    ask, judge = _Connection.ask, Attempt.judge

    def asked(connection: _Connection, wire: bytes, *rest: object) -> None:
        done.append(f"send {wire.split()[1].decode()[:5]}")
        ask(connection, wire, *rest)  # type: ignore[arg-type]

    def judged(attempt: Attempt, *rest: object) -> None:
        done.append(f"judge {attempt.position}")
        judge(attempt, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(_Connection, "ask", asked)
    monkeypatch.setattr(Attempt, "judge", judged)
    return done


def run(tape: Tape, tmp_path: Path, port: int, max_failures: int | None = None) -> list[str]:
    """The states of all exchanges."""
    config = Config(
        recording=tape.write(tmp_path / "x.mcap"),
        target=f"http://127.0.0.1:{port}",
        service=None,
        mock=False,
        env=(),
        ready=None,
        ready_timeout_ns=10**9,
        timeout_ns=10**10,
        command=(),
        max_failures=max_failures,
    )
    for exchange in tape.exchanges:
        exchange.role = 1
    config.recording.unlink()
    tape.write(config.recording)
    return [result.state.value for result in replay(config, lambda _: None).results]


def test_an_answer_is_judged_while_the_next_request_is_on_its_way(
    tape: Tape, tmp_path: Path, port: int, turns: list[str]
) -> None:
    tape.inbound(request_of("GET", "/a"), response_of(200, {"id": FIRST}))
    tape.inbound(request_of("GET", "/b"), response_of(200, {"id": SECOND}))
    tape.inbound(request_of("GET", "/c"), response_of(200, {"id": str(uuid.UUID(int=7 << 99))}))
    states = run(tape, tmp_path, port)
    assert turns == ["send /a", "send /b", "judge 0", "send /c", "judge 1", "judge 2"]
    assert states[:2] == ["same", "same"]


def test_what_is_carried_on_is_judged_before(
    tape: Tape, tmp_path: Path, port: int, turns: list[str]
) -> None:
    tape.inbound(request_of("GET", "/a"), response_of(200, {"id": FIRST}))
    tape.inbound(request_of("GET", f"/same/{FIRST}"), response_of(200, {"id": FIRST}))
    assert run(tape, tmp_path, port) == ["same", "same"]
    assert turns == ["send /a", "judge 0", "send /same", "judge 1"]


def test_nothing_is_sent_once_there_are_failures_enough(
    tape: Tape, tmp_path: Path, port: int, turns: list[str]
) -> None:
    tape.inbound(request_of("GET", "/a"), response_of(200, {"id": "one"}))
    tape.inbound(request_of("GET", "/b"), response_of(200, {"id": SECOND}))
    assert run(tape, tmp_path, port, max_failures=1)[0] == "differs"
    assert turns == ["send /a", "judge 0"]
