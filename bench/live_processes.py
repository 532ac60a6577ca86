"""The processes of a live benchmark: nginx, tcpdump, the agent; what they take, what they count."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

PORT, TLS_PORT = 8080, 8443

_SMALL = (
    '{"id":"$request_id","status":"paid","total":"49.90","currency":"EUR","customer":{"id":81723,'
    '"name":"A. Example","city":"Utrecht"},"lines":[{"sku":"chair-oak","quantity":2},'
    '{"sku":"lamp-brass","quantity":1}],"placed_at":"2024-03-01T12:00:00Z","note":null,'
    '"links":["/api/orders/1/invoice","/api/orders/1/parcels"]}'
)
_ITEM = '{"sku":"chair-%02d","name":"Chair of oak","price":"19.95","tags":["home","garden"]}'
_LARGE = '{"id":"$request_id","items":[' + ",".join(_ITEM % n for n in range(17)) + "]}"
_CONFIG = f"""
daemon off;
worker_processes auto;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  default_type application/json;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  server {{
    listen 127.0.0.1:{PORT} reuseport;
    location /api/orders/ {{ return 200 '{_SMALL}'; }}
    location /api/items {{ return 200 '{_LARGE}'; }}
  }}
  server {{
    listen 127.0.0.1:{TLS_PORT} ssl reuseport;
    ssl_certificate server.pem;
    ssl_certificate_key key.pem;
    location /api/orders/ {{ return 200 '{_SMALL}'; }}
    location /api/items {{ return 200 '{_LARGE}'; }}
  }}
  server {{
    listen unix:STATUS;
    location / {{ stub_status; }}
  }}
}}
"""
"""Answers of some 300 and 1,500 bytes, no two equal. Its counts are told on a socket of files."""


def tree(pid: int) -> Iterator[int]:
    """A process and all that descend from it."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            yield from tree(int(child))


def cpu_seconds(pid: int) -> float:
    """utime + stime of a process and all that descend from it, ended ones included."""
    ticks = 0
    for each in tree(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    """VmHWM of a process and all that descend from it."""
    kib = 0
    for each in tree(pid):
        status = Path(f"/proc/{each}/status").read_text()
        kib += int(status.partition("VmHWM:")[2].split(maxsplit=1)[0])
    return kib * 1024 / 1e6


class Server:
    """nginx, and what it counts; a context."""

    def __init__(self, folder: Path) -> None:
        config = folder / "nginx.conf"
        self._status = str(folder / "status")
        config.write_text(_CONFIG.replace("STATUS", self._status))
        self._asked = 0
        certify = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=shop.test",
        ]
        files = ["-keyout", "key.pem", "-out", "server.pem"]
        subprocess.run([*certify, *files], cwd=folder, check=True, capture_output=True)
        self.process = subprocess.Popen(["nginx", "-p", folder, "-c", config, "-e", "stderr"])

    def __enter__(self) -> Self:
        until = time.monotonic() + 10
        while self.process.poll() is None and time.monotonic() < until:
            try:
                self.requests()
                return self
            except (FileNotFoundError, ConnectionRefusedError):
                time.sleep(0.02)
        self.__exit__()
        raise SystemExit("nginx does not start")

    def __exit__(self, *unused: object) -> None:
        self.process.terminate()
        self.process.wait()

    def requests(self) -> int:
        """How many it has had until now, but for those that asked this."""
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(self._status)
            asking.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = asking.makefile().read()
        self._asked += 1
        counts = answer.partition("server accepts handled requests")[2].split()
        return int(counts[2]) - self._asked


class Watcher(NamedTuple):
    """What captures meanwhile."""

    name: str
    command: list[str | Path]
    begins: str
    """What it says on standard error when it has begun."""
    output: Path


def watchers(folder: Path) -> dict[str, Watcher | None]:
    """The arms that are compared."""
    ledger, recording, packets = folder / "ledger.json", folder / "rec.mcap", folder / "cap.pcap"
    run = [sys.executable, "-c", "from wiretape.agent.cli import main; main()", "run"]
    where = ["-i", "lo", "--port", str(PORT)]
    record: list[str | Path] = [*run, *where, "-o", recording, "--summary-json", ledger]
    write: list[str | Path] = ["tcpdump", "-i", "lo", "-Z", "root", "-w", packets]
    return {
        "none": None,
        "tcpdump": Watcher("tcpdump", [*write, f"tcp port {PORT}"], "listening on", packets),
        "agent": Watcher("agent", record, "capturing from", recording),
    }


class Watched(NamedTuple):
    """What a watcher took, and what it says that it saw."""

    cores: float
    memory_mb: float
    dropped: int
    """Packets that the kernel could not hand over."""
    recorded: int | None
    """Exchanges with both halves; tcpdump knows of none."""
    said: str


class Watching:
    """A watcher from when it has begun; a context."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self.process = subprocess.Popen(
            watcher.command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        self._stderr = self.process.stderr

    def __enter__(self) -> Self:
        said = ""
        while self._watcher.begins not in said:
            line = self._stderr.readline()
            if not line:
                raise SystemExit(f"{self._watcher.name} does not begin: {said}")
            said += line
        self._before = cpu_seconds(self.process.pid)
        return self

    def __exit__(self, *unused: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
            self.process.wait()
        self._watcher.output.unlink(missing_ok=True)

    def end(self, seconds: float) -> Watched:
        """Its end counts too, for a load of so many seconds: what was put off is done then."""
        memory = memory_mb(self.process.pid)
        self.process.terminate()
        said = self._stderr.read()
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        if self.process.returncode:
            raise SystemExit(f"{self._watcher.name} failed: {said}")
        cores = (usage.ru_utime + usage.ru_stime - self._before) / seconds
        if self._watcher.name == "tcpdump":
            dropped = said.partition(" packets dropped by kernel")[0].split()[-1]
            return Watched(cores, memory, int(dropped), None, said)
        ledger = json.loads(self._watcher.output.with_name("ledger.json").read_text())
        return Watched(cores, memory, ledger["kernel_drops"], ledger["complete"], said)
