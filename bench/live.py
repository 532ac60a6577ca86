"""Benchmark of `capture-agent run`: what a live capture loses, takes, and costs the service.

usage: scripts/bench live [--seconds N] [--arm-seconds N] [--rounds N] [--only PART] [--json FILE]

As root: nginx answers `load.py` in a network namespace of their own, whose loopback interface is
captured. Nothing is pinned: server, load and agent share all cores, as they do in life.

  full      20,000 requests/s for --seconds (60)
  steady    1,000 requests/s for half as long
  compared  5,000 requests/s for --arm-seconds (5) without a capture, with tcpdump writing the same
            packets to a file, and with the agent, by turns in each of --rounds (12)

Cores are CPU seconds (utime + stime of the whole process tree) a second. The kernel's work on a
captured packet is done in the name of who sends it: the cores of nginx and of the load tell of it.
Memory is VmHWM. Latencies count from when a request was due; what several rounds gave is their
median, and a ratio is the median of each round's. The load average tells who else was there.

It fails where an exchange was lost: the server's own count has to be the recording's.
"""

import argparse
import ctypes
import fcntl
import json
import os
import platform
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from live_processes import PORT, TLS_PORT, Server, Watched, Watcher, Watching, cpu_seconds, watchers

RATES = {"full": 20_000, "steady": 1_000, "compared": 5_000}
"""Requests a second."""
_FULL_CORES, _STEADY_CORES, _STEADY_MB = 0.6, 0.05, 100
"""What the agent may take."""
_QUANTILES = ("p50", "p99", "p99.9")
_CLONE_NEWNET = 0x40000000
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1


@dataclass
class Run:
    """One load, and what became of it."""

    part: str
    arm: str
    answered_per_s: float
    latency_us: dict[str, float]
    server_cores: float
    load_cores: float
    load_average: float
    """When it began."""
    counted: int
    """Requests, by the server."""
    watched: Watched | None = None

    @property
    def lost(self) -> int:
        """Exchanges that the recording lacks (or has too many of)."""
        if self.watched is None or self.watched.recorded is None:
            return 0
        return abs(self.counted - self.watched.recorded)

    def row(self) -> str:
        ms = "".join(f"{self.latency_us[name] / 1000:9.2f}" for name in _QUANTILES)
        line = (
            f"{self.part:<9}{self.arm:<8}{self.answered_per_s:10,.0f}{ms}"
            f"{self.server_cores:8.3f}{self.load_cores:7.3f}{self.load_average:7.2f}"
            f"{self.counted:11,}"
        )
        if self.watched is None:
            return line
        cores, memory, dropped, recorded, _ = self.watched
        line += f"{cores:8.3f}{memory:6.0f}{dropped:9,}"
        return line if recorded is None else line + f"{recorded:11,}{self.lost:8,}"


TITLE = (
    f"{'part':<9}{'arm':<8}{'answered/s':>10}{'p50 ms':>9}{'p99 ms':>9}{'p99.9 ms':>9}"
    f"{'nginx':>8}{'load':>7}{'avg':>7}{'counted':>11}{'cores':>8}{'MB':>6}{'dropped':>9}"
    f"{'recorded':>11}{'lost':>8}"
)


def measured(
    server: Server,
    part: str,
    arm: str,
    watcher: Watcher | None,
    rate: int,
    seconds: float,
    tls: bool = False,
) -> Run:
    """Offers so many requests a second for so long, beside a watcher or none."""
    if watcher is None:
        return _loaded(server, part, arm, rate, seconds, tls)
    with Watching(watcher) as watching:
        run = _loaded(server, part, arm, rate, seconds, tls)
        run.watched = watching.end(seconds)
    return run


def _loaded(server: Server, part: str, arm: str, rate: int, seconds: float, tls: bool) -> Run:
    average = os.getloadavg()[0]
    counted, cpu = server.requests(), cpu_seconds(server.process.pid)
    load = Path(__file__).with_name("load.py")
    where = [str(TLS_PORT), "--tls"] if tls else [str(PORT)]
    command: list[str | Path] = [sys.executable, load, *where, str(rate), str(seconds)]
    told = json.loads(subprocess.check_output(command))
    took = told["seconds"]
    return Run(
        part,
        arm,
        answered_per_s=told["requests"] / took,
        latency_us=told["latency_us"],
        server_cores=(cpu_seconds(server.process.pid) - cpu) / took,
        load_cores=told["cpu"] / took,
        load_average=average,
        counted=server.requests() - counted,
    )


# -- what it all says


PAIRS = ("agent", "none"), ("tcpdump", "none"), ("agent", "tcpdump")


def ratios(
    rounds: list[dict[str, Run]], pairs: Sequence[tuple[str, str]] = PAIRS
) -> dict[str, dict[str, float]]:
    """Of two arms, by what is compared."""

    def figures(run: Run) -> dict[str, float]:
        latency = {name: run.latency_us[name] for name in _QUANTILES}
        return {"answered/s": run.answered_per_s, **latency, "nginx": run.server_cores}

    told = {}
    for over, under in pairs:
        both = [(figures(each[over]), figures(each[under])) for each in rounds]
        told[f"{over}/{under}"] = {
            name: statistics.median(upper[name] / lower[name] for upper, lower in both)
            for name in both[0][0]
        }
    return told


def medians(rounds: list[dict[str, Run]]) -> dict[str, dict[str, float]]:
    """Latencies of each arm, in microseconds."""
    return {
        arm: {
            name: statistics.median(each[arm].latency_us[name] for each in rounds)
            for name in _QUANTILES
        }
        for arm in rounds[0]
    }


def show(title: str, figures: dict[str, dict[str, float]], scale: float = 1.0) -> None:
    names = next(iter(figures.values()))
    print(f"\n{title:<18}" + "".join(f"{name:>11}" for name in names))
    for what, values in figures.items():
        print(f"{what:<18}" + "".join(f"{value * scale:11.3f}" for value in values.values()))


def judge(runs: list[Run], told: dict[str, dict[str, float]]) -> dict[str, bool]:
    """Each budget, and whether it was kept."""
    kept = {}
    for run in runs:
        took = run.watched
        if took is None or took.recorded is None:
            continue
        # Whoever looks away takes little: figures count where nothing was lost.
        if run.part == "full":
            reached = run.answered_per_s >= 0.98 * RATES["full"]
            kept[f"full: {RATES['full']:,} requests/s were answered"] = reached
            kept[f"full: at most {_FULL_CORES} core"] = took.cores <= _FULL_CORES and not run.lost
        if run.part == "steady":
            cores, memory = took.cores <= _STEADY_CORES, took.memory_mb <= _STEADY_MB
            kept[f"steady: at most {_STEADY_CORES} core"] = cores and not run.lost
            kept[f"steady: at most {_STEADY_MB} MB"] = memory and not run.lost
    if told:
        kept["compared: the service keeps 99 % of its throughput"] = (
            told["agent/none"]["answered/s"] >= 0.99
        )
        kept["compared: p99 no worse than with tcpdump"] = told["agent/tcpdump"]["p99"] <= 1
    kept["no exchange lost"] = not any(run.lost for run in runs)
    return kept


def alone() -> None:
    """A network namespace of our own: nobody else's packets pass its loopback interface."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        raise SystemExit(f"no network namespace of our own: {os.strerror(ctypes.get_errno())}")
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--arm-seconds", type=float, default=5)
    options.add_argument("--rounds", type=int, default=12)
    options.add_argument("--only", choices=RATES, action="append")
    options.add_argument(
        "--json", metavar="FILE", type=Path, help="write all figures, of each run, to FILE"
    )
    asked = options.parse_args()
    parts = asked.only or list(RATES)
    alone()
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    rounds: list[dict[str, Run]] = []
    runs: list[Run] = []
    with tempfile.TemporaryDirectory() as name, Server(Path(name)) as server:
        Path(name).chmod(0o777)  # the agent may give up root
        arms = watchers(Path(name))

        def measure(part: str, arm: str, seconds: float) -> Run:
            runs.append(measured(server, part, arm, arms[arm], RATES[part], seconds))
            print(runs[-1].row(), flush=True)
            return runs[-1]

        print(f"Linux {platform.release()}, {os.cpu_count()} cores")
        print(TITLE)
        if "full" in parts:
            measure("full", "agent", asked.seconds)
        if "steady" in parts:
            measure("steady", "agent", asked.seconds / 2)
        for number in range(asked.rounds if "compared" in parts else 0):
            turn = number % len(arms)  # whoever comes first: it changes
            order = [*arms][turn:] + [*arms][:turn]
            rounds.append({arm: measure("compared", arm, asked.arm_seconds) for arm in order})
    told = ratios(rounds) if rounds else {}
    if rounds:
        show("medians, ms", medians(rounds), 1e-3)
        show("ratios", told)
    kept = judge(runs, told)
    print()
    for budget, good in kept.items():
        print(f"{'kept  ' if good else 'MISSED'}  {budget}")
    if asked.json:
        figures = {
            "kernel": platform.release(),
            "cores": os.cpu_count(),
            "runs": [
                {**asdict(run), "watched": run.watched and run.watched._asdict()} for run in runs
            ],
            "ratios": told,
            "kept": kept,
        }
        asked.json.write_text(json.dumps(figures, indent=2) + "\n")
    sys.exit(not kept["no exchange lost"])


if __name__ == "__main__":
    main()
