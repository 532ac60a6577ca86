"""HTTPS as the processes at its ends have it in plain: compared with what they noted themselves."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from live_agent import PATIENCE_S, running, until
from tls_server import answer

from wiretape.exchange.recording import read_recording
from wiretape.exchange.v1 import exchange_pb2 as pb

pytestmark = pytest.mark.privileged
HERE = Path(__file__).parent
KINDS = ("threaded", "threaded-1.2", "asyncio", "asyncio-1.2", "node")


@pytest.fixture(autouse=True)
def _as_root() -> None:
    if os.geteuid():
        pytest.skip("needs root: eBPF")
    if not any(Path("/usr/lib/python3/dist-packages").glob("bcc")):
        pytest.skip("bcc is missing (package python3-bpfcc)")


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate and its key."""
    folder = tmp_path_factory.mktemp("tls")
    command = [
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", folder / "key.pem",
        "-out", folder / "cert.pem", "-days", "2", "-subj", "/CN=localhost",
    ]  # fmt: skip
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing")
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return folder


class Server:
    def __init__(self, kind: str, folder: Path, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        self.pid = process.pid
        self.port = int(process.stdout.readline())
        self._log = folder / f"{kind}.log"

    def noted(self) -> list[dict]:
        return [json.loads(line) for line in self._log.read_text().splitlines()]


@contextmanager
def serving(kind: str, folder: Path) -> Iterator[Server]:
    command = [sys.executable, HERE / "tls_server.py", kind, folder]
    if kind == "node":
        if shutil.which("node") is None:
            pytest.skip("node is missing (package nodejs)")
        command = ["node", HERE / "tls_server.js", folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            yield Server(kind, folder, process)
        finally:
            process.kill()


class Client:
    """tls_client.py at work."""

    def __init__(self, port: int, connections: int, requests: int, size: int) -> None:
        numbers = map(str, (port, connections, requests, size))
        self.process = subprocess.Popen(
            [sys.executable, HERE / "tls_client.py", *numbers],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> "Client":
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"first\n"
        return self

    def go_on(self) -> None:
        out, _ = self.process.communicate(b"\n", PATIENCE_S)
        assert out == b"done\n"

    def __exit__(self, *unused: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


def ask(port: int, connections: int = 4, requests: int = 4, size: int = 2000) -> None:
    with Client(port, connections, requests, size) as client:
        client.go_on()


def ledger(path: Path) -> dict:
    found = json.loads(path.read_text())
    assert found["packets"] == found["packets_decoded"] + sum(found["packets_skipped"].values())
    return found


def agrees(exchanges: list[pb.Exchange], noted: list[dict], role: int) -> None:
    """Exactly the exchanges that were noted, each with all of it and on its own connection."""
    found = {e.http.request.target.decode(): e for e in exchanges}
    assert sorted(found) == sorted(each["target"] for each in noted)
    assert len(exchanges) == len(noted)
    for each in noted:
        exchange = found[each["target"]]
        request, response = exchange.http.request, exchange.http.response
        assert request.method == each["method"]
        assert hashlib.sha256(request.content.data).hexdigest() == each["digest"]
        assert response.content.data == answer(each["target"])
        assert request.content.complete
        assert response.content.complete
        assert exchange.role == role
        assert exchange.connection.client.port == each["port"]
        assert exchange.connection.HasField("tls")


@pytest.mark.parametrize("size", [10, 2000, 400_000])
@pytest.mark.parametrize("kind", KINDS)
def test_a_server(kind: str, size: int, certified: Path, tmp_path: Path) -> None:
    recording, summary = tmp_path / "rec.mcap", tmp_path / "ledger.json"
    with serving(kind, certified) as server:
        options = ("-o", recording, "--summary-json", summary)
        with running(*options, "--pid", str(server.pid)) as agent:
            ask(server.port, size=size)
            until(lambda: len(server.noted()) == 16, "all requests")
            assert agent.end().code == 130
        exchanges = list(read_recording(recording))
        agrees(exchanges, server.noted(), pb.ROLE_INBOUND)
    version = "1.2" if "1.2" in kind else "1.3"
    assert {e.connection.tls.version for e in exchanges} == {version}
    assert {e.connection.process.pid for e in exchanges} == {server.pid}
    counted = ledger(summary)
    assert counted["sockets_unknown"] == counted["kernel_drops"] == 0
    assert counted["exchanges"] == counted["complete"] == 16
    assert set(counted["undecoded_streams"]) <= {"tls"}
