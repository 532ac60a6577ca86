"""`capture-agent run` as its users run it, and what may happen to it."""

import contextlib
import json
import os
import shlex
import signal
import socket
import stat
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from agent_command import COMMAND, agent
from live_agent import Client, get, ip, namespace, running, server, until

from wiretape.agent.sources.netns import inside
from wiretape.exchange.recording import RecordingError, read_recording
from wiretape.exchange.v1 import exchange_pb2 as pb

pytestmark = pytest.mark.privileged


@pytest.fixture(autouse=True)
def _as_root() -> None:
    if os.geteuid():
        pytest.skip("needs root: packet sockets and network namespaces")


@pytest.fixture
def netns() -> Iterator[str]:
    with namespace() as name:
        yield name


def exchanges(recording: Path) -> list[pb.Exchange]:
    return list(read_recording(recording))


def targets(recording: Path) -> list[str]:
    return [e.http.request.target.decode() for e in exchanges(recording)]


def seen(recording: Path) -> list[str]:
    """As `targets`, of one that is being written."""
    try:
        return targets(recording)
    except RecordingError:
        return []


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)], ids=["SIGINT", "SIGTERM"]
)
def test_what_passes_is_recorded_until_a_signal(
    netns: str, tmp_path: Path, number: int, code: int
) -> None:
    recording, summary = tmp_path / "live.mcap", tmp_path / "ledger.json"
    with (
        server(netns) as place,
        running("-o", recording, "--netns", netns, "--summary-json", summary) as live,
    ):
        paths = [f"/{n}" for n in range(30)]
        get(netns, place, *paths)
        ended = live.end(number)
    assert ended.code == code, ended.err
    assert targets(recording) == paths
    for exchange in exchanges(recording):
        assert exchange.http.response.content.data == b"answer to " + exchange.http.request.target
        assert exchange.connection.source == "packets"
        assert exchange.connection.server.port == place[1]
    ledger = json.loads(summary.read_text())
    assert ledger["exchanges"] == ledger["complete"] == 30
    assert ledger["connections"] == 1
    assert ledger["kernel_drops"] == ledger["duplicate_packets"] == 0
    assert ledger["packets"] == ledger["packets_decoded"] + sum(ledger["packets_skipped"].values())
    assert "exchanges  30 = 30 complete" in ended.out
    assert stat.S_IMODE(recording.stat().st_mode) == 0o600


def test_a_run_ends_by_itself_after_its_duration(netns: str, tmp_path: Path) -> None:
    with running("-o", tmp_path / "r.mcap", "--netns", netns, "--duration", "300ms") as live:
        ended = live.ended()
    assert ended.code == 0, ended.err
    assert exchanges(tmp_path / "r.mcap") == []


def test_an_exchange_can_be_read_while_the_run_goes_on(netns: str, tmp_path: Path) -> None:
    recording = tmp_path / "live.mcap"
    with server(netns) as place, running("-o", recording, "--netns", netns) as live:
        with Client(netns, place) as client:
            client.get("/first")
            until(lambda: seen(recording) == ["/first"], "the first exchange in the recording")
            client.get("/second")
            until(lambda: seen(recording)[1:] == ["/second"], "the second one")
        live.end()


def test_a_run_that_is_killed_leaves_what_it_wrote(netns: str, tmp_path: Path) -> None:
    recording = tmp_path / "live.mcap"
    with server(netns) as place, running("-o", recording, "--netns", netns) as live:
        get(netns, place, "/1", "/2")
        until(lambda: seen(recording) == ["/1", "/2"], "both exchanges in the recording")
        assert live.end(signal.SIGKILL).code == -signal.SIGKILL
    assert targets(recording) == ["/1", "/2"]
    shown = agent("show", recording)
    assert shown.code == 3
    assert "cut at byte" in shown.err
    assert "/2" in shown.out


def test_only_the_ports_and_hosts_that_were_named(netns: str, tmp_path: Path) -> None:
    with server(netns) as one, server(netns) as other, server(netns, "127.0.0.2") as third:
        recordings = {
            tmp_path / "port": ["--port", str(one[1]), "--port", str(third[1])],
            tmp_path / "host": ["--host", "127.0.0.2"],
            tmp_path / "both": ["--host", "127.0.0.2", "--port", str(one[1])],
            tmp_path / "expression": ["--filter", f"tcp port {other[1]}"],
        }
        for path, options in recordings.items():
            with running("-o", path, "--netns", netns, *options) as live:
                get(netns, one, "/one")
                get(netns, other, "/other")
                get(netns, third, "/third")
                assert live.end().code == 130
    assert [sorted(targets(path)) for path in recordings] == [
        ["/one", "/third"], ["/third"], [], ["/other"],
    ]  # fmt: skip


def test_a_part_of_the_connections(netns: str, tmp_path: Path) -> None:
    recording, summary = tmp_path / "r.mcap", tmp_path / "ledger.json"
    options = ["--netns", netns, "--sample", "40%", "--summary-json", summary]
    with server(netns) as place, running("-o", recording, *options) as live:
        for number in range(60):
            get(netns, place, f"/{number}/a", f"/{number}/b", f"/{number}/c")
        live.end()
    by_connection: dict[str, list[str]] = {}
    for exchange in exchanges(recording):
        target = exchange.http.request.target.decode()
        by_connection.setdefault(exchange.connection.id, []).append(target)
    assert 0 < len(by_connection) < 60
    for found in by_connection.values():
        number = found[0].split("/")[1]
        assert found == [f"/{number}/{part}" for part in "abc"]
    assert json.loads(summary.read_text())["packets_skipped"]["not_sampled"] > 0


def test_hangup_begins_a_new_file(netns: str, tmp_path: Path) -> None:
    folder = tmp_path / "live"
    with server(netns) as place, running("-o", f"{folder}/", "--netns", netns) as live:
        with Client(netns, place) as client:
            for number in range(3):
                client.get(f"/{number}")
                until(lambda n=number: len(seen(folder)) == n + 1, "the exchange in a file")
                live.process.send_signal(signal.SIGHUP)
                until(lambda n=number: not read_cut(folder / f"{n + 1:06}.mcap"), "the file closed")
        live.end()
    files = sorted(path.name for path in folder.iterdir())
    assert files[:3] == ["000001.mcap", "000002.mcap", "000003.mcap"]
    assert [targets(folder / name) for name in files[:3]] == [["/0"], ["/1"], ["/2"]]


def read_cut(path: Path) -> bool:
    reader = read_recording(path)
    list(reader)
    return reader.truncated is not None


def test_a_run_goes_on_with_a_directory(netns: str, tmp_path: Path) -> None:
    folder = tmp_path / "live"
    with server(netns) as place:
        for number in range(2):
            with running("-o", f"{folder}/", "--netns", netns) as live:
                get(netns, place, f"/{number}")
                live.end(signal.SIGTERM)
    assert targets(folder) == ["/0", "/1"]


def test_an_interface_that_goes_and_comes_back(netns: str, tmp_path: Path) -> None:
    def make() -> None:
        ip("-n", netns, "link", "add", "wt0", "type", "veth", "peer", "wt1")
        ip("-n", netns, "address", "add", "10.9.9.1/24", "dev", "wt0")
        ip("-n", netns, "link", "set", "wt0", "up")

    make()
    recording = tmp_path / "r.mcap"
    with running("-o", recording, "--netns", netns, "-i", "wt0", "-i", "lo") as live:
        with server(netns) as place:
            ip("-n", netns, "link", "del", "wt0")
            live.hears("interface wt0 is gone")
            get(netns, place, "/without")
            make()
            live.hears("interface wt0 is there again")
            get(netns, place, "/with")
        assert live.end().code == 130
    assert targets(recording) == ["/without", "/with"]


def test_the_only_interface_goes_and_comes_back(netns: str, tmp_path: Path) -> None:
    """Both ends of a pair of interfaces, so that packets really pass it."""
    with namespace() as other:

        def make() -> None:
            ip("-n", netns, "link", "add", "wt0", "type", "veth", "peer", "wt1", "netns", other)
            for name, link, address in ((netns, "wt0", 1), (other, "wt1", 2)):
                ip("-n", name, "address", "add", f"10.9.9.{address}/24", "dev", link)
                ip("-n", name, "link", "set", link, "up")

        make()
        recording = tmp_path / "r.mcap"
        with running("-o", recording, "--netns", netns, "-i", "wt0") as live:
            with server(netns, "10.9.9.1") as place:
                get(other, place, "/before")
                until(lambda: seen(recording) == ["/before"], "the exchange before")
                ip("-n", netns, "link", "del", "wt0")
                live.hears("interface wt0 is gone")
                make()
                live.hears("interface wt0 is there again")
                get(other, place, "/after")
                until(lambda: seen(recording)[1:] == ["/after"], "the exchange after")
            assert live.end().code == 130


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "wiretape-test", str(folder)]
    done = subprocess.run(mount, capture_output=True, timeout=20)
    if done.returncode:
        pytest.skip(f"no file system can be mounted: {done.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True, timeout=20)


def noise(number: int) -> str:
    """A target that does not compress."""
    return f"/{number}/" + os.urandom(2000).hex()


def test_a_full_disk_ends_the_run_and_leaves_what_was_written(netns: str, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "200k") as disk, server(netns) as place:
        recording, summary = disk / "r.mcap", tmp_path / "ledger.json"
        options = ["--netns", netns, "--summary-json", summary]
        with running("-o", recording, *options) as live, Client(netns, place) as client:
            for number in range(300):
                client.get(noise(number))
            ended = live.ended()
        assert ended.code == 70
        assert "No space left on device; what was written before it can be read" in ended.err
        found = [int(target.split("/")[1]) for target in targets(recording)]
        assert found == list(range(len(found)))
        assert 0 < len(found) < 300
        assert json.loads(summary.read_text())["exchanges"] >= len(found)


def test_the_oldest_file_gives_way_to_the_newest(netns: str, tmp_path: Path) -> None:
    folder = tmp_path / "live"
    options = ["--netns", netns, "--rotate-size", "60K", "--max-disk", "200K"]
    with server(netns) as place, running("-o", f"{folder}/", *options) as live:
        with Client(netns, place) as client:
            for number in range(200):
                client.get(noise(number))
            until(lambda: "removed" in live.said, "a removal told")
        live.end()
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 200 << 10
    found = [int(target.split("/")[1]) for target in targets(folder)]
    assert found == list(range(found[0], 200))
    assert found[0] > 0


def test_privileges_are_given_up_once_it_listens(netns: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents:
        if parent.stat().st_uid == os.geteuid() and parent.name.startswith(("pytest-", "popen-")):
            parent.chmod(parent.stat().st_mode | 0o011)
    recording = tmp_path / "r.mcap"
    with (
        server(netns) as place,
        running("-o", recording, "--netns", netns, "--user", "nobody") as live,
    ):
        status = Path(f"/proc/{live.process.pid}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        get(netns, place, "/seen")
        assert live.end().code == 130
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(fields[name], 16) == 0, name
    assert fields["NoNewPrivs"] == "1"
    assert set(fields["Uid"].split()) == {str(recording.stat().st_uid)} != {"0"}
    assert targets(recording) == ["/seen"]


def test_it_opens_no_port(netns: str, tmp_path: Path) -> None:
    with running("-o", tmp_path / "r.mcap", "--netns", netns) as live:
        links = {str(f.readlink()) for f in Path(f"/proc/{live.process.pid}/fd").iterdir()}
        live.end()
    assert len([link for link in links if link.startswith("socket:")]) == 1


def test_metrics_are_kept(netns: str, tmp_path: Path) -> None:
    metrics = tmp_path / "agent.prom"
    options = ["--netns", netns, "--metrics", metrics]
    with server(netns) as place, running("-o", tmp_path / "r.mcap", *options) as live:
        until(metrics.exists, "the first metrics")
        get(netns, place, "/1", "/2")
        live.end()
    assert "\nwiretape_exchanges_total 2\n" in metrics.read_text()
    assert stat.S_IMODE(metrics.stat().st_mode) == 0o644
    assert sorted(path.name for path in tmp_path.iterdir()) == ["agent.prom", "r.mcap"]


def test_a_terminal_shows_what_goes_on(netns: str, tmp_path: Path) -> None:
    primary, secondary = os.openpty()
    command = [*COMMAND, "run", "-o", str(tmp_path / "r.mcap"), "--netns", netns]
    with (
        server(netns) as place,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=secondary
        ) as process,
    ):
        os.close(secondary)
        shown = b""

        def shows(text: bytes) -> bool:
            nonlocal shown
            while text not in shown and process.poll() is None:
                shown += os.read(primary, 4096)
            return text in shown

        assert shows(b"capturing from all interfaces")
        get(netns, place, "/tea/17")
        assert shows(b"1 exchanges"), shown
        assert shows(b"top: GET test/tea/*"), shown
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    os.close(primary)
    assert process.returncode == 130


def test_without_a_terminal_it_logs_json(
    netns: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from wiretape.agent import running as run_module
    from wiretape.agent.config import RunConfig
    from wiretape.agent.display import Display

    monkeypatch.setattr(run_module, "_LOG_NS", 100_000_000)
    monkeypatch.setattr(run_module, "drop_to", lambda account: None)  # this process goes on as root
    config = RunConfig(output=str(tmp_path / "r.mcap"), netns=netns, duration_ns=2_000_000_000)
    with server(netns) as place:
        asking = threading.Timer(0.7, get, (netns, place, "/tea/17", "/tea/18"))
        asking.start()
        run_module.run_capture(config, Display())
        asking.join()
    lines = capfd.readouterr().err.splitlines()
    entries = [json.loads(line) for line in lines if line.startswith("{")]
    assert entries[0]["event"] == "status"
    assert entries[0]["exchanges"] == 0
    assert entries[-1]["exchanges"] == 2
    assert ["GET test/tea/*"] in [entry["endpoints"] for entry in entries]


def test_whoever_stops_reading_messages_does_not_stop_the_run(netns: str, tmp_path: Path) -> None:
    """Standard error is a pipe that is full, and stays so."""
    recording = tmp_path / "r.mcap"
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(4096))
    os.set_blocking(writing, True)
    command = [*COMMAND, "run", "-o", str(recording), "--netns", netns]
    with (
        server(netns) as place,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=writing
        ) as process,
    ):
        until(recording.exists, "the recording")
        get(netns, place, "/unheard")
        until(lambda: seen(recording) == ["/unheard"], "the exchange")
        process.send_signal(signal.SIGHUP)  # to be told that there is nothing to rotate
        get(netns, place, "/again")
        until(lambda: seen(recording)[1:] == ["/again"], "the next exchange")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    os.close(reading)
    os.close(writing)
    assert targets(recording) == ["/unheard", "/again"]


@pytest.mark.parametrize("closed", ["stdout", "stderr", "both"])
def test_closed_standard_streams_change_nothing(netns: str, tmp_path: Path, closed: str) -> None:
    redirections = {"stdout": ">&-", "stderr": "2>&-", "both": ">&- 2>&-"}[closed]
    recording = tmp_path / "r.mcap"
    agent_command = shlex.join([*COMMAND, "run", "-o", str(recording), "--netns", netns])
    with (
        server(netns) as place,
        subprocess.Popen(["sh", "-c", f"exec {agent_command} {redirections}"]) as process,
    ):
        until(recording.exists, "the recording")
        get(netns, place, "/seen")
        until(lambda: seen(recording) == ["/seen"], "the exchange")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert targets(recording) == ["/seen"]


@pytest.mark.parametrize("output", ["r.mcap", "folder/"])
def test_a_file_that_is_removed_is_begun_anew(netns: str, tmp_path: Path, output: str) -> None:
    where = tmp_path / output
    with server(netns) as place, running("-o", f"{tmp_path}/{output}", "--netns", netns) as live:
        get(netns, place, "/before")
        until(lambda: seen(where) == ["/before"], "the exchange before")
        (where if where.is_file() else where / "000001.mcap").unlink()
        live.hears("was removed; what comes is written to a new file")
        get(netns, place, "/after")
        until(lambda: seen(where) == ["/after"], "the exchange after")
        assert live.end().code == 130
    assert targets(where) == ["/after"]


def test_what_time_ends_is_recorded_though_nothing_else_comes(netns: str, tmp_path: Path) -> None:
    """An answer that ends with the connection, which a reset ends."""
    recording = tmp_path / "r.mcap"
    with inside(netns):
        listening = socket.create_server(("127.0.0.1", 0))
        calling = socket.create_connection(listening.getsockname())
    answering, _ = listening.accept()
    with running("-o", recording, "--netns", netns) as live:
        calling.sendall(b"GET /until-close HTTP/1.0\r\n\r\n")
        assert answering.recv(100)
        answering.sendall(b"HTTP/1.0 200 OK\r\n\r\nall there is")
        assert calling.recv(100)
        answering.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        answering.close()
        until(lambda: seen(recording) == ["/until-close"], "the exchange")
        live.end()
    calling.close()
    listening.close()


def test_links_that_others_planted_are_not_followed(netns: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("mine")
    (tmp_path / "agent.prom.new").symlink_to(mine)
    (tmp_path / "r.mcap").symlink_to(mine)
    options = ["--netns", netns, "--metrics", tmp_path / "agent.prom", "--force"]
    with running("-o", tmp_path / "r.mcap", *options, "--duration", "300ms") as live:
        assert live.ended().code == 0
    assert mine.read_text() == "mine"
    assert "wiretape_exchanges_total" in (tmp_path / "agent.prom").read_text()
    assert targets(tmp_path / "r.mcap") == []


def test_the_connection_it_is_shown_through_is_left_out(netns: str, tmp_path: Path) -> None:
    """SSH_CONNECTION is in the environment of a caller: sudo does not pass it on."""
    recording = tmp_path / "r.mcap"
    with server(netns) as place, Client(netns, place) as shown, Client(netns, place) as other:
        ends = f"127.0.0.1 {shown.port} {place[0]} {place[1]}"
        command = shlex.join([*COMMAND, "run", "-o", str(recording), "--netns", netns])
        with subprocess.Popen(
            ["sh", "-c", f"env -u SSH_CONNECTION {command}; exit $?"],
            env={**os.environ, "SSH_CONNECTION": ends},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as process:
            assert b"capturing from" in process.stderr.readline()  # type: ignore[union-attr]
            shown.get("/shown")
            other.get("/other")
            until(lambda: seen(recording) == ["/other"], "the other's exchange")
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            os.kill(int(children.split()[0]), signal.SIGTERM)
            process.stderr.read()  # type: ignore[union-attr]
            assert process.wait(20) == 0
    assert targets(recording) == ["/other"]


USAGE = {
    "no such interface": (["-i", "wt-nowhere"], "no interface wt-nowhere; there are lo"),
    "no such namespace": (["--netns", "wt-nowhere"], "no network namespace wt-nowhere"),
    "host is a name": (["--host", "example"], "'example'"),
    "time": (["--duration", "soon"], "'soon' is not a duration"),
    "no time": (["--duration", "0s"], "'0s' is no time"),
    "size": (["--rotate-size", "many"], "'many' is not a size"),
    "part": (["--sample", "0.1"], "'0.1' is not a part"),
    "too little memory": (["--max-memory", "64M"], "the agent itself needs some 120M"),
    "nothing of all": (["--sample", "0%"], "'0%' is not a part"),
    "expression": (["--filter", "tcp prot 80"], "syntax error"),
    "a file is not rotated": (["--rotate-every", "1s"], "end -o with /"),
    "no such user": (["--user", "wt-nobody"], "wt-nobody"),
}


@pytest.mark.parametrize(("options", "message"), USAGE.values(), ids=USAGE)
def test_wrong_usage(tmp_path: Path, options: list[str], message: str) -> None:
    ended = agent("run", "-o", tmp_path / "r.mcap", "--duration", "100ms", *options)
    assert ended.code == 2, ended.err
    assert message in ended.line
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    recording = tmp_path / "r.mcap"
    recording.write_text("mine")
    ended = agent("run", "-o", recording, "--duration", "100ms")
    assert ended.code == 2
    assert "exists already (--force replaces it)" in ended.line
    assert recording.read_text() == "mine"


def test_force_replaces_what_was_recorded(netns: str, tmp_path: Path) -> None:
    for output in (f"{tmp_path}/r.mcap", f"{tmp_path}/folder/"):
        for number in range(2):
            with (
                server(netns) as place,
                running("-o", output, "--netns", netns, "--force") as live,
            ):
                get(netns, place, f"/{number}")
                live.end()
        assert targets(Path(output)) == ["/1"]


def test_without_privilege_the_fix_is_told() -> None:
    """As nobody, who may read everything: the interpreter may lie where only root may."""
    reads = "-all,+dac_read_search"
    command = [
        "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
        "--inh-caps", reads, "--ambient-caps", reads,
        *COMMAND, "run", "-o", "/tmp/wt none.mcap", "-i", "lo",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 5, done.stderr
    assert "Traceback" not in done.stderr
    assert "CAP_NET_RAW" in done.stderr
    assert "capture-agent run -o " in done.stderr
    assert "'/tmp/wt none.mcap'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
