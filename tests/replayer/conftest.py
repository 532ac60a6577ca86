"""Runs of the command, and a build that runs already."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tapes import SERVER, Outcome, Tape, replay_command


@pytest.fixture
def tape() -> Tape:
    return Tape()


@pytest.fixture
def replay(tmp_path: Path) -> Callable[..., Outcome]:
    """Runs `replay` with the given arguments; checks that no run ends in a traceback."""

    def run(*arguments: str | Path, report: bool = True, cwd: Path | None = None) -> Outcome:
        words = list(map(str, arguments))
        file = tmp_path / "report.json"
        if report and words[:1] == ["run"]:
            words[1:1] = ["--json", str(file)]
        done = subprocess.run(
            replay_command(*words),
            capture_output=True,
            text=True,
            timeout=60,
            cwd=cwd or tmp_path,
            env={**os.environ, "TERM": "dumb", "COLUMNS": "200"},
            check=False,
        )
        assert "Traceback" not in done.stderr + done.stdout, done.stderr
        said = json.loads(file.read_text()) if file.exists() else None
        assert said is None or said["exit_code"] == done.returncode
        return Outcome(done.returncode, done.stdout, done.stderr, said)

    return run


@pytest.fixture
def running_build() -> Iterator[int]:
    """The port of a build that runs already."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, str(SERVER), "--port", str(port)])
    try:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield port
    finally:
        process.kill()
        process.wait()
