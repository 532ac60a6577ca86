"""Reports of whole runs: which files, who may read them, and that two runs say the same."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tapes import TARGET, Outcome, Tape, build, replay_command, request_of, response_of

Replay = Callable[..., Outcome]
ORDER = "9d18e059-ea22-4a34-b185-206b1ed9eef8"
CREATED = "2023-11-14T22:13:20.001+00:00"
HERE = (*TARGET, "--service", ":8080")
WRONG = build("--fault", "total")


@pytest.fixture
def shop(tape: Tape, tmp_path: Path) -> Path:
    """Orders that are made, asked for, and one from before the recording."""
    order = {"id": ORDER, "total": 20, "created_at": CREATED}
    posted = request_of("POST", "/orders", b'{"count": 2}', {"Content-Type": "application/json"})
    tape.inbound(posted, response_of(201, order, {"Location": f"/orders/{ORDER}"}))
    tape.inbound(request_of("GET", f"/orders/{ORDER}"), response_of(200, order))
    tape.inbound(request_of("GET", "/orders/17"), response_of(200, {"id": "17"}))
    return tape.write(tmp_path / "shop.mcap")


def mode_of(file: Path) -> int:
    return file.stat().st_mode & 0o777


def test_reports_are_for_their_owner_alone(replay: Replay, shop: Path, tmp_path: Path) -> None:
    files = [tmp_path / "verdict.json", tmp_path / "verdict.xml"]
    files[0].write_text("what was here before, readable for all and longer than that" * 1000)
    files[0].chmod(0o644)
    folder = tmp_path / "new" / "report"
    done = replay(
        "run", shop, *HERE, "--json", files[0], "--junit", files[1], "--report", folder, *WRONG,
        report=False,
    )  # fmt: skip
    assert done.code == 1, done.err
    assert [mode_of(file) for file in (*files, folder / "index.html")] == [0o600] * 3
    assert mode_of(folder) == 0o700
    assert json.loads(files[0].read_text())["exit_code"] == 1


@pytest.mark.parametrize("command", [build(), WRONG])
def test_two_runs_give_one_verdict(
    replay: Replay, shop: Path, tmp_path: Path, command: list[str]
) -> None:
    texts = []
    for _ in range(2):
        replay("run", shop, *HERE, *command)
        texts.append((tmp_path / "report.json").read_text())
    before, after = (text.partition('  "timings": ') for text in texts)
    assert before[0] == after[0]
    assert before[2] != after[2]


def test_state_from_before_the_recording_is_named(replay: Replay, shop: Path) -> None:
    done = replay("run", shop, *HERE, *build())
    assert done.code == 1
    assert done.report is not None
    (cause,) = done.report["causes"]
    assert cause["kind"] == "state"
    assert cause["exchanges"] == [2]
    assert "state that the recording never created: 404 for 17" in done.out


def details_of(page: Path) -> list[Any]:
    text = page.read_text(encoding="utf-8").partition('id="details">\n')[2]
    return [json.loads(line) for line in text.partition("</script>")[0].strip().split("\n")]


def test_the_page_has_what_was_sent_and_what_came(
    replay: Replay, shop: Path, tmp_path: Path
) -> None:
    replay("run", shop, *HERE, "--report", tmp_path / "report", *WRONG)
    first, second, third = details_of(tmp_path / "report" / "index.html")
    assert json.loads(first["response"]["content"]["text"])["id"] == ORDER
    live = json.loads(first["live_response"]["content"]["text"])
    assert live["id"] != ORDER
    assert live["total"] != 20
    # The live order was asked for.
    assert first["live_request"] == 0
    assert second["live_request"]["line"] == f"GET /orders/{live['id']} HTTP/1.1"
    assert third["live_response"]["line"].startswith("HTTP/1.1 404")
    assert first["cause"].startswith("Cause ")


def test_what_is_the_same_byte_for_byte_is_in_the_page_too(
    replay: Replay, tape: Tape, tmp_path: Path
) -> None:
    hello = response_of(200, {"hello": "world", "n": 1})
    tape.inbound(request_of("GET", "/hello"), hello)
    recording = tape.write(tmp_path / "hello.mcap")
    done = replay("run", recording, *HERE, "--report", tmp_path / "report", *build())
    assert done.code == 0
    (only,) = details_of(tmp_path / "report" / "index.html")
    assert only["live_request"] == 0
    assert only["response"]["line"] == "HTTP/1.1 200 OK"


def test_the_form_for_agents_has_a_request_that_can_be_sent(
    replay: Replay, shop: Path, running_build: int
) -> None:
    target = f"http://127.0.0.1:{running_build}"
    done = replay("run", shop, "--target", target, "--service", ":8080", "--format", "agent")
    assert done.code == 1
    assert len(done.out) <= 4000
    command = re.search(r"^ {3}(curl .*)$", done.out, re.MULTILINE)
    assert command is not None, done.out
    sent = subprocess.run(["sh", "-c", command[1]], capture_output=True, text=True, check=True)
    assert sent.stdout.startswith("HTTP/1.1 404")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--format", "prose"], "replay: --format: 'prose' is none of text, agent"),
        (["--report", "shop.mcap"], "replay: --report: cannot write into shop.mcap"),
        (["--report", "shop.mcap/below"], "replay: --report: cannot write into shop.mcap/below"),
    ],
)
def test_what_cannot_be_reported_is_said_before_the_run(
    replay: Replay, shop: Path, options: list[str], complaint: str
) -> None:
    done = replay("run", shop, *HERE, *options, *build(), report=False)
    assert (done.code, done.complaint) == (2, complaint)


@pytest.mark.parametrize("options", [["--json", "/dev/full"], ["--junit", "/dev/full"]])
def test_a_report_that_cannot_be_written(
    replay: Replay, shop: Path, tmp_path: Path, options: list[str]
) -> None:
    """The others are, and it is no pass."""
    others = ("--report", tmp_path / "report")
    done = replay("run", shop, *HERE, *options, *others, *build(), report=False)
    assert done.code == 5
    assert done.err.splitlines()[-1] == "replay: cannot write /dev/full: No space left on device"
    assert (tmp_path / "report" / "index.html").exists()


@pytest.mark.parametrize("closed", ["", ">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_standard_descriptors_may_be_closed(shop: Path, tmp_path: Path, closed: str) -> None:
    """What is opened then must not get their numbers."""
    program = "import sys; from wiretape.start import replay; sys.exit(replay())"
    words = ["run", str(shop), *HERE, "--json", str(tmp_path / "v.json"), *build()]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-c", program, *words],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert json.loads((tmp_path / "v.json").read_text())["exit_code"] == done.returncode, done
    assert bool(done.stdout) is (not closed.startswith(">"))
    assert bool(done.stderr) is ("2>" not in closed)


def test_a_verdict_that_cannot_be_printed(shop: Path) -> None:
    words = replay_command("run", shop, *HERE, *build())
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            words, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert done.returncode == 5
    assert done.stderr.endswith("replay: cannot write the verdict: No space left on device\n")


def on_terminal(command: list[str], folder: Path, columns: int, **env: str) -> str:
    """What the command prints on a terminal of so many columns."""
    ours, theirs = pty.openpty()
    # COLUMNS is what a shell knows of its terminal.
    process = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env={**os.environ, "TERM": "xterm", "COLUMNS": str(columns), **env},
    )
    os.close(theirs)
    pieces = []
    try:
        while piece := os.read(ours, 65536):
            pieces.append(piece)
    except OSError:  # the other end was closed
        pass
    os.close(ours)
    process.wait(60)
    return b"".join(pieces).decode()


@pytest.mark.parametrize(
    ("env", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_a_terminal_has_colours_and_a_width(
    shop: Path, tmp_path: Path, env: dict[str, str], coloured: bool
) -> None:
    command = replay_command("run", shop, *HERE, *WRONG)
    text = on_terminal(command, tmp_path, 44, **env)
    assert ("\x1b[" in text) is coloured
    plain = re.sub(r"\x1b\[[\d;]*m", "", text).replace("\r", "")
    assert max(map(len, plain.splitlines())) <= 44
    assert "FAIL" in plain
