"""The verdict for programs: one JSON object, schema `wiretape.replay/1` (docs/verdict.schema.json).

The same recording, rules and build give the same bytes, but for `timings`, the last key: it holds
everything that was measured. What a build makes anew in every run (ids, times, its own address)
stands in live text as a label such as `<unique 1>`; `timings.live` says what each stood for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from wiretape.replayer.accepted import MEASURED, AcceptedGroup
from wiretape.replayer.causes import Cause, causes_of
from wiretape.replayer.compare import Difference
from wiretape.replayer.mocks import UpstreamFinding
from wiretape.replayer.report.labels import Labels
from wiretape.replayer.verdict import (
    Attempt,
    Failure,
    Percentiles,
    Result,
    State,
    Verdict,
)

SCHEMA = "wiretape.replay/1"

Object = dict[str, Any]


def json_report(verdict: Verdict) -> str:
    """The object, a line for each key and for each element of a list, ending in a line feed."""
    return "".join(json_lines(verdict))


def json_lines(verdict: Verdict) -> Iterator[str]:
    """The same in pieces: a verdict of a million exchanges is never one text."""
    before = "{\n  "
    for name, value in _Writer(verdict).members():
        yield f"{before}{_dump(name)}: "
        before = ",\n  "
        if isinstance(value, Iterator):
            yield from _elements(value)
        else:
            yield _dump(value)
    yield "\n}\n"


def _elements(values: Iterator[Any]) -> Iterator[str]:
    before = "[\n    "
    for value in values:
        yield f"{before}{_dump(value)}"
        before = ",\n    "
    yield "[]" if before[0] == "[" else "\n  ]"


def _dump(value: Any) -> str:
    # A lone surrogate is JSON, and no UTF-8.
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


class _Writer:
    def __init__(self, verdict: Verdict) -> None:
        self._verdict = verdict
        self._labels = Labels()

    def members(self) -> Iterator[tuple[str, Any]]:
        """Keys and values; labels are given as they come, so timings are last."""
        verdict = self._verdict
        yield "schema", SCHEMA
        yield "verdict", verdict.word
        yield "exit_code", verdict.exit_code
        yield "recording", verdict.recording
        yield "target", verdict.target
        yield "counts", self._counts()
        yield "truncated", verdict.truncated
        yield "failure", self._failure(verdict.failure)
        yield "causes", (self._cause(cause) for cause in causes_of(verdict))
        yield "exchanges", map(self._exchange, verdict.results)
        yield "upstream", map(self._finding, verdict.upstream)
        yield (
            "unfit_calls",
            iter(
                [
                    {
                        "id": call.id,
                        "upstream": call.upstream,
                        "call": call.call,
                        "reason": call.reason,
                    }
                    for call in verdict.unfit_calls
                ]
            ),
        )
        yield "accepted", (_accepted(one) for one in verdict.accepted if not one.is_measured)
        yield "attempts", map(self._attempt, _attempts(verdict))
        moved = sorted({(moved.upstream, moved.call) for moved in verdict.moved})
        yield "moved", iter([{"upstream": upstream, "call": call} for upstream, call in moved])
        yield "unused_rules", list(verdict.unused_rules)
        yield (
            "conditions",
            iter(
                [{"expression": one.expression, "holds": one.holds} for one in verdict.conditions]
            ),
        )
        yield "timings", self._timings()

    def _counts(self) -> Object:
        verdict = self._verdict
        return {
            "exchanges": len(verdict.results),
            "compared": verdict.compared,
            **{state.value: verdict.count(state) for state in State},
            "unrelated": verdict.unrelated,
            "upstream_calls_recorded": verdict.calls_recorded,
            "upstream_calls_answered": verdict.calls_answered,
            "upstream_findings": len(verdict.upstream),
            "accepted": {
                kind: count
                for kind, count in verdict.accepted.by_kind().items()
                if kind not in MEASURED
            },
        }

    def _failure(self, failure: Failure | None) -> Object | None:
        if failure is None:
            return None
        return {
            "message": self._labels.mask(failure.message),
            "exchange": failure.place,
            "output": [self._labels.mask(text) for text in failure.output],
        }

    def _cause(self, cause: Cause) -> Object:
        return {
            "kind": cause.kind,
            "title": self._labels.mask(cause.title, self._recorded(cause)),
            "exchanges": list(cause.positions),
            "consequences": list(cause.consequences),
            "differences": self._differences(cause.differences),
            "endpoints": list(cause.endpoints),
            "upstream": list(cause.calls),
            "upstream_consequences": list(cause.calls_following),
            "hint": cause.hint or None,
        }

    def _recorded(self, cause: Cause) -> str:
        """Text in which what a title names is recorded, where it is."""
        results = self._verdict.results
        named = [f"{results[p].endpoint} {results[p].uncreated}" for p in cause.positions]
        findings = (self._verdict.upstream[index] for index in cause.calls)
        named += [f"{finding.nearest}\n{_recorded_call(finding)}" for finding in findings]
        return "\n".join(named)

    def _exchange(self, result: Result) -> Object:
        return {
            "position": result.position,
            "id": result.id,
            "method": result.method,
            "target": result.target,
            "state": result.state.value,
            "note": result.note or None,
            "differences": self._differences(result.differences),
            "lacking": [
                {"exchange": one.position, "place": one.place, "value": one.value}
                for one in result.lacking
            ],
            "uncreated": result.uncreated or None,
        }

    def _finding(self, finding: UpstreamFinding) -> Object:
        recorded = _recorded_call(finding)
        return {
            "kind": finding.kind,
            "upstream": self._labels.mask(finding.upstream, recorded),
            "call": self._labels.mask(finding.call, recorded),
            "exchange": finding.place if finding.place >= 0 else None,
            "reason": self._labels.mask(finding.reason, recorded),
            "nearest": finding.nearest,
            "differences": self._differences(finding.differences),
        }

    def _attempt(self, attempt: Attempt) -> Object:
        where = self._labels.mask(attempt.where)
        return {"transport": attempt.transport, "where": where, "let_out": attempt.let_out}

    def _differences(self, differences: Iterable[Difference]) -> list[Object]:
        return [
            {
                "kind": difference.kind,
                "place": difference.place,
                "expected": difference.expected,
                "actual": self._labels.mask(difference.actual, difference.expected),
                "reason": self._labels.mask(difference.reason, difference.expected),
            }
            for difference in differences
        ]

    def _timings(self) -> Object:
        verdict = self._verdict
        late = verdict.lateness
        return {
            "duration_ns": verdict.duration_ns,
            "exchanges": [
                {"recorded_ns": result.recorded_ns, "live_ns": result.live_ns}
                for result in verdict.results
            ],
            "latency": [
                {
                    "endpoint": one.endpoint or None,
                    "recorded": _percentiles(one.recorded),
                    "live": _percentiles(one.live),
                }
                for one in verdict.latency
            ],
            "lateness": late
            and {"p50_us": late.p50_us, "p99_us": late.p99_us, "max_us": late.max_us},
            "conditions": [one.actual for one in verdict.conditions],
            "attempts": [attempt.times for attempt in _attempts(verdict)],
            "accepted": [_accepted(one) for one in verdict.accepted if one.is_measured],
            "live": self._labels.live,
        }


def _recorded_call(finding: UpstreamFinding) -> str:
    """What of a finding is the recording's own."""
    return f"{finding.upstream} {finding.call}" if finding.kind != "extra" else ""


def _attempts(verdict: Verdict) -> list[Attempt]:
    return sorted(verdict.attempts, key=lambda one: (one.transport, one.where, one.let_out))


def _accepted(group: AcceptedGroup) -> Object:
    one = group.example
    return {
        "kind": one.kind,
        "endpoint": one.endpoint,
        "part": one.part,
        "name": one.name,
        "count": group.count,
        "exchanges": group.exchanges,
        "first": group.first if group.first >= 0 else None,
        "recorded": one.recorded,
        "why": one.why,
    }


def _percentiles(side: Percentiles | None) -> Object | None:
    if side is None:
        return None
    return {
        "count": side.count,
        "p50_us": side.p50_us,
        "p90_us": side.p90_us,
        "p95_us": side.p95_us,
        "p99_us": side.p99_us,
        "max_us": side.max_us,
    }
