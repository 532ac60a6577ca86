"""The judge is right about every build of the table, without rules."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import pytest
from builds import BUILDS, NODE, SHOP, Build, Outcome, Recording, judge, record

# As many runs at once: most of a run is waiting.
AT_ONCE = 4


class Judged:
    """Every build that this session tests, judged beforehand and several at once."""

    def __init__(self, builds: list[Build], folder: Path) -> None:
        self._folder = folder
        self._recordings: dict[str, Recording] = {}
        self._lock = Lock()
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._outcomes: dict[Build, Future[Outcome]] = {
            build: self._pool.submit(self._judge, build) for build in builds
        }

    def recording(self, service: str) -> Recording:
        """The recording of a service, made when it is first asked for."""
        with self._lock:
            if service not in self._recordings:
                self._recordings[service] = record(service, self._folder)
            return self._recordings[service]

    def _judge(self, build: Build) -> Outcome:
        return judge(build, self.recording(build.service), self._folder)

    def outcome(self, build: Build) -> Outcome:
        return self._outcomes[build].result()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="module")
def judged(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Judged]:
    wanted = [
        item.callspec.params["build"]
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and item.fspath == request.fspath
        and hasattr(item, "callspec")
        and "build" in item.callspec.params
    ]
    judged = Judged(wanted, tmp_path_factory.mktemp("judged"))
    yield judged
    judged.close()


@pytest.mark.parametrize("build", BUILDS, ids=str)
def test_the_verdict_is_right(build: Build, judged: Judged) -> None:
    if build.service == "trips" and NODE == "node":
        pytest.skip("needs node")
    outcome = judged.outcome(build)
    assert not outcome.wrong, f"{outcome.wrong}\n{outcome.out}"


def test_every_change_of_the_shop_is_judged() -> None:
    command = [sys.executable, str(SHOP / "shop.py"), "--help"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    faults, _, variants = said.partition("faults, each")[2].partition("variants, each")
    listed = {
        f"{kind}:{line.split()[0]}"
        for kind, part in (("fault", faults), ("variant", variants))
        for line in part.splitlines()
        if line.startswith("  ")
    }
    assert listed == {build.change for build in BUILDS if build.service == "shop"} - {""}
    assert sum(name.startswith("fault:") for name in listed) >= 20
    assert sum(name.startswith("variant:") for name in listed) >= 8
