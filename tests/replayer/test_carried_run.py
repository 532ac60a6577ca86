"""A build that issues tokens, keys, cursors, tags and numbers of its own: a client's requests are
replayed against another process of it."""

import base64
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tapes import CLIENT, SERVICE, TARGET, Outcome, Tape, request_of, response_of

from wiretape.exchange.http1 import MessageParser
from wiretape.exchange.v1.exchange_pb2 import Exchange, HttpRequest, HttpResponse

Replay = Callable[..., Outcome]
SERVER = Path(__file__).with_name("carrying_server.py")
SERVED = ("--service", ":8080")
FORM = "application/x-www-form-urlencoded"


def build(*arguments: str) -> list[str]:
    return ["--", sys.executable, str(SERVER), "--port", "{port}", *arguments]


@contextmanager
def running(*arguments: str) -> Iterator[socket.socket]:
    """A connection to a new process of the service."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, str(SERVER), "--port", str(port), *arguments])
    try:
        until = time.monotonic() + 20
        while True:
            try:
                connection = socket.create_connection(("127.0.0.1", port), timeout=20)
                break
            except ConnectionRefusedError:
                assert time.monotonic() < until
                time.sleep(0.02)
        with connection:
            yield connection
    finally:
        process.kill()
        process.wait()


class Client:
    """Asks, and writes down what passes, with the time of day."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.tape = Tape()

    def ask(self, method: str, target: str, content: str = "", **fields: str) -> HttpResponse:
        lines = [f"{method} {target} HTTP/1.1", "Host: carrying.example"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
        if method != "GET":
            lines.append(f"Content-Length: {len(content)}")
        wire = "\r\n".join([*lines, "", content]).encode()
        made = Exchange(id=f"e{len(self.tape.exchanges):04d}")
        made.connection.id = "c1"
        made.connection.client.address, made.connection.client.port = CLIENT
        made.connection.server.address, made.connection.server.port = SERVICE
        request = MessageParser.requests().receive_data(wire, time.time_ns())[0]
        assert isinstance(request, HttpRequest)
        made.http.request.CopyFrom(request)
        self._connection.sendall(wire)
        parser = MessageParser.responses()
        parser.expect(method)
        answers: Any = []
        while not answers:
            answers = parser.receive_data(self._connection.recv(1 << 16), time.time_ns())
        made.http.response.CopyFrom(answers[0])
        self.tape.exchanges.append(made)
        return made.http.response


def value(response: HttpResponse, name: str) -> str:
    return next(f.value.decode() for f in response.fields if f.name.decode() == name)


def a_day(client: Client) -> None:
    page = client.ask("GET", "/login")
    token = re.search(rb'value="([^"]+)"', page.content.data)
    assert token is not None
    cookie = value(page, "Set-Cookie").partition(";")[0]
    form = f"user=ada&csrf={token[1].decode()}"
    login = client.ask("POST", "/login", form, Content_Type=FORM, Cookie=cookie)
    bearer = "Bearer " + json.loads(login.content.data)["token"]
    cursor = ""
    for _ in range(3):
        asked = f"?cursor={quote(cursor, safe='')}" if cursor else ""
        answer = client.ask("GET", f"/items{asked}", Authorization=bearer)
        cursor = json.loads(answer.content.data).get("next_cursor", "")
    key = json.loads(client.ask("POST", "/keys").content.data)
    basic = base64.b64encode(f"{key['user']}:{key['password']}".encode()).decode()
    client.ask("GET", "/keys/check", Authorization=f"Basic {basic}")
    tag = value(client.ask("GET", "/docs/1"), "ETag")
    client.ask("PUT", "/docs/1", "changed", If_Match=tag)
    note = client.ask("POST", "/notes", "milk")
    client.ask("GET", value(note, "Location"))


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    with running("--first", "17") as connection:
        client = Client(connection)
        a_day(client)
    statuses = [exchange.http.response.status for exchange in client.tape.exchanges]
    assert statuses == [200, 200, 200, 200, 200, 201, 200, 200, 200, 201, 200]
    return client.tape.write(tmp_path / "day.mcap")


def kinds(done: Outcome) -> list[set[str]]:
    """Of each exchange, the kinds of its differences."""
    assert done.report is not None, done.err
    return [{d["kind"] for d in e["differences"]} for e in done.report["exchanges"]]


def test_a_new_process_takes_every_value_for_its_own(replay: Replay, recording: Path) -> None:
    done = replay("run", recording, *SERVED, *TARGET, *build("--first", "1000"))
    found = kinds(done)
    assert not any("status" in of_one for of_one in found), done.out
    # Tokens of another length are differences where they are made, and nowhere else.
    assert all(not found[position] for position in (1, 5, 6, 8, 9, 10)), done.out


@pytest.mark.parametrize(
    ("fault", "root", "consequences"), [("no-form-token", 0, [1, 2, 3, 4]), ("no-cursor", 2, [3])]
)
def test_what_depends_on_a_missing_value_is_a_consequence(
    replay: Replay, recording: Path, fault: str, root: int, consequences: list[int]
) -> None:
    done = replay("run", recording, *SERVED, *TARGET, *build("--first", "17", "--fault", fault))
    assert done.code == 1, done.out
    assert done.report is not None
    cause = next(c for c in done.report["causes"] if root in c["exchanges"])
    assert set(consequences) <= set(cause["consequences"]), done.out
    others = [c for c in done.report["causes"] if set(c["exchanges"]) & set(consequences)]
    assert others == []


def test_an_expired_token_is_told_before_the_run(replay: Replay, tmp_path: Path) -> None:
    def coded(text: str) -> str:
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    tape = Tape()
    token = ".".join([coded('{"alg":"none"}'), coded('{"exp":1700003600}'), coded("no signature")])
    request = request_of("GET", "/docs/1", fields={"Authorization": f"Bearer {token}"})
    tape.inbound(request, response_of(200, {}))
    done = replay("run", tape.write(tmp_path / "old.mcap"), *SERVED, *TARGET, *build())
    told = "the JWT in Authorization of 1 request expired on 2023-11-14 23:13:20 UTC"
    assert told in done.err
    assert done.err.index(told) < done.err.index("replaying 1 exchanges")
