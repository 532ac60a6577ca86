"""The form for coding agents: short whatever happens, whole lines, what to mend first."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from verdicts import json_change, made, rich_verdict, status_change, with_messages

from wiretape.replayer.compare import Difference
from wiretape.replayer.mocks import UpstreamFinding
from wiretape.replayer.report import agent_report
from wiretape.replayer.verdict import Failure, Lacking, State, Verdict

LIMIT = 4000


def failing() -> Verdict:
    verdict = made(
        ("POST /orders", State.DIFFERS), ("GET /orders/1", State.DIFFERS), ("GET /a", State.SAME)
    )
    first, second, _ = verdict.results
    first.differences = [json_change("$.total", "20", "21", "another integer")]
    with_messages(first, {"total": 20}, {"total": 21})
    second.differences = [status_change(200, 404)]
    second.lacking = [Lacking(0, "$.total", "20")]
    return verdict


GOLDEN = """\
FAIL (exit 1): 2 of 3 exchanges differ
replay run rec.mcap --target http://127.0.0.1:{port}
1 cause, what to mend first at the head:

1. POST /orders
   seen in exchange 1 (id e0000)
   $.total: expected 20, actual 21 (another integer)
   so also: exchange 2 GET /orders/1
   curl -sS -i -X POST "http://127.0.0.1:$PORT"/orders -H 'Host: shop.example' \
-H User-Agent: -H Accept: -H Content-Type: --data-raw '{"sku": "a"}'
"""


def test_golden() -> None:
    assert agent_report(failing()) == GOLDEN


def test_a_pass_is_one_line_and_what_was_run() -> None:
    text = agent_report(made(("GET /", State.SAME)))
    assert text.splitlines() == [
        "PASS (exit 0): 1 exchange compared, none differs",
        "replay run rec.mcap --target http://127.0.0.1:{port}",
    ]


def test_everything_at_once() -> None:
    text = agent_report(rich_verdict())
    check(text)
    assert "\x1b" not in text
    assert text.startswith("ERROR (exit 5): the build exited with 1\n")


def check(text: str) -> None:
    assert len(text.encode()) <= LIMIT
    assert text.endswith("\n")
    # No escape is cut: a backslash has what belongs to it.
    for one in re.findall(r"\\(?:x|u|U)[^\n]{0,8}", text):
        assert re.match(r"\\x[0-9a-f]{2}|\\u[0-9a-f]{4}|\\U[0-9a-f]{8}", one), one


def test_what_does_not_fit_is_counted() -> None:
    verdict = made(
        *[(f"GET /{'x' * place}/{'long' * 30}", State.DIFFERS) for place in range(1, 60)]
    )
    for result in verdict.results:
        result.differences = [json_change(f"$.p{result.position}", "1", "2")]
        with_messages(result, {"a": 1}, {"a": 2})
    text = agent_report(verdict)
    check(text)
    shown = len(re.findall(r"^\d+\. ", text, re.MULTILINE))
    assert 3 < shown < 59
    last = text.splitlines()[-1]
    assert last == (f"Left out for want of room: {59 - shown} causes; --json has everything")


def test_a_request_that_is_too_long_is_named() -> None:
    verdict = failing()
    first = verdict.results[0]
    assert first.request is not None
    first.target = "/" + "x" * 3000
    with_messages(first, {"total": 20}, {"total": 21})
    text = agent_report(verdict)
    check(text)
    assert "request: capture-agent show rec.mcap e0000 --format http" in text


def test_the_end_of_a_build_output_is_what_is_kept() -> None:
    verdict = failing()
    verdict.failure = Failure("the build exited", 1, tuple(f"{'x' * 200} {n}" for n in range(100)))
    text = agent_report(verdict)
    check(text)
    assert f"{'x' * 200} 99\n" in text
    assert "lines of the build's last output" in text.splitlines()[-1]


# A backslash of a build's own is no escape.
_TEXT = st.text(st.characters(exclude_characters="\\"), max_size=400)
_DIFFERENCE = st.builds(
    Difference, st.sampled_from(["json", "field", "text", "status", "response"]), _TEXT,
    st.none() | _TEXT, st.none() | _TEXT, _TEXT,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.tuples(_TEXT, st.lists(_DIFFERENCE, min_size=1, max_size=12)), max_size=12),
    findings=st.lists(
        st.builds(
            UpstreamFinding, st.sampled_from(["missing", "extra", "changed"]), _TEXT, _TEXT,
            st.integers(-1, 11), _TEXT, st.none() | _TEXT, st.tuples(_DIFFERENCE),
        ),
        max_size=6,
    ),
    output=st.lists(_TEXT, max_size=30),
    contents=st.binary(max_size=2000),
)  # fmt: skip
def test_never_more_than_fits(
    rows: list[tuple[str, list[Difference]]],
    findings: list[UpstreamFinding],
    output: list[str],
    contents: bytes,
) -> None:
    verdict = made(*((f"GET /{place}", State.DIFFERS) for place in range(len(rows))))
    for result, (target, differences) in zip(verdict.results, rows, strict=True):
        result.target, result.differences = target, differences
    verdict.upstream = [one for one in findings if one.place < len(rows)]
    verdict.failure = Failure("it failed", None, tuple(output)) if output else None
    check(agent_report(verdict))


@pytest.mark.parametrize("length", range(3700, 4100, 7))
def test_at_the_very_edge(length: int) -> None:
    verdict = failing()
    verdict.failure = Failure(
        "it failed", 1, ("é" * 290,) * (length // 290) + ("y" * (length % 290),)
    )
    check(agent_report(verdict))
