"""Exit codes, causes, and the three forms of a verdict."""

import json
import re
import subprocess
from collections.abc import Callable
from xml.etree import ElementTree as ET

import pytest
from tapes import replay_command
from verdicts import OTHER, made, rich_verdict

from wiretape.replayer.accepted import Acceptance, AcceptedValues
from wiretape.replayer.causes import causes_of
from wiretape.replayer.compare import Difference
from wiretape.replayer.mocks import MovedCall, UpstreamFinding
from wiretape.replayer.report import json_report, junit_report, text_report
from wiretape.replayer.report.terminal import cells
from wiretape.replayer.verdict import (
    Attempt,
    Condition,
    Failure,
    Lacking,
    Latency,
    Lateness,
    Percentiles,
    Result,
    State,
    UnfitCall,
    Verdict,
)

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


GOLDEN = """\
FAIL  3 of 4 exchanges differ · 2 upstream calls as recorded · 1 upstream call extra

1. upstream call extra: pay:80 POST /charges: no recorded call is equal  (exchange 3 of 4)
   so POST /pay differs: status: expected 200, actual 502 (another status)

2. POST /orders  (exchange 1 of 4)
   $.total  expected 20, actual 21
   so GET /orders/1 differs: $.total: expected 20, actual 21 (another integer); it carries $.total \
of exchange 1

what is random by design needs a rule: `replay learn` on a known-good build makes it
accepted as generated: 2 unique · 1 time (--json and --report say where and why)
answered in another exchange than recorded: keys:80 GET /jwks
left this machine: auth:443
datagrams that went nowhere: 127.0.0.1:8125
rules that match nothing: rules.toml:4 mask $.nothing
latency.p95 > 200ms: 18 ms, does not hold
latency, recorded → live: p50 0.9 ms → 1.25 ms, p95 2.5 ms → 18 ms, p99 9 ms → 1.2 s
behind schedule: p50 0.01 ms, p99 2 ms
calls are intercepted in namespaces of their own (netns)
"""


def full_verdict() -> Verdict:
    verdict = made(
        ("POST /orders", State.DIFFERS),
        ("GET /orders/1", State.DIFFERS),
        ("POST /pay", State.DIFFERS),
        ("GET /healthz", State.SAME),
    )
    total = Difference("json", "$.total", "20", "21", "another integer")
    verdict.results[0].differences = verdict.results[1].differences = [total]
    verdict.results[1].lacking = [Lacking(0, "$.total", "20")]
    verdict.results[2].differences = [STATUS]
    reason = "no recorded call is equal"
    verdict.upstream = [UpstreamFinding("extra", "pay:80", "POST /charges", 2, reason)]
    verdict.calls_recorded = verdict.calls_answered = 2
    one = Acceptance("unique", "POST /orders", "json", "$.id", "a", "b", "renamed")
    verdict.accepted.add(0, [one, one, Acceptance("time", "", "field", "date", "a", "b", "so")])
    verdict.moved = [MovedCall("keys:80", "GET /jwks", 0, 1)] * 2
    verdict.attempts = [Attempt("tcp", "auth:443", let_out=True), Attempt("udp", "127.0.0.1:8125")]
    verdict.unused_rules = ["rules.toml:4 mask $.nothing"]
    verdict.conditions = [Condition("latency.p95 > 200ms", False, "18 ms")]
    verdict.latency = [
        Latency("GET /a", None, None),
        Latency(
            "",
            Percentiles(4, 900, 2000, 2500, 9000, 9100),
            Percentiles(4, 1250, 9000, 18_000, 1_200_000, 1_200_000),
        ),
    ]
    verdict.lateness = Lateness(10, 2000, 3000)
    verdict.notes = ["calls are intercepted in namespaces of their own (netns)"]
    return verdict


def test_golden() -> None:
    assert text_report(full_verdict()) == GOLDEN


@pytest.mark.parametrize("width", [30, 40, 60, 80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    verdict = full_verdict()
    wide = Difference("text", "line 1", "漢字" * 40, "word " * 40, "the text differs")
    verdict.results[0].differences = [wide]
    plain = text_report(verdict, width=width)
    assert max(map(cells, plain.splitlines())) <= width
    # Nothing is lost by it, and colours take no room.
    assert "".join(plain.split()) == "".join(text_report(verdict).split())
    coloured = text_report(verdict, colour=True, width=width)
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == plain


def test_exchanges_in_junit_are_cases_with_what_readers_ask_for() -> None:
    verdict = rich_verdict()
    root = ET.fromstring(junit_report(verdict))
    (suite,) = root
    assert [child.tag for child in suite if child.tag != "testcase"] == [
        "properties", "system-out", "system-err",
    ]  # fmt: skip
    assert suite[0].tag == "properties"
    assert suite.attrib.keys() >= {
        "name", "tests", "failures", "errors", "skipped", "time", "timestamp", "hostname",
    }  # fmt: skip
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.attrib["timestamp"])
    cases = suite.findall("testcase")
    assert len(cases) >= len(verdict.results)
    for case in cases:
        assert case.attrib.keys() == {"classname", "name", "time"}
        outcomes = list(case)
        assert len(outcomes) <= 1
        for outcome in outcomes:
            assert outcome.tag in {"failure", "error", "skipped"}
            assert "message" in outcome.attrib
            assert outcome.tag == "skipped" or outcome.attrib["type"]
    outcomes = {case.attrib["name"]: case for case in cases}
    follows = outcomes[f"0002 GET /orders/{OTHER}"].find("failure")
    assert follows is not None
    assert follows.attrib["type"] == "consequence"
    assert follows.attrib["message"] == "follows from: POST /orders"
    assert outcomes["reach 10.0.0.9:5432"].find("failure") is not None
    assert outcomes["--fail-if latency.p95 > 200ms"].find("failure") is not None
    assert outcomes["0004 GET /healthz"].find("failure") is None


def test_what_was_accepted_is_counted_by_class_and_place() -> None:
    accepted = AcceptedValues()
    for position in range(3):
        ids = Acceptance("unique", "GET /a", "json", "$[*].id", f"r{position}", "l", "renamed")
        accepted.add(
            position, [ids, ids, Acceptance("time", "GET /a", "field", "date", "", "", "")]
        )
    first, second = accepted
    assert (first.example.kind, first.count, first.exchanges, first.first) == ("time", 3, 3, 0)
    assert (second.example.recorded, second.count, second.exchanges) == ("r0", 6, 3)
    assert accepted.by_kind() == {"unique": 6, "time": 3}
    assert len(accepted) == 9


def test_how_many_durations_differ_by_chance_stands_with_the_timings() -> None:
    verdict = made(("GET /a", State.SAME))
    lasted = Acceptance("duration", "GET /a", "json", "$.took", "3", "4", "short enough")
    verdict.accepted.add(0, [lasted, lasted])
    report = json.loads(json_report(verdict))
    assert (report["accepted"], report["counts"]["accepted"]) == ([], {})
    assert [one["count"] for one in report["timings"]["accepted"]] == [2]


def test_places_without_end_are_counted_together() -> None:
    accepted = AcceptedValues()
    for position in range(10_050):
        one = Acceptance("unique", "GET /a", "json", f"$.p{position}", "r", "l", "renamed")
        accepted.add(position, [one])
    assert len(list(accepted)) == 10_001
    assert accepted.by_kind() == {"unique": 10_050}
