"""What is one endpoint, what is one place, and which differences have provably one cause."""

from __future__ import annotations

import re
from collections.abc import Hashable
from functools import lru_cache

from wiretape.replayer.compare import Difference
from wiretape.replayer.values import read_instant, shape
from wiretape.replayer.verdict import Result

_INDEX = re.compile(r"\[\d+\]")
_NUMBERED = re.compile(r"(lines?|offset) [\d-]+")
_NUMBER = re.compile(r"(?<=/)\d+(?=/|$)")
_LAST_NAME = re.compile(r"\.([A-Za-z_]\w*)(?:\[[\d*]+\])*$")
_TYPE_CHANGE = re.compile(r"\w+ became \w+")
_QUARTER_NS = 15 * 60 * 10**9
_MAX_SHIFT_NS = 26 * 3600 * 10**9
# Where everything differs, the same few places come again and again.
_CACHED = 1 << 14
# The shortest text that is a time.
_MIN_TIME = 10
_SLACK_NS = 5 * 10**9
# Answers of what stands before all endpoints: authentication, a limit, a service that is not up.
_OF_A_GATE = frozenset(["401", "403", "407", "421", "426", "429", "503"])

Across = tuple[Hashable, str]


@lru_cache(_CACHED)
def endpoint_of(method: str, target: str) -> str:
    """`METHOD /path` with each segment that could be generated as *."""
    return f"{method} {_NUMBER.sub('*', shape(target.partition('?')[0]))}"


@lru_cache(_CACHED)
def normal_place(place: str) -> str:
    """The same for all elements of an array, all lines, all offsets, all generated names."""
    return shape(_NUMBERED.sub(r"\1", _INDEX.sub("[*]", place)))


def across(result: Result, difference: Difference) -> Across | None:
    """What makes differences at other places the same, and how a person calls it; None for nothing.

    A clock or a form of time that is off is the same wherever it shows. So is a field that comes or
    goes, a member's type, and one value that became one other under one name.
    """
    kind, expected, actual = difference.kind, difference.expected, difference.actual
    if kind == "status":
        if actual not in _OF_A_GATE:
            return None
        content = result.live_response.content if result.live_response is not None else b""
        return ("gate", actual, content), f"status {actual}"
    if kind in ("response", "interim", "content", "text", "bytes"):
        return None
    if expected is not None and actual is not None:
        as_time = _of_time(result, expected, actual)
        if as_time is not None:
            return as_time
    name = _last_name(difference)
    if kind in ("field", "trailer") and (expected is None or actual is None):
        word = "is missing" if actual is None else "was not recorded"
        return (kind, name, word), f"{kind} {name} {word}"
    if not name:
        return None
    if _TYPE_CHANGE.fullmatch(difference.reason):
        return ("type", name, difference.reason), f"{name}: {difference.reason}"
    return (kind, name, expected, actual), f"{kind} {name}"


def _last_name(difference: Difference) -> str:
    if difference.kind != "json":
        return difference.place
    match = _LAST_NAME.search(difference.place)
    return match[1] if match is not None else ""


def _of_time(result: Result, expected: str, actual: str) -> Across | None:
    if len(expected) < _MIN_TIME or len(actual) < _MIN_TIME:
        return None
    recorded, live = read_instant(expected.strip('"')), read_instant(actual.strip('"'))
    if recorded is None or live is None:
        return None
    if recorded.syntax != live.syntax:
        return ("form", recorded.syntax, live.syntax), "times in another form"
    if not result.recorded_at_ns or not result.live_at_ns:
        return None
    off_ns = (live.at_ns - result.live_at_ns) - (recorded.at_ns - result.recorded_at_ns)
    quarters = round(off_ns / _QUARTER_NS)
    within_ns = _SLACK_NS + result.recorded_ns + result.live_ns + recorded.unit_ns
    if (
        not quarters
        or abs(off_ns) > _MAX_SHIFT_NS
        or (abs(off_ns - quarters * _QUARTER_NS) > within_ns)
    ):
        return None
    sign = "+" if quarters > 0 else "-"
    hours, rest = divmod(abs(quarters) * 15, 60)
    minutes = f" {rest} min" if rest else ""
    spelled = f"{sign}{hours} h{minutes}" if hours else f"{sign}{rest} min"
    return ("shift", quarters), f"times off by {spelled}"
