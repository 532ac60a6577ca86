"""HTTPS as the processes at its ends have it in plain: compared with what they noted themselves."""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from live_agent import PATIENCE_S, Agent, running, until
from tls_server import answer

from wiretape.agent.sources.ebpf.tls_attacher import NEEDED
from wiretape.exchange.recording import read_recording
from wiretape.exchange.v1 import exchange_pb2 as pb

pytestmark = [pytest.mark.privileged, pytest.mark.alone]
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


@contextmanager
def recorded(folder: Path, *options: str | Path) -> Iterator["Recorded"]:
    """The agent at work; what it recorded is there afterwards."""
    recording, summary = folder / "rec.mcap", folder / "ledger.json"
    found = Recorded()
    with running("-o", recording, "--summary-json", summary, *options) as agent:
        found.agent = agent
        yield found
        found.said = agent.end().err
    found.exchanges = list(read_recording(recording))
    found.ledger = ledger(summary)


class Recorded:
    agent: Agent
    said: str
    exchanges: list[pb.Exchange]
    ledger: dict


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
def test_servers(kind: str, size: int, certified: Path, tmp_path: Path) -> None:
    # No more at once than the ring has room for.
    connections = 2 if size > 100_000 else 6
    with serving(kind, certified) as server:
        with recorded(tmp_path, "--pid", str(server.pid)) as found:
            ask(server.port, connections, 3, size)
        agrees(found.exchanges, server.noted(), pb.ROLE_INBOUND)
    version = "1.2" if "1.2" in kind else "1.3"
    assert {e.connection.tls.version for e in found.exchanges} == {version}
    assert {e.connection.process.pid for e in found.exchanges} == {server.pid}
    counted = found.ledger
    assert counted["sockets_unknown"] == counted["kernel_drops"] == 0
    assert counted["exchanges"] == counted["complete"] == 3 * connections
    assert set(counted["undecoded_streams"]) <= {"tls"}
    assert "TLS" not in found.said


@pytest.mark.parametrize("kind", KINDS)
def test_connections_opened_before(kind: str, certified: Path, tmp_path: Path) -> None:
    with serving(kind, certified) as server, Client(server.port, 3, 4, 3000) as client:
        before = [each["target"] for each in server.noted()]
        with recorded(tmp_path, "--pid", str(server.pid)) as found:
            client.go_on()
        noted = [each for each in server.noted() if each["target"] not in before]
        exchanges = found.exchanges
        if kind.startswith("threaded"):
            # Each thread waited in the library, where no probe saw it come in: what it returned
            # with is not seen, and not passed over in silence.
            noted = [each for each in noted if "-1." not in each["target"]]
            halves = [e for e in exchanges if not e.http.HasField("request")]
            assert [len(e.http.response.content.data) for e in halves] == [3001] * 3
            exchanges = [e for e in exchanges if e.http.HasField("request")]
        agrees(exchanges, noted, pb.ROLE_INBOUND)
    assert all(e.connection.midstream for e in found.exchanges)
    assert found.ledger["sockets_unknown"] == 0


@pytest.mark.parametrize("ports", [True, False])
@pytest.mark.parametrize("kind", ["threaded", "asyncio"])
def test_ports(kind: str, ports: bool, certified: Path, tmp_path: Path) -> None:
    with serving(kind, certified) as server:
        port = server.port if ports else 1
        with recorded(tmp_path, "--pid", str(server.pid), "--port", str(port)) as found:
            ask(server.port)
        agrees(found.exchanges, server.noted() if ports else [], pb.ROLE_INBOUND)
    assert ports or not found.ledger["connections"]


def test_a_client(certified: Path, tmp_path: Path) -> None:
    with serving("threaded", certified) as server:
        with Client(server.port, 3, 4, 3000) as client:
            first = [each["target"] for each in server.noted()]
            with recorded(tmp_path, "--pid", str(client.process.pid)) as found:
                client.go_on()
        noted = [each for each in server.noted() if each["target"] not in first]
        # Who made a connection that was open before cannot be told, but of one who listens.
        agrees(found.exchanges, noted, pb.ROLE_UNSPECIFIED)


@pytest.mark.parametrize("command", ["curl", "gnutls-cli", "node"])
def test_clients_that_start_later(command: str, certified: Path, tmp_path: Path) -> None:
    """Also those of libraries that nobody has loaded before."""
    if shutil.which(command) is None:
        pytest.skip(f"{command} is missing")
    with serving("threaded", certified) as server:
        url = f"https://localhost:{server.port}/by-{command}?5000"
        with recorded(tmp_path, "--comm", command) as found:
            if command == "curl":
                # Both on one connection.
                subprocess.run(
                    ["curl", "-sk", url, "-d", "posted", url.replace("by", "again-by")],
                    check=True, capture_output=True, timeout=20,
                )  # fmt: skip
            elif command == "gnutls-cli":
                subprocess.run(
                    ["gnutls-cli", "--no-ca-verification", "localhost", "-p", str(server.port)],
                    input=f"GET /by-{command}?5000 HTTP/1.1\r\nHost: localhost\r\n"
                    "Connection: close\r\n\r\n".encode(),
                    capture_output=True, timeout=20,
                )  # fmt: skip
            else:
                script = (
                    "process.env.NODE_TLS_REJECT_UNAUTHORIZED = 0;"
                    f"setTimeout(() => fetch('{url}').then((a) => a.text()), 1500)"
                )
                subprocess.run(["node", "-e", script], check=True, capture_output=True, timeout=20)
        agrees(found.exchanges, server.noted(), pb.ROLE_OUTBOUND)
    connections = [e.connection for e in found.exchanges]
    assert {each.tls.server_name for each in connections} == {b"localhost"}
    assert len({each.id for each in connections}) == 1
    assert not connections[0].midstream


def test_openssl_at_both_ends(certified: Path, tmp_path: Path) -> None:
    """What is typed goes over; nothing of HTTP about the server."""
    with subprocess.Popen(
        ["openssl", "s_server", "-accept", "127.0.0.1:0", "-naccept", "1", "-cert",
         certified / "cert.pem", "-key", certified / "key.pem"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as server:  # fmt: skip
        assert server.stdout is not None
        assert server.stdin is not None
        line = b""
        while not line.startswith(b"ACCEPT"):
            line = server.stdout.readline()
        port = line.rpartition(b":")[2].strip().decode()
        with (
            recorded(tmp_path, "--comm", "openssl") as found,
            subprocess.Popen(
                ["openssl", "s_client", "-quiet", "-connect", f"127.0.0.1:{port}"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            ) as client,
        ):  # fmt: skip
            assert client.stdin is not None
            assert client.stdout is not None
            client.stdin.write(b"GET /typed HTTP/1.1\nHost: me\n\n")
            client.stdin.flush()
            while server.stdout.readline() != b"Host: me\n":
                pass
            server.stdin.write(b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello")
            server.stdin.flush()
            assert client.stdout.read(5) == b"HTTP/"
            # Its own word for the end.
            server.communicate(b"Q\n", PATIENCE_S)
            client.wait(PATIENCE_S)
    one, other = found.exchanges
    assert {one.role, other.role} == {pb.ROLE_INBOUND, pb.ROLE_OUTBOUND}
    for each in (one, other):
        assert each.http.request.target == b"/typed"
        assert each.http.response.content.data == b"hello"
    assert one.connection.client == other.connection.client


def test_a_program_whose_tls_is_not_known(certified: Path, tmp_path: Path) -> None:
    """OpenSSL's own server by its BIO, which passes by the library's functions."""
    command = ["openssl", "s_server", "-www", "-quiet", "-accept", "127.0.0.1:0"]
    command += ["-cert", str(certified / "cert.pem"), "-key", str(certified / "key.pem")]
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command[command.index("127.0.0.1:0")] = f"127.0.0.1:{port}"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        with recorded(tmp_path, "--pid", str(server.pid)) as found:
            curl = ["curl", "-sk", "--retry", "5", "--retry-connrefused"]
            url = f"https://127.0.0.1:{port}/"
            subprocess.run([*curl, url], check=True, capture_output=True, timeout=30)
        server.kill()
    assert f"process {server.pid} (openssl) speaks TLS" in found.said
    assert found.ledger["undecoded_streams"]["tls"]
    assert not found.exchanges


@pytest.mark.parametrize("kind", ["threaded", "asyncio", "node"])
def test_a_crowd_whose_requests_are_of_one_length(
    kind: str, certified: Path, tmp_path: Path
) -> None:
    """Nothing is mixed between connections: each mark is found where it was sent, and once."""
    with serving(kind, certified) as server:
        with recorded(tmp_path, "--pid", str(server.pid)) as found:
            ask(server.port, connections=10, requests=1, size=300)
            ask(server.port, connections=60, requests=3, size=300)
        noted = server.noted()
        # The first ones have the names of later ones.
        assert len(found.exchanges) == len(noted) == 190
        told = sorted((e.connection.client.port, e.http.request.target) for e in found.exchanges)
        assert told == sorted((each["port"], each["target"].encode()) for each in noted)
    for exchange in found.exchanges:
        target = exchange.http.request.target.decode()
        assert exchange.http.response.content.data == answer(target)
    assert found.ledger["sockets_unknown"] == found.ledger["kernel_drops"] == 0


def test_a_library_that_only_the_process_can_see(certified: Path, tmp_path: Path) -> None:
    """In another mount namespace, as in a container; from a file that nobody else has loaded."""
    found = subprocess.run(
        [sys.executable, "-c", "import ssl; print(*{line.split()[-1] for line in "
         "open('/proc/self/maps') if 'libssl' in line or 'libcrypto' in line})"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    if "libssl" not in found.stdout:
        pytest.skip("Python has OpenSSL in itself")
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    script = (
        f"mount -t tmpfs none {hidden} && cp {found.stdout.strip()} {hidden} &&"
        f" LD_LIBRARY_PATH={hidden} exec {sys.executable} {HERE / 'tls_server.py'}"
        f" threaded {certified}"
    )
    with subprocess.Popen(["unshare", "-m", "sh", "-c", script], stdout=subprocess.PIPE) as process:
        server = Server("threaded", certified, process)
        assert str(hidden) in Path(f"/proc/{server.pid}/maps").read_text()
        assert not list(hidden.iterdir())
        with recorded(tmp_path, "--pid", str(server.pid)) as seen:
            ask(server.port)
        process.kill()
        agrees(seen.exchanges, server.noted(), pb.ROLE_INBOUND)


def test_killed_it_leaves_no_process_behind(certified: Path, tmp_path: Path) -> None:
    with serving("threaded", certified) as server:
        with running("-o", tmp_path / "rec.mcap", "--pid", str(server.pid)) as agent:
            children = Path(f"/proc/{agent.process.pid}/task/{agent.process.pid}/children")
            (child,) = map(int, children.read_text().split())
            agent.process.kill()
            agent.process.wait(PATIENCE_S)
            until(lambda: not Path(f"/proc/{child}/fd/0").exists(), "the end of the child")
        ask(server.port)


def test_who_attaches_has_what_that_takes_and_is_told_of(certified: Path, tmp_path: Path) -> None:
    with (
        serving("threaded", certified) as server,
        running("-o", tmp_path / "rec.mcap", "--pid", str(server.pid)) as agent,
    ):
        main = agent.process.pid
        (child,) = map(int, Path(f"/proc/{main}/task/{main}/children").read_text().split())
        status = dict(
            line.split(":\t") for line in Path(f"/proc/{child}/status").read_text().splitlines()
        )
        assert int(status["CapEff"], 16) & ~sum(1 << each for each in NEEDED) == 0
        assert int(status["CapPrm"], 16) == int(status["CapEff"], 16)
        assert status["NoNewPrivs"] == "1"
        assert status["Threads"] == "1"
        os.kill(child, signal.SIGKILL)
        agent.hears("TLS is not looked at any more")
