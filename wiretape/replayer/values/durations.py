"""How long something took, by its own name: never longer than the exchange that says so."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import NamedTuple

from wiretape.replayer.values.instants import SECOND_NS, Span, spell
from wiretape.replayer.values.names import UNITS_NS, duration_unit_ns

_AMOUNT = re.compile(r"(?:PT)?(\d+(?:\.\d+)?) ?([A-Za-zµμ]*)")
_METRICS = re.compile(r"(?<=dur=)(\d+(?:\.\d+)?)")
_MS_NS = 10**6


class Finding(NamedTuple):
    """Whether a duration is accepted, and the reason either way."""

    same: bool
    why: str


def judge(recorded: str, live: str, name: str, span: Span) -> Finding | None:
    """Two amounts of time that differ; None where the name or the text says nothing of one."""
    if name == "server-timing":
        return _judge_metrics(recorded, live, span)
    unit_ns = duration_unit_ns(name)
    if unit_ns is None:
        return None
    amounts = _AMOUNT.fullmatch(recorded), _AMOUNT.fullmatch(live)
    if amounts[0] is None or amounts[1] is None or amounts[0][2] != amounts[1][2]:
        return None
    if amounts[0][2]:
        unit_ns = UNITS_NS.get(amounts[0][2].lower(), 0)
        if not unit_ns:
            return None
    return _within(amounts[0][1], amounts[1][1], unit_ns, span)


def _judge_metrics(recorded: str, live: str, span: Span) -> Finding | None:
    """The dur of each metric is in ms (Server Timing, W3C)."""
    expected, actual = _METRICS.split(recorded), _METRICS.split(live)
    if expected[::2] != actual[::2]:
        return None
    for amount, other in zip(expected[1::2], actual[1::2], strict=True):
        finding = _within(amount, other, _MS_NS, span)
        if not finding.same:
            return finding
    return Finding(True, "no metric lasted longer than its exchange")


def _within(recorded: str, live: str, unit_ns: int, span: Span) -> Finding:
    """Without a unit, what has a fraction is in s or ms, and what has none in ms."""
    fractional = "." in recorded
    units = (unit_ns,) if unit_ns else (SECOND_NS, _MS_NS) if fractional else (_MS_NS,)
    why = ""
    for unit in units:
        if not _fits(recorded, unit, span.recorded_duration_ns):
            why = why or "the recorded value is longer than its exchange, so it is no measure of it"
        elif _fits(live, unit, span.live_duration_ns):
            return Finding(True, "neither lasted longer than its exchange")
        else:
            took = spell(span.live_duration_ns)
            return Finding(False, f"it is longer than its exchange, which took {took}")
    return Finding(False, why)


def _fits(amount: str, unit_ns: int, duration_ns: int) -> bool:
    """Within the exchange and one step of its own precision."""
    step = Decimal(1).scaleb(-len(amount.partition(".")[2]))
    return Decimal(amount) * unit_ns <= duration_ns + step * unit_ns
