"""Benchmark of `capture-agent run --source ebpf`: what it loses, takes, and costs the service.

usage: scripts/bench ebpf [--seconds N] [--arm-seconds N] [--rounds N] [--only PART] [--json FILE]

As root: nginx answers `load.py` in a network namespace of their own, and the sockets of nginx and
its workers are looked at. Nothing is pinned: server, load and agent share all cores.

  full      10,000 requests/s for --seconds (60)
  steady    1,000 requests/s for half as long
  tls       2,000 requests/s by TLS for half as long
  compared  10,000 requests/s for --arm-seconds (5) without a capture and with the agent, by turns
            in each of --rounds (12)

Figures are what `live.py` says. The programs run in the name of whose calls they look at: the cores
of nginx tell of them. What compiles them has ended before the capture begins, and is not counted.

It fails where an event or an exchange was lost.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from live import TITLE, Run, alone, measured, medians, ratios, show
from live_processes import Server, Watcher

RATES = {"full": 10_000, "steady": 1_000, "tls": 2_000, "compared": 10_000}
"""Requests a second."""
_STEADY_CORES, _STEADY_MB, _P99 = 0.1, 120, 1.1
"""What the agent may take, and how much longer an answer may."""


def watchers(folder: Path, pid: int) -> dict[str, Watcher | None]:
    """The arms that are compared; `pid` is looked at, and all that descends from it."""
    ledger, recording = folder / "ledger.json", folder / "rec.mcap"
    run = [sys.executable, "-c", "from wiretape.agent.cli import main; main()", "run"]
    where = ["--source", "ebpf", "--pid", str(pid)]
    record: list[str | Path] = [*run, *where, "-o", recording, "--summary-json", ledger]
    return {"none": None, "agent": Watcher("agent", record, "capturing from", recording)}


def judge(runs: list[Run], told: dict[str, dict[str, float]]) -> dict[str, bool]:
    """Each budget, and whether it was kept."""
    kept = {}
    for run in runs:
        took = run.watched
        if took is None:
            continue
        if run.part == "full":
            reached = run.answered_per_s >= 0.98 * RATES["full"]
            kept[f"full: {RATES['full']:,} requests/s were answered"] = reached
        if run.part == "steady":
            kept[f"steady: at most {_STEADY_CORES} core"] = took.cores <= _STEADY_CORES
            kept[f"steady: at most {_STEADY_MB} MB"] = took.memory_mb <= _STEADY_MB
    if told:
        kept[f"compared: p99 at most {_P99} times that without"] = told["agent/none"]["p99"] <= _P99
    watched = [run.watched for run in runs if run.watched is not None]
    kept["no event lost"] = not any(took.dropped for took in watched)
    kept["no exchange lost"] = not any(run.lost for run in runs)
    return kept


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
        arms = watchers(Path(name), server.process.pid)

        def measure(part: str, arm: str, seconds: float) -> Run:
            runs.append(
                measured(server, part, arm, arms[arm], RATES[part], seconds, tls=part == "tls")
            )
            print(runs[-1].row(), flush=True)
            return runs[-1]

        print(f"Linux {platform.release()}, {os.cpu_count()} cores")
        print(TITLE)
        if "full" in parts:
            measure("full", "agent", asked.seconds)
        if "steady" in parts:
            measure("steady", "agent", asked.seconds / 2)
        if "tls" in parts:
            measure("tls", "agent", asked.seconds / 2)
        for number in range(asked.rounds if "compared" in parts else 0):
            order = list(arms) if number % 2 else list(arms)[::-1]
            rounds.append({arm: measure("compared", arm, asked.arm_seconds) for arm in order})
    told = ratios(rounds, [("agent", "none")]) if rounds else {}
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
    sys.exit(not (kept["no event lost"] and kept["no exchange lost"]))


if __name__ == "__main__":
    main()
