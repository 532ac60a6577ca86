"""Conditions that make a run fail: `--fail-if 'latency.p95 > 200ms at POST /orders'`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from wiretape.replayer.alike import endpoint_of
from wiretape.replayer.errors import UsageError
from wiretape.replayer.latency import Histogram
from wiretape.replayer.verdict import Condition, Result, State

_EXPRESSION = re.compile(
    r"\s*(?P<metric>[a-z]+\.[a-z0-9]+)\s*(?P<operator><=|>=|<|>|==)\s*"
    r"(?P<number>\d+(?:\.\d+)?)(?P<unit>us|µs|ms|s|%)?(?:\s+at\s+(?P<endpoint>\S.*?))?\s*"
)
_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq,
}  # fmt: skip
_UNIT_US = {"us": 1, "µs": 1, "ms": 1000, "s": 10**6}
_PERCENTILES = {"latency.p50": 50, "latency.p90": 90, "latency.p95": 95, "latency.p99": 99}
_METRICS = (*_PERCENTILES, "latency.max", "requests.failed", "requests.count")
_JUDGED = (State.SAME, State.DIFFERS)


@dataclass(frozen=True, slots=True)
class FailIf:
    """`value` is in µs, in requests, or, with `of_all`, in hundredths of all requests. `endpoint`
    is a pattern for `METHOD /path`, in which * stands for anything."""

    text: str
    metric: str
    operator: str
    value: float
    of_all: bool
    endpoint: str

    def covers(self, result: Result) -> bool:
        """Whether it tells of this exchange."""
        if self.endpoint == "*":
            return True
        path = result.target.partition("?")[0]
        names = endpoint_of(result.method, result.target), f"{result.method} {path}"
        return any(fnmatchcase(name, self.endpoint) for name in names)


def parse_fail_if(text: str) -> FailIf:
    """`METRIC OPERATOR VALUE [at ENDPOINT]`. Raises UsageError."""
    match = _EXPRESSION.fullmatch(text)
    if match is None:
        raise UsageError(f"--fail-if: '{text}' is not such as 'latency.p95 > 200ms at GET /a/*'")
    metric, unit = match["metric"], match["unit"]
    if metric not in _METRICS:
        raise UsageError(f"--fail-if: '{metric}' is none of {', '.join(_METRICS)}")
    value = float(match["number"])
    if metric.startswith("latency"):
        if unit not in _UNIT_US:
            raise UsageError(f"--fail-if: '{text}': a latency is in us, ms or s")
        value *= _UNIT_US[unit]
    elif unit not in (None, "%") or (unit and metric != "requests.failed"):
        raise UsageError(f"--fail-if: '{text}': requests are a number; failed ones may be in %")
    return FailIf(
        text, metric, match["operator"], value, unit == "%", (match["endpoint"] or "*").strip()
    )


def check_named(conditions: Iterable[FailIf], results: Sequence[Result]) -> None:
    """Raises UsageError where one is about no recorded exchange: it could never hold."""
    for each in conditions:
        if results and not any(map(each.covers, results)):
            raise UsageError(f"--fail-if: no request of the recording is at '{each.endpoint}'")


def evaluate(fail_if: FailIf, results: Iterable[Result]) -> Condition:
    """Whether it holds of the exchanges that were judged."""
    covered = [r for r in results if r.state in _JUDGED and fail_if.covers(r)]
    compare = _OPERATORS[fail_if.operator]
    if fail_if.metric.startswith("latency"):
        live = Histogram()
        for result in covered:
            live.add(result.live_ns // 1000)
        percent = _PERCENTILES.get(fail_if.metric)
        actual_us = live.max if percent is None else live.percentile(percent)
        holds = bool(covered) and compare(actual_us, fail_if.value)
        return Condition(fail_if.text, holds, f"{actual_us / 1000:g}ms")
    count = len(covered)
    if fail_if.metric == "requests.failed":
        count = sum(result.state is State.DIFFERS for result in covered)
    if fail_if.of_all:
        part = 100 * count / len(covered) if covered else 0.0
        return Condition(fail_if.text, compare(part, fail_if.value), f"{part:.3g}%")
    return Condition(fail_if.text, compare(count, fail_if.value), str(count))
