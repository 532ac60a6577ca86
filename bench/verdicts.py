"""Judges every build of tests/examples again and again, and prints each wrong verdict.

    .venv/bin/python bench/verdicts.py                     the whole set once
    .venv/bin/python bench/verdicts.py --times 20 --only 'ledger ids'
    .venv/bin/python bench/verdicts.py --times 100 --only 'as it is' --new-recordings

The exit code is 1 where a verdict was wrong.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "examples"))

from builds import BUILDS, Build, Outcome, Recording, judge, record  # type: ignore[import-not-found]


def runs(builds: list[Build], times: int, at_once: int, anew: bool) -> Iterator[Outcome]:
    """The outcome of each build, `times` times; recordings are made once or each time."""
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(at_once) as pool:
        recordings: dict[str, Recording] = {}
        for time in range(times):
            folder = Path(name) / str(time)
            folder.mkdir()
            for service in {build.service for build in builds}:
                if anew or service not in recordings:
                    recordings[service] = record(service, folder)
            yield from pool.map(
                lambda build, here=folder: judge(build, recordings[build.service], here), builds
            )


def main() -> int:
    """Print the table; 1 where a verdict was wrong."""
    parser = argparse.ArgumentParser(description="Judges every build of tests/examples.")
    parser.add_argument("--times", type=int, default=1, help="how often each is judged")
    parser.add_argument("--only", default="", help="builds whose name holds this text")
    parser.add_argument("--at-once", type=int, default=4, help="runs at the same time")
    parser.add_argument("--new-recordings", action="store_true", help="record anew each time")
    parser.add_argument("--show", action="store_true", help="print what replay said where wrong")
    options = parser.parse_args()
    builds = [build for build in BUILDS if options.only in str(build)]
    wrong: Counter[tuple[str, str]] = Counter()
    hashes: dict[Build, set[str]] = {}
    count = 0
    for outcome in runs(builds, options.times, options.at_once, options.new_recordings):
        count += 1
        hashes.setdefault(outcome.build, set()).add(outcome.hash)
        if outcome.wrong:
            wrong[str(outcome.build), outcome.wrong] += 1
            if options.show:
                print(f"--- {outcome.build}: {outcome.wrong}\n{outcome.out}")
    for (name, what), times in sorted(wrong.items()):
        print(f"{times:4} of {options.times}  {name:40}  {what}")
    if not options.new_recordings:
        for build, found in hashes.items():
            if build.code == 0 and len(found) > 1:
                print(f"{len(found)} verdicts of {build}")
    print(f"{count} verdicts on {len(builds)} builds, {wrong.total()} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
