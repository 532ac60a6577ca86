"""How much a replay takes: its client, its mocks, the verdict, and memory.

usage: python3 bench/replay.py [--exchanges N] [--rounds N] [--only PART]... [--json FILE]

The client's requests go to nginx, and so do wrk's, in the same rounds; mocks and nginx are asked by
wrk. Everything is a whole process: start, reading the recording and the report are in it. Requests
per core are requests by seconds of CPU time, so that neither the other side's pace nor a busy
machine is measured. Prints medians, and ratios within a round.
"""

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from wiretape.exchange.http1 import MessageParser
from wiretape.exchange.recording import RecordingWriter
from wiretape.exchange.v1.exchange_pb2 import (
    ROLE_INBOUND,
    ROLE_OUTBOUND,
    Content,
    Exchange,
    HttpResponse,
)

PORT = 18080
MOCK_PORT = 18081
BEGIN_NS = 1_700_000_000 * 10**9
MS = 10**6
_ITEMS = ",".join(
    f'{{"sku":"chair-{number:02}","name":"Chair of oak","price":"19.95","tags":["home","garden"]}}'
    for number in range(6)
)
_CONFIG = f"""
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  default_type application/json;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  server {{
    listen 127.0.0.1:{PORT};
    location /equal/ {{ return 200 '{{"total":"49.90","currency":"EUR","items":[{_ITEMS}]}}'; }}
    location /generated/ {{
      add_header X-Version $request_id;
      return 200
        '{{"id":"$request_id","created_at":"$time_iso8601","currency":"EUR","items":[{_ITEMS}]}}';
    }}
  }}
}}
"""
_GENERATED_ID = re.compile(rb"[0-9a-f]{32}")
PARTS = ("equal", "generated", "mock", "verdict", "memory")


@contextmanager
def nginx(folder: Path) -> Iterator[None]:
    """Answers at PORT, on the last core."""
    (folder / "nginx.conf").write_text(_CONFIG)
    command = ["nginx", "-p", str(folder), "-c", "nginx.conf"]
    process = subprocess.Popen(on_core(-1, command), stderr=subprocess.DEVNULL)
    try:
        while subprocess.run(asking("/equal/0"), capture_output=True, check=False).returncode:
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait()


def on_core(core: int, command: list[str]) -> list[str]:
    cores = sorted(os.sched_getaffinity(0))
    return ["taskset", "-c", str(cores[core]), *command]


def asking(path: str) -> list[str]:
    return ["curl", "-sSi", f"http://127.0.0.1:{PORT}{path}"]


def answer_to(path: str) -> bytes:
    return subprocess.run(asking(path), capture_output=True, check=True).stdout


def exchange(number: int, path: str, raw: bytes, outbound: bool = False) -> Exchange:
    """A recorded exchange with that answer; inbound ones are on 16 connections."""
    role = ROLE_OUTBOUND if outbound else ROLE_INBOUND
    made = Exchange(id=f"{number:x}-bench", role=role)
    connection, request = made.connection, made.http.request
    connection.id = "u" if outbound else f"c{number % 16}"
    client, server = ("10.0.0.2", "10.0.0.3") if outbound else ("10.0.0.1", "10.0.0.2")
    connection.client.address, connection.client.port = client, 40000
    connection.server.address, connection.server.port = server, 8080
    request.version, request.method, request.scheme = "1.1", "GET", "http"
    request.target = path.encode()
    request.authority = b"shop.test"
    for name, value in (("Host", "shop.test"), ("Accept", "*/*"), ("User-Agent", "bench/1.0")):
        request.fields.add(name=name.encode(), value=value.encode())
    request.content.CopyFrom(Content(framing=Content.NONE, complete=True))
    request.first_byte_at_ns = request.last_byte_at_ns = BEGIN_NS + number
    parser = MessageParser.responses()
    parser.expect("GET")
    (response,) = parser.receive_data(raw, 0)
    assert isinstance(response, HttpResponse)
    made.http.response.CopyFrom(response)
    made.http.response.first_byte_at_ns = request.first_byte_at_ns + MS // 4
    made.http.response.last_byte_at_ns = request.first_byte_at_ns + MS // 2
    return made


def record(path: Path, kind: str, count: int, outbound: bool = False) -> Path:
    """A recording of `count` requests to one of nginx's locations, no two for the same path."""
    raw = answer_to(f"/{kind}/0")
    source = random.Random(1)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(BEGIN_NS // 10**9)).encode()
    with RecordingWriter(path) as writer:
        for number in range(count):
            ident = b"%032x" % source.getrandbits(128)
            answer = _GENERATED_ID.sub(ident, raw)
            answer = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", stamp, answer)
            answer = re.sub(rb"Date: [^\r]*", b"Date: Tue, 14 Nov 2023 22:13:20 GMT", answer)
            writer.write(exchange(number, f"/{kind}/{number}", answer, outbound))
    return path


def replay(*words: str) -> list[str]:
    program = "import sys; from wiretape.replayer.cli import main; sys.exit(main())"
    return on_core(0, [sys.executable, "-c", program, *words])


def measured(command: list[str]) -> tuple[float, float, float, str]:
    """Seconds on the clock, seconds of CPU time, peak RSS in MB, and what it printed."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        took = time.monotonic() - began
        output.seek(0)
        said = output.read().decode()
    if process.returncode:
        raise SystemExit(f"{command[-6:]} exited with {process.returncode}:\n{said[:2000]}")
    return took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6, said


def wrk(port: int, path: str, seconds: int, connections: int) -> tuple[float, float]:
    """Requests per second on the clock, and per second of wrk's own CPU time."""
    url = f"http://127.0.0.1:{port}{path}"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-H", "Accept: */*", url]
    took, cpu, _, said = measured(on_core(0 if port == PORT else -1, command))
    found = re.search(r"(\d+) requests in", said)
    if found is None or "Non-2xx" in said:
        raise SystemExit(said)
    return int(found[1]) / took, int(found[1]) / max(cpu, 0.01)


def client(folder: Path, kind: str, count: int) -> dict[str, float]:
    file = folder / f"{kind}-{count}.mcap"
    if not file.exists():
        record(file, kind, count)
    target = f"http://127.0.0.1:{PORT}"
    took, cpu, rss, _ = measured(replay("run", str(file), "--target", target))
    rate, per_core = wrk(PORT, f"/{kind}/1", 2, 1)
    return {
        "per core": count / cpu, "seconds": took, "MB": rss, "wrk -c1, per core": per_core,
        "wrk -c1, requests/s": rate, "requests/s": count / took,
    }  # fmt: skip


def mock(folder: Path, count: int) -> dict[str, float]:
    file = folder / f"mock-{count}.mcap"
    if not file.exists():
        record(file, "equal", count, outbound=True)
    listen = f"127.0.0.1:{MOCK_PORT}"
    command = replay("mock", str(file), "--listen", listen)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        before = cpu_seconds(process.pid)
        rate, _ = wrk(MOCK_PORT, "/equal/7", 4, 8)
        used = cpu_seconds(process.pid) - before
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()
    nginx_rate, _ = wrk(PORT, "/equal/7", 2, 8)
    return {"per core": rate * 4 / used, "requests/s": rate, "nginx, requests/s": nginx_rate}


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exchanges", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    count = options.exchanges
    with tempfile.TemporaryDirectory() as name, nginx(Path(name)):
        folder = Path(name)
        measures: dict[str, Callable[[], dict[str, float]]] = {
            "equal": lambda: client(folder, "equal", count),
            "generated": lambda: client(folder, "generated", count),
            "mock": lambda: mock(folder, 1000),
            "verdict": lambda: client(folder, "generated", 10_000),
            "memory": lambda: client(folder, "equal", 1_000_000),
        }
        chosen = options.only or PARTS[:-1]
        figures: dict[str, Any] = {}
        for part in chosen:
            rounds = [measures[part]() for _ in range(1 if part == "memory" else options.rounds)]
            figures[part] = {key: median(each[key] for each in rounds) for key in rounds[0]}
            told = "  ".join(f"{key} {value:,.2f}" for key, value in figures[part].items())
            print(f"{part:10} {told}", flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
