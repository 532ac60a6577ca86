"""One verdict: however often it is asked for, and whatever way the build's calls take."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from builds import Build, Outcome, Recording, judge, record

RUNS = 100
# Most of a run is waiting.
AT_ONCE = 4
MODES = ("netns", "cgroup", "proxy", "none", "auto")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Recording]:
    folder = tmp_path_factory.mktemp("recordings")
    return {service: record(service, folder) for service in ("shop", "ledger", "polling")}


def many(build: Build, recording: Recording, folder: Path, times: int) -> list[Outcome]:
    def run(place: int) -> Outcome:
        mine = folder / str(place)
        mine.mkdir()
        return judge(build, recording, mine)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(run, range(times)))


@pytest.mark.timeout(400)
def test_a_hundred_runs_of_the_shop_are_one_verdict(
    recordings: dict[str, Recording], tmp_path: Path
) -> None:
    outcomes = many(Build("shop", "", 0), recordings["shop"], tmp_path, RUNS)
    failed = [outcome for outcome in outcomes if outcome.code != 0]
    assert not failed, f"{len(failed)} of {RUNS} failed, the first:\n{failed[0].out}"
    assert Counter(outcome.hash for outcome in outcomes).most_common(1)[0][1] == RUNS


@pytest.mark.parametrize(
    "build",
    [
        Build("ledger", "", 0),
        Build("polling", "", 0),
        Build("polling", "polls-often", 0),
        Build("shop", "fault:wrong-total", 1),
        Build("shop", "fault:currency", 3),
    ],
    ids=str,
)
def test_other_verdicts_repeat_too(
    build: Build, recordings: dict[str, Recording], tmp_path: Path
) -> None:
    outcomes = many(build, recordings[build.service], tmp_path, 8)
    assert {outcome.code for outcome in outcomes} == {build.code}
    assert len({outcome.hash for outcome in outcomes}) == 1


@pytest.mark.privileged
@pytest.mark.parametrize(
    ("mode", "change"),
    [
        *((mode, change) for mode in MODES for change in ("", "fault:wrong-total")),
        # Calls that never come are waited for, each time.
        ("netns", "fault:currency"),
        ("cgroup", "fault:currency"),
        ("proxy", "fault:currency"),
    ],
)
def test_every_interception_gives_the_same_verdict(
    mode: str, change: str, recordings: dict[str, Recording], tmp_path: Path
) -> None:
    # http.client, by which the shop asks, heeds no proxy; urllib does.
    service = "polling" if mode == "proxy" else "shop"
    if mode == "proxy":
        change = {"fault:wrong-total": "cut-off", "fault:currency": "rates-swapped"}.get(change, "")
    build, recording = Build(service, change, 0), recordings[service]
    by_env = judge(build, recording, tmp_path)
    found = judge(build, recording, tmp_path, "--intercept", mode, mocks_by_env=mode == "none")
    if refused := [line for line in found.out.splitlines() if "no interception here" in line]:
        pytest.skip(refused[0])
    assert found.code == by_env.code, found.out
    assert judged(found.report) == judged(by_env.report)


def judged(report: dict[str, Any]) -> Any:
    """What was found, without how the build was reached."""
    names = ("verdict", "exit_code", "counts", "causes", "exchanges", "upstream")
    return json.loads(json.dumps({name: report[name] for name in names}))
