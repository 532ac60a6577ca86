"""Exit codes, causes, and the three forms of a verdict."""

import json
import subprocess
from collections.abc import Callable
from xml.etree import ElementTree as ET

import pytest
from tapes import replay_command

from wiretape.replayer.causes import causes_of
from wiretape.replayer.compare import Difference
from wiretape.replayer.mocks import UpstreamFinding
from wiretape.replayer.report import json_report, junit_report, text_report
from wiretape.replayer.verdict import Failure, Result, State, UnfitCall, Verdict

TOTAL = Difference("json", "$.items[0].total", "20", "21", "another integer")
STATUS = Difference("status", "status", "200", "502", "another status")
CHANGED = UpstreamFinding("changed", "up:80", "POST /pay", 0, "it differs", None, (TOTAL,))
FAILURE = Failure("the build exited with 1 before it was ready", None, ("out of luck",))
CALL = UnfitCall("e9", "up:80", "GET /a", "its request's content lacks 2 bytes at 4")


def verdict_of(*states: State) -> Verdict:
    results = [
        Result(place, f"e{place}", "GET", f"/orders/{place}", 1000, state)
        for place, state in enumerate(states)
    ]
    for result in results:
        if result.state is State.DIFFERS:
            result.differences = [TOTAL]
    return Verdict("rec.mcap", "http://127.0.0.1:{port}", results, mocked=True)


Change = Callable[[Verdict], None]


def setting(**values: object) -> Change:
    def change(verdict: Verdict) -> None:
        for name, value in values.items():
            setattr(verdict, name, value)

    return change


@pytest.mark.parametrize(
    ("states", "changes", "code", "word"),
    [
        ([], [], 4, "UNFIT"),
        ([State.SAME], [], 0, "PASS"),
        ([State.SAME, State.DIFFERS], [], 1, "FAIL"),
        ([State.NOT_RUN], [], 4, "UNFIT"),
        ([State.SAME, State.UNFIT], [], 4, "UNFIT"),
        ([State.DIFFERS], [setting(upstream=[CHANGED])], 3, "FAIL"),
        ([State.DIFFERS, State.UNFIT], [setting(upstream=[CHANGED])], 4, "UNFIT"),
        ([State.SAME], [setting(unfit_calls=[CALL])], 4, "UNFIT"),
        ([State.SAME], [setting(truncated="cut")], 4, "UNFIT"),
        ([State.UNFIT], [setting(failure=FAILURE)], 5, "ERROR"),
        ([State.SAME], [setting(interrupted=True)], 130, "INTERRUPTED"),
    ],
)
def test_exit_codes(states: list[State], changes: list[Change], code: int, word: str) -> None:
    verdict = verdict_of(*states)
    for change in changes:
        change(verdict)
    assert (verdict.exit_code, verdict.word) == (code, word)
    assert text_report(verdict).startswith(f"{word}  ")
    said = json.loads(json_report(verdict))
    assert (said["exit_code"], said["verdict"]) == (code, word)
    suite = ET.fromstring(junit_report(verdict))[0]
    bad = int(suite.attrib["failures"]) + int(suite.attrib["errors"])
    assert bool(bad) == (code != 0) or states == [State.NOT_RUN]
    assert len(suite.findall("testcase")) == int(suite.attrib["tests"])


def test_one_cause_for_one_place_of_one_endpoint() -> None:
    verdict = verdict_of(State.DIFFERS, State.SAME, State.DIFFERS)
    token = "9d18e059-ea22-4a34-b185-206b1ed9eef8"
    verdict.results[0].target = "/orders/1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
    verdict.results[2].target = f"/orders/{token}?x=1"
    other = Difference("json", "$.items[7].total", "1", "2", "another integer")
    verdict.results[2].differences = [other]
    (cause,) = causes_of(verdict)
    assert cause.positions == (0, 2)
    assert "exchange 1 of 3 and 1 more like it" in text_report(verdict)


def test_what_follows_from_a_miss_is_folded_into_it() -> None:
    verdict = verdict_of(State.DIFFERS, State.DIFFERS)
    verdict.results[0].differences = [STATUS]
    verdict.upstream = [CHANGED]
    first, second = causes_of(verdict)
    assert first.consequences == (0,)
    assert second.positions == (1,)
    text = text_report(verdict)
    assert "1. upstream call changed: up:80 POST /pay: it differs  (exchange 1 of 2)\n" in text
    assert "   so GET /orders/0 differs: status: expected 200, actual 502" in text


def test_nothing_that_a_build_sends_moves_the_cursor() -> None:
    verdict = verdict_of(State.DIFFERS)
    evil = "\x1b[2J\x00\x07"
    verdict.results[0].differences = [Difference("text", "line 1", "a", evil, "the text differs")]
    verdict.failure = Failure("the build exited", 0, ("fine",))
    assert "\x1b" not in text_report(verdict)
    ET.fromstring(junit_report(verdict))
    assert "\x1b" not in json_report(verdict)


def test_colours_only_where_asked() -> None:
    verdict = verdict_of(State.DIFFERS)
    assert "\x1b[" not in text_report(verdict)
    assert "\x1b[" in text_report(verdict, colour=True)


def test_timings_are_apart() -> None:
    verdict = verdict_of(State.SAME)
    before = json.loads(json_report(verdict))
    verdict.duration_ns, verdict.results[0].live_ns = 5, 7
    after = json.loads(json_report(verdict))
    assert before.pop("timings") != after.pop("timings")
    assert before == after


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["run", "-h"]])
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    heavy = "asyncio google.protobuf rich numpy mcap"
    program = (
        "import sys; from wiretape.replayer.cli import main\n"
        "try: main()\n"
        f"finally: print([m for m in {heavy.split()} if m in sys.modules], file=sys.stderr)"
    )
    command = replay_command(*words)
    command[2] = program
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
    assert "Usage: " in done.stdout
