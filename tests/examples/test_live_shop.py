"""README's way from a running service to a verdict, with eBPF; the service is not touched."""

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHOP = ROOT / "examples" / "shop"
BIN = Path(sys.executable).parent

pytestmark = pytest.mark.alone


@contextmanager
def started(*command: str | Path, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        list(map(str, command)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, **env},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def until_it_listens(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, f"nothing listens on {port}"
            time.sleep(0.05)


def replayed(
    recording: Path, ports: dict[str, int], *build: str
) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """The command, and its report."""
    report = recording.with_suffix(".json")
    done = subprocess.run(
        [
            BIN / "replay", "run", recording, "--target", "http://127.0.0.1:{port}",
            "--env", f"INVENTORY_URL=http://{{mock:127.0.0.1:{ports['inventory']}}}",
            "--env", f"PAYMENTS_URL=http://{{mock:127.0.0.1:{ports['payments']}}}",
            "--json", report,
            "--", sys.executable, SHOP / "shop.py", "--port", "{port}", *build,
        ],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    return done, json.loads(report.read_text())


class Recorded(NamedTuple):
    """The same traffic, seen twice, and where everybody was."""

    by_ebpf: Path
    by_packets: Path | None
    ports: dict[str, int]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """The scenario, recorded by eBPF and, where tcpdump is installed, from a capture beside it."""
    if os.geteuid():
        pytest.skip("needs root: eBPF")
    folder = tmp_path_factory.mktemp("live")
    # A process is named as the file that was started.
    service = folder / "my-service"
    service.symlink_to(sys.executable)
    recording, capture = folder / "ebpf.mcap", folder / "shop.pcap"
    ports = {part: free_port() for part in ("shop", "inventory", "payments")}
    with ExitStack() as stack:
        for part in ("inventory", "payments"):
            script = SHOP / f"{part}.py"
            stack.enter_context(started(sys.executable, script, "--port", str(ports[part])))
        urls = {f"{p.upper()}_URL": f"http://127.0.0.1:{ports[p]}" for p in ports if p != "shop"}
        stack.enter_context(
            started(service, SHOP / "shop.py", "--port", str(ports["shop"]), **urls)
        )
        for port in ports.values():
            until_it_listens(port)
        agent = stack.enter_context(
            started(BIN / "capture-agent", "run", "--comm", "my-service", "-o", recording)
        )
        assert agent.stderr is not None
        first = agent.stderr.readline().decode()
        if "python3-bpfcc" in first:
            pytest.skip(first.strip())
        assert "capturing from sockets of my-service" in first
        tcpdump = capturing(stack, capture, ports)
        client = [sys.executable, SHOP / "client.py", f"http://127.0.0.1:{ports['shop']}"]
        subprocess.run(client, check=True, capture_output=True, timeout=60)
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(20) == 0
        if tcpdump is not None:
            tcpdump.send_signal(signal.SIGINT)
            assert tcpdump.wait(20) == 0
    return Recorded(recording, imported(capture, ports) if tcpdump else None, ports)


def capturing(
    stack: ExitStack, capture: Path, ports: dict[str, int]
) -> subprocess.Popen[bytes] | None:
    """tcpdump on loopback, once it listens; None where it is not installed."""
    if shutil.which("tcpdump") is None:
        return None
    wanted = " or ".join(f"tcp port {port}" for port in ports.values())
    options = ("-i", "lo", "-s", "0", "-Z", "root", "--immediate-mode", "-U", "-w")
    tcpdump = stack.enter_context(started("tcpdump", *options, capture, wanted))
    assert tcpdump.stderr is not None
    said = tcpdump.stderr.readline().decode()
    while said and "listening on" not in said:
        said = tcpdump.stderr.readline().decode()
    assert said
    return tcpdump


def imported(capture: Path, ports: dict[str, int]) -> Path:
    recording = capture.with_suffix(".mcap")
    service = f"127.0.0.1:{ports['shop']}"
    command = [BIN / "capture-agent", "import", capture, "-o", recording, "--service", service]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return recording


@pytest.mark.privileged
def test_a_service_is_recorded_by_its_name_and_judged(recorded: Recorded) -> None:
    passed, _ = replayed(recorded.by_ebpf, recorded.ports)
    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert passed.stdout.startswith("PASS  44 exchanges compared, none differs · 45 upstream calls")
    failed, _ = replayed(recorded.by_ebpf, recorded.ports, "--fault", "wrong-total")
    assert failed.returncode == 1, failed.stdout + failed.stderr
    assert "$.total_cents  expected 6129, actual 5480" in failed.stdout


@pytest.mark.privileged
@pytest.mark.parametrize(
    ("build", "code"),
    [
        ((), 0),
        (("--variant", "json-order"), 0),
        (("--variant", "closes-silently"), 0),
        (("--fault", "cent-too-much"), 1),
        (("--fault", "stale-order"), 1),
        (("--fault", "currency"), 3),
        (("--fault", "stock-unchecked"), 3),
    ],
    ids=lambda value: "-".join(value) or "as-it-is" if isinstance(value, tuple) else str(value),
)
def test_both_sources_are_judged_alike(
    recorded: Recorded, build: tuple[str, ...], code: int
) -> None:
    if recorded.by_packets is None:
        pytest.skip("needs tcpdump")
    found = []
    for recording in (recorded.by_ebpf, recorded.by_packets):
        done, report = replayed(recording, recorded.ports, *build)
        assert done.returncode == code, done.stdout + done.stderr
        found.append(alike(report))
    assert found[0] == found[1]


def alike(report: dict[str, Any]) -> Any:
    """What must not depend on how the traffic was recorded: ids and times of the recording do."""
    kept = {name: report[name] for name in ("verdict", "exit_code", "counts")}
    kept["causes"] = [
        (cause["title"], cause["exchanges"], [d["place"] for d in cause["differences"]])
        for cause in report["causes"]
    ]
    kept["states"] = [exchange["state"] for exchange in report["exchanges"]]
    kept["calls"] = [(call["kind"], call["call"], call["exchange"]) for call in report["upstream"]]
    return kept


@pytest.mark.privileged
def test_a_service_that_speaks_https_is_recorded_and_judged(tmp_path: Path) -> None:
    """Its TLS is the interpreter's; nobody has its key but itself."""
    if os.geteuid():
        pytest.skip("needs root: eBPF")
    service, recording = tmp_path / "my-https", tmp_path / "rec.mcap"
    service.symlink_to(sys.executable)
    both = tmp_path / "build.pem"
    certify = (
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout k.pem -out c.pem -subj /CN=shop.test"
    )
    subprocess.run(certify.split(), cwd=tmp_path, check=True, capture_output=True)
    both.write_bytes((tmp_path / "k.pem").read_bytes() + (tmp_path / "c.pem").read_bytes())
    port = free_port()
    build = [ROOT / "tests/replayer/build_server.py", "--certificate", both, "--port"]
    with started(service, *build, str(port)), ExitStack() as stack:
        until_it_listens(port)
        agent = stack.enter_context(
            started(BIN / "capture-agent", "run", "--comm", "my-https", "-o", recording)
        )
        assert agent.stderr is not None
        first = agent.stderr.readline().decode()
        if "python3-bpfcc" in first:
            pytest.skip(first.strip())
        unverified = ssl._create_unverified_context()
        with urllib.request.urlopen(
            f"https://127.0.0.1:{port}/orders", b'{"count": 3}', context=unverified
        ) as answer:
            order = json.load(answer)["id"]
        for path in ("/hello", f"/orders/{order}"):
            where = f"https://127.0.0.1:{port}{path}"
            urllib.request.urlopen(where, context=unverified).close()
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(20) == 0
    for fault, code, said in [
        ([], 0, "PASS  3 exchanges compared, none differs"),
        (["--fault", "total"], 1, "$.total  expected 30, actual 31"),
    ]:
        done = subprocess.run(
            [BIN / "replay", "run", recording, "--target", "https://127.0.0.1:{port}", "--",
             sys.executable, *build, "{port}", *fault],
            capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        assert said in done.stdout
