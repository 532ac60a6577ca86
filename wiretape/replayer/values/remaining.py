"""How long until something ends or may be done again, and for how long it has been so.

Such an amount changes as time passes: the remaining life of a token, the seconds until a limit is
lifted, how long a process has been up. Its name says what it is; a difference is accepted where the
time that passed explains both sides by one and the same begin.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

from wiretape.replayer.values.durations import Finding
from wiretape.replayer.values.instants import SECOND_NS, Span, Timeline
from wiretape.replayer.values.names import UNITS_NS, clock_of

_AMOUNT = re.compile(r"(\d{1,12}(?:\.\d{1,18})?) ?([A-Za-zµμ]*)")
# Within the values of these fields: RateLimit as both drafts spell it, and lives of what is cached.
_RESETS = re.compile(r"(?<=reset=)(\d{1,9})(?!\d)|(?<=; t=)(\d{1,9})(?!\d)")
_LIVES = re.compile(r"(?<=max-age=)(\d{1,9})(?!\d)|(?<=s-maxage=)(\d{1,9})(?!\d)")
_FIELDS = {
    "ratelimit": _RESETS, "x-ratelimit": _RESETS,
    "cache-control": _LIVES, "cdn-cache-control": _LIVES, "surrogate-control": _LIVES,
}  # fmt: skip
# A whole life is a round one: 5, 15, 60 or 3590 s.
_STEP_NS, _LONG_STEP_NS, _LONG_NS = 5 * SECOND_NS, 10 * SECOND_NS, 60 * SECOND_NS
# Limits are counted by whole minutes, hours or days of the clock.
_WINDOWS_NS = tuple(seconds * SECOND_NS for seconds in (60, 300, 600, 900, 1_800, 3_600, 86_400))
# Some count from their first request.
_FIRST_NS = SECOND_NS // 10
WINDOW = "the end of a window that the clock counts"
_EXPLAINED = "as the time that passed explains"
_OTHER = "the time that passed does not explain it"
_SINCE_START = "it is not the time since the build was started"


def judge(recorded: str, live: str, name: str, span: Span, timeline: Timeline) -> Finding | None:
    """Two amounts that differ; None where the name says nothing of a time that passes."""
    if (within := _FIELDS.get(name)) is not None:
        return _judge_within(within, recorded, live, span, timeline)
    clock = clock_of(name)
    if clock is None:
        return None
    amounts = _AMOUNT.fullmatch(recorded), _AMOUNT.fullmatch(live)
    if amounts[0] is None or amounts[1] is None or amounts[0][2] != amounts[1][2]:
        return None
    unit_ns = clock.unit_ns
    if amounts[0][2]:
        unit_ns = UNITS_NS.get(amounts[0][2].lower(), 0)
    if not unit_ns or ("." in amounts[1][1] and "." not in amounts[0][1]):
        return None
    values = int(Decimal(amounts[0][1]) * unit_ns), int(Decimal(amounts[1][1]) * unit_ns)
    if clock.kind == "uptime":
        steps = [unit_ns // 10 ** len(amount[1].partition(".")[2]) for amount in amounts if amount]
        return _up(*values, min(steps), span, timeline)
    if clock.kind == "age":
        same = _are_since(*values, SECOND_NS, span, timeline)
        return Finding(same, _EXPLAINED if same else _OTHER)
    return _left(*values, clock.kind == "reset", span, timeline)


def _judge_within(
    pattern: re.Pattern[str], recorded: str, live: str, span: Span, timeline: Timeline
) -> Finding | None:
    """The amounts that a field holds beside others; None where the others differ."""
    if pattern.sub("*", recorded) != pattern.sub("*", live):
        return None
    for amount, other in zip(pattern.finditer(recorded), pattern.finditer(live), strict=True):
        if amount[0] != other[0]:
            values = int(amount[0]) * SECOND_NS, int(other[0]) * SECOND_NS
            found = _left(*values, pattern is _RESETS, span, timeline)
            if not found.same:
                return found
    return Finding(True, _EXPLAINED)


def _left(recorded: int, live: int, is_reset: bool, span: Span, timeline: Timeline) -> Finding:
    """Both amounts are what is left of one whole life that began with one exchange."""
    passed_ns = span.recorded_at_ns - timeline.first_ns(span.recorded_at_ns)
    for life_ns in _lives(max(recorded, live), recorded + passed_ns + 2 * SECOND_NS):
        if _are_since(life_ns - recorded, life_ns - live, 2 * SECOND_NS, span, timeline):
            return Finding(True, _EXPLAINED)
    ends = span.recorded_at_ns + recorded, span.live_at_ns + live
    if is_reset and are_windows(*ends, span, SECOND_NS):
        return Finding(True, WINDOW)
    return Finding(False, _OTHER)


def _lives(low_ns: int, high_ns: int) -> Iterator[int]:
    """The round ones from the one to the other."""
    life_ns = 0
    while life_ns <= high_ns:
        if life_ns >= max(low_ns, 1):
            yield life_ns
            life_ns += _STEP_NS if life_ns < _LONG_NS else _LONG_STEP_NS
        else:
            step_ns = _STEP_NS if low_ns < _LONG_NS else _LONG_STEP_NS
            life_ns = -(-max(low_ns, 1) // step_ns) * step_ns


def _are_since(recorded_ns: int, live_ns: int, cut_ns: int, span: Span, timeline: Timeline) -> bool:
    """Whether both are the time since one exchange began, give or take how clocks are read: whole
    seconds of a difference, or a difference of whole seconds, which `cut_ns` is for."""
    recorded_end_ns = span.recorded_at_ns - recorded_ns
    live_end_ns = span.live_at_ns - live_ns
    return timeline.has_begun(
        (recorded_end_ns - SECOND_NS, recorded_end_ns + span.recorded_duration_ns + cut_ns),
        (live_end_ns - SECOND_NS, live_end_ns + span.live_duration_ns + cut_ns),
    )


def are_windows(recorded_ns: int, live_ns: int, span: Span, off_ns: int = 0) -> bool:
    """Whether both instants end a window of one length by the clock, each the one of its exchange;
    `off_ns` is how far they may be off, where they were told as whole seconds from then."""
    recorded = (recorded_ns, span.recorded_at_ns, span.recorded_duration_ns)
    live = (live_ns, span.live_at_ns, span.live_duration_ns)
    return any(
        all(
            (end_ns + off_ns) % window_ns <= (2 * off_ns + lasted_ns if off_ns else 0)
            and -off_ns <= end_ns - at_ns <= window_ns + off_ns + lasted_ns
            for end_ns, at_ns, lasted_ns in (recorded, live)
        )
        for window_ns in _WINDOWS_NS
    )


def _up(recorded: int, live: int, step_ns: int, span: Span, timeline: Timeline) -> Finding:
    """Since the build was started, before the first exchange; `step_ns` is how exact that is."""
    up = timeline.up_ns(span)
    if recorded + step_ns < up.recorded:
        return Finding(False, "the recorded value is no time since the start")
    same = up.live <= live + step_ns + _FIRST_NS and (not up.most or live <= up.most + step_ns)
    return Finding(same, "since the build was started" if same else _SINCE_START)
