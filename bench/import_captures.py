"""Benchmark of `capture-agent import`: MB/s, exchanges/s, peak RSS, and tshark in the same run.

usage: scripts/bench [--exchanges N] [--runs N] [--only CASE] [--no-tshark]

Each case is a generated capture, imported in a process of its own, pinned to one core where the
system can. The median of the runs is reported; tshark reads the same file on the same core.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import traffic


def write_large(path: Path, exchanges: int) -> int:
    return traffic.write_keep_alive(path, exchanges, content_bytes=1 << 20, connections=8)


CASES: dict[str, tuple[Callable[[Path, int], int], int]] = {
    "keep-alive": (traffic.write_keep_alive, 1),
    "offloaded": (lambda path, n: traffic.write_keep_alive(path, n, offload=True), 1),
    "connection-each": (traffic.write_connection_each, 1),
    "large-contents": (write_large, 300),
}
"""Writer, and by how much fewer exchanges it makes than asked for."""


def pinned() -> None:
    """Keeps the process, and what it starts, on one core."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:1])


def timed(command: list[str]) -> tuple[float, int]:
    """Wall seconds and peak RSS in MiB of one process. Raises CalledProcessError."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return seconds, usage.ru_maxrss // 1024


def run_case(name: str, exchanges: int, runs: int, tshark: str | None, folder: Path) -> None:
    write, fewer = CASES[name]
    capture = folder / f"{name}.pcap"
    exchanges = max(exchanges // fewer, 1)
    packets = write(capture, exchanges)
    size = capture.stat().st_size / 1e6
    summary = folder / "summary.json"
    agent = [sys.executable, "-c", "from wiretape.agent.cli import main; main()"]
    command = [
        *agent, "import", str(capture), "-o", str(folder / "out.mcap"), "--force",
        "--summary-json", str(summary),
    ]  # fmt: skip
    results = [timed(command) for _ in range(runs)]
    seconds = statistics.median(s for s, _ in results)
    ledger = json.loads(summary.read_text())
    if ledger["complete"] != exchanges:
        raise SystemExit(f"{name}: {ledger['complete']} of {exchanges} exchanges were read")
    recording = (folder / "out.mcap").stat().st_size / 1e6
    print(
        f"{name:<16} {size:7.0f} MB {packets:>8,} packets {exchanges:>8,} exchanges:"
        f" {seconds:6.2f} s {size / seconds:6.0f} MB/s {exchanges / seconds:8,.0f} exchanges/s"
        f" {max(r for _, r in results):4d} MiB RSS, recording {recording:.0f} MB"
    )
    if tshark:
        shown = ["-Y", "http", "-T", "fields", "-e", "http.request.uri", "-e", "http.response.code"]
        taken, rss = timed([tshark, "-n", "-r", str(capture), *shown])
        print(f"{'':<16} tshark {taken:6.2f} s, {rss} MiB RSS: ratio {taken / seconds:.1f}")
    capture.unlink()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--exchanges", type=int, default=100_000)
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--only", choices=CASES, action="append")
    options.add_argument("--no-tshark", action="store_true")
    options.add_argument("--all-cores", action="store_true", help="do not pin to one core")
    asked = options.parse_args()
    tshark = None if asked.no_tshark else shutil.which("tshark")
    if tshark is None:
        print("tshark is not installed or not wanted: no comparison")
    if not asked.all_cores:
        pinned()
    with tempfile.TemporaryDirectory() as folder:
        for name in asked.only or CASES:
            run_case(name, asked.exchanges, asked.runs, tshark, Path(folder))
    print(f"this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB")


if __name__ == "__main__":
    main()
