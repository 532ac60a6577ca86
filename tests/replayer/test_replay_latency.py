"""Histograms, and conditions on what they hold."""

import pytest

from wiretape.replayer.conditions import evaluate, parse_fail_if
from wiretape.replayer.config import parse_mock_timing, parse_speed
from wiretape.replayer.errors import UsageError
from wiretape.replayer.latency import Histogram, latencies
from wiretape.replayer.verdict import Result, State


def test_percentiles_are_those_of_the_values() -> None:
    values = [number * number for number in range(3000)]
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    for percent in (0.01, 1, 50, 90, 95, 99, 99.9, 100):
        exact = values[max(1, -int(-len(values) * percent // 100)) - 1]
        assert exact <= histogram.percentile(percent) <= exact * (1 + 2**-10)
    assert histogram.max == values[-1]


def test_small_values_are_exact_and_none_are_none() -> None:
    histogram = Histogram()
    assert (histogram.percentile(50), histogram.percentiles()) == (0, None)
    for value in (0, 1, 2047, 2047):
        histogram.add(value)
    assert [histogram.percentile(percent) for percent in (25, 50, 75)] == [0, 1, 2047]


def results() -> list[Result]:
    made = [
        Result(0, "a", "GET", "/a?x=1", 10_000, State.SAME, live_ns=1_000_000),
        Result(1, "b", "GET", "/a", 30_000, State.DIFFERS, live_ns=3_000_000),
        Result(2, "c", "POST", "/orders/17", 5_000, State.SAME, live_ns=500_000_000),
        Result(3, "d", "POST", "/orders/17", 5_000, State.NOT_RUN),
    ]
    return made


def test_recorded_and_live_side_by_side() -> None:
    found = {each.endpoint: (each.recorded, each.live) for each in latencies(results())}
    assert list(found) == ["", "GET /a", "POST /orders/*"]
    recorded, live = found["GET /a"]
    assert recorded is not None
    assert live is not None
    assert (recorded.count, recorded.p50_us, recorded.max_us) == (2, 10, 30)
    assert (live.count, live.max_us) == (2, 3000)
    assert live.p50_us == 1000


@pytest.mark.parametrize(
    ("text", "holds", "actual"),
    [
        ("latency.p50 > 2ms", True, "3ms"),
        ("latency.p95>1s", False, "500ms"),
        ("latency.p50 <= 1000us at GET /a", True, "1ms"),
        ("latency.max >= 500ms at POST /orders/*", True, "500ms"),
        ("latency.max > 0us at DELETE *", False, "0ms"),
        ("requests.failed > 0", True, "1"),
        ("requests.failed == 0 at POST *", True, "0"),
        ("requests.failed > 33%", True, "33.3%"),
        ("requests.failed > 50% at GET /a", False, "50%"),
        ("requests.count < 3", False, "3"),
    ],
)
def test_a_condition(text: str, holds: bool, actual: str) -> None:
    condition = evaluate(parse_fail_if(text), results())
    assert (condition.expression, condition.holds) == (text, holds)
    number, expected = (float(text.strip("ms%")) for text in (condition.actual, actual))
    assert expected <= number * 1.001 <= expected * 1.003


@pytest.mark.parametrize(
    "text",
    ["", "latency.p95", "latency.p95 > 200", "latency.p94 > 1s", "requests.failed > 1s",
     "requests.count > 1%", "latency.p95 => 1s", "latency.p95 > 1s in GET /a"],
)  # fmt: skip
def test_no_condition(text: str) -> None:
    with pytest.raises(UsageError, match="--fail-if"):
        parse_fail_if(text)


def test_speeds() -> None:
    assert [parse_speed(text) for text in ("max", "1", "2x", "0.5x")] == [0, 1, 2, 0.5]
    timings = [parse_mock_timing(text) for text in ("none", "recorded", "3x")]
    assert timings == [0, 1, 3]
    for text in ("", "0", "fast", "-1x", "x"):
        with pytest.raises(UsageError, match="--speed"):
            parse_speed(text)
        with pytest.raises(UsageError, match="--mock-timing"):
            parse_mock_timing(text)
