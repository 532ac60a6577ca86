"""Benchmark of `capture-agent import`: MB/s, exchanges/s, peak RSS, and tshark in the same run.

usage: scripts/bench [--exchanges N] [--runs N] [--only CASE] [--no-tshark] [--jobs N] [--growth]

Each case is a generated capture, imported in a process of its own, pinned to one core where the
system can. The median of the runs is reported; tshark reads the same file on the same core.
--jobs N runs one job and N jobs by turns, on all cores, and prints their ratio. --growth imports
offloaded captures of 50 MB to 1 GB: the time has to be linear, the memory has to stay.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent))
import traffic


def write_large(path: Path, exchanges: int) -> int:
    return traffic.write_keep_alive(path, exchanges, content_bytes=1 << 20, connections=8)


CASES: dict[str, tuple[Callable[[Path, int], int], int]] = {
    "keep-alive": (traffic.write_keep_alive, 1),
    "offloaded": (lambda path, n: traffic.write_keep_alive(path, n, offload=True), 1),
    "many": (lambda path, n: traffic.write_keep_alive(path, n, offload=True, connections=5000), 1),
    "connection-each": (traffic.write_connection_each, 1),
    "large-contents": (write_large, 300),
}
"""Writer, and by how much fewer exchanges it makes than asked for."""


def pinned() -> None:
    """Keeps the process, and what it starts, on one core."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:1])


class Run(NamedTuple):
    """What one process took; `cpu` are its seconds on all cores together."""

    seconds: float
    cpu: float
    rss_mib: int


def timed(command: list[str]) -> Run:
    """Runs a command to its end. Raises CalledProcessError."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss // 1024)


def median(runs: list[Run]) -> Run:
    """The median of each figure, but the largest memory."""
    return Run(
        statistics.median(run.seconds for run in runs),
        statistics.median(run.cpu for run in runs),
        max(run.rss_mib for run in runs),
    )


class Import:
    """A capture of some case, and how to import it."""

    def __init__(self, name: str, exchanges: int, folder: Path) -> None:
        write, fewer = CASES[name]
        self.name = name
        self.capture = folder / f"{name}.pcap"
        self.exchanges = max(exchanges // fewer, 1)
        self.packets = write(self.capture, self.exchanges)
        self.megabytes = self.capture.stat().st_size / 1e6
        self._summary = folder / "summary.json"
        self._output = folder / "out.mcap"

    def run(self, jobs: int = 1) -> Run:
        """Imports it once, and checks that every exchange is there."""
        command = [
            sys.executable, "-c", "from wiretape.agent.cli import main; main()", "import",
            str(self.capture), "-o", str(self._output), "--force", "--jobs", str(jobs),
            "--summary-json", str(self._summary),
        ]  # fmt: skip
        run = timed(command)
        ledger = json.loads(self._summary.read_text())
        if ledger["complete"] != self.exchanges:
            raise SystemExit(
                f"{self.name}: {ledger['complete']} of {self.exchanges} exchanges were read"
            )
        return run

    def tell(self, run: Run, note: str = "") -> None:
        recording = self._output.stat().st_size / 1e6
        print(
            f"{self.name:<16} {self.megabytes:7.0f} MB {self.packets:>9,} packets"
            f" {self.exchanges:>8,} exchanges: {run.seconds:6.2f} s (CPU {run.cpu:6.2f})"
            f" {self.megabytes / run.seconds:6.0f} MB/s"
            f" {self.exchanges / run.seconds:8,.0f} exchanges/s {run.rss_mib:4d} MiB RSS,"
            f" recording {recording:.0f} MB{note}",
            flush=True,
        )


def run_case(case: Import, runs: int, tshark: str | None) -> None:
    taken = median([case.run() for _ in range(runs)])
    case.tell(taken)
    if tshark:
        shown = ["-Y", "http", "-T", "fields", "-e", "http.request.uri", "-e", "http.response.code"]
        theirs = timed([tshark, "-n", "-r", str(case.capture), *shown])
        ratio = theirs.seconds / taken.seconds
        print(f"{'':<16} tshark {theirs.seconds:6.2f} s, {theirs.rss_mib} MiB: ratio {ratio:.1f}")


def run_jobs(case: Import, runs: int, jobs: int) -> None:
    """One job and several by turns: a machine that changes its speed does so for both."""
    pairs = [(case.run(), case.run(jobs)) for _ in range(runs)]
    one, several = (median(list(each)) for each in zip(*pairs, strict=True))
    case.tell(one, ", 1 job")
    case.tell(several, f", {jobs} jobs")
    ratio = statistics.median(first.seconds / second.seconds for first, second in pairs)
    print(f"{'':<16} {jobs} jobs against one: ratio {ratio:.2f} (median of the pairs)")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--exchanges", type=int, default=100_000)
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--only", choices=CASES, action="append")
    options.add_argument("--no-tshark", action="store_true")
    options.add_argument("--jobs", type=int, help="one job against N, on all cores")
    options.add_argument("--growth", action="store_true", help="offloaded, 50 MB to 1 GB")
    asked = options.parse_args()
    tshark = None if asked.no_tshark else shutil.which("tshark")
    if tshark is None:
        print("tshark is not installed or not wanted: no comparison")
    if not asked.jobs:
        pinned()
    sizes = (25_000, 100_000, 250_000, 500_000) if asked.growth else (asked.exchanges,)
    with tempfile.TemporaryDirectory() as folder:
        for name in asked.only or (("offloaded",) if asked.growth else CASES):
            for exchanges in sizes:
                case = Import(name, exchanges, Path(folder))
                if asked.jobs:
                    run_jobs(case, asked.runs, asked.jobs)
                else:
                    run_case(case, asked.runs, tshark)
                case.capture.unlink()


if __name__ == "__main__":
    main()
