"""Judges times and what is counted with the clock, within the values of one pair of messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from wiretape.replayer.values import calendars, durations, remaining
from wiretape.replayer.values.instants import SECOND_NS, Instant, Span, read_instant, spell
from wiretape.replayer.values.names import clock_of, is_start
from wiretape.replayer.values.place import Place
from wiretape.replayer.values.renaming import Correlation

_SLACK_NS = 2 * SECOND_NS
_DECADE_NS = 3_653 * 86_400 * SECOND_NS
# From here on a writer that drops zeros does so too often for the number of digits to tell.
_FINE_DIGITS = 7
# How long a day is in these forms.
_DAYS = {"compact": 8, "dashed": 10}
_AS_BEFORE = "the instant that it was before"


class Accepted(NamedTuple):
    """A value that differs and was accepted.

    `kind` is unique, counter, composite, derived, time, duration, own-address, float or rule.
    """

    place: Place
    recorded: str
    live: str
    kind: str
    why: str


class Timed:
    """What a judgement knows of times, and what it has accepted and why it refused."""

    def __init__(self, correlation: Correlation, span: Span, place: Place) -> None:
        self.accepted: list[Accepted] = []
        self.place = place
        self._known = correlation
        self._span = span
        self._within_ns = _SLACK_NS + span.recorded_duration_ns + span.live_duration_ns
        self._part = self._name = self._reason = ""
        self._times: dict[int, int] = {}
        self._fractions: list[tuple[str, int, int]] = []
        self._undo: list[Callable[[], object]] = []

    def _measured(self, recorded: str, live: str) -> durations.Finding | None:
        """None where the name does not say that this is an amount of time."""
        finding = durations.judge(recorded, live, self._name, self._span)
        if finding is not None:
            return finding
        return remaining.judge(recorded, live, self._name, self._span, self._known.timeline)

    def _same_time(self, recorded: str, live: str) -> bool | None:
        """None where the recorded text is no time."""
        expected = read_instant(recorded)
        if expected is None:
            return None
        if expected.syntax.startswith("epoch") and (
            abs(expected.at_ns - self._span.recorded_at_ns) > _DECADE_NS
        ):
            return None
        actual = read_instant(live)
        if actual is None or actual.syntax != expected.syntax:
            return self._refuse("a time in another form")
        if expected.digits != actual.digits and not self._same_precision(expected, actual):
            return self._refuse("a time of another precision")
        return self._same_instant(expected, actual, recorded, live)

    def _same_instant(self, expected: Instant, actual: Instant, recorded: str, live: str) -> bool:
        span, timeline = self._span, self._known.timeline
        # Now and then such an instant is as recorded, as a measured value may be.
        clock = clock_of(self._name)
        kind = "duration" if clock is not None and clock.kind == "reset" else "time"
        paired = timeline.live_of(expected.at_ns)
        if (new := self._times.get(expected.at_ns)) is not None:
            paired = (*paired, new)
        if expected.unit_ns >= SECOND_NS and actual.at_ns in paired:
            # The commonest: the second that it was before.
            return self._accept(recorded, live, kind, _AS_BEFORE)
        if misfit := timeline.misfit(expected, actual, span, not self._known.concurrent):
            return self._refuse(misfit)
        unit_ns = max(expected.unit_ns, actual.unit_ns)
        ranges = [(at_ns, at_ns) for at_ns in paired]
        if not paired or unit_ns >= SECOND_NS:
            ranges += timeline.ranges(expected, span, is_start(self._name))
        off_ns = min((_off(actual.at_ns, low, high) for low, high in ranges), key=abs)
        if abs(off_ns) > self._within_ns + unit_ns:
            if kind != "time" and remaining.are_windows(expected.at_ns, actual.at_ns, span):
                return self._accept(recorded, live, kind, remaining.WINDOW)
            direction = "late" if off_ns > 0 else "early"
            return self._refuse(f"{spell(abs(off_ns))} too {direction}")
        if timeline.is_another_day(expected, actual, span):
            return self._refuse("another day")
        if not paired:
            self._times[expected.at_ns] = actual.at_ns
            self._undo.append(lambda: self._times.pop(expected.at_ns, None))
        if expected.digits or actual.digits:
            self._fractions.append((self._name, expected.digits, actual.digits))
        why = _AS_BEFORE if paired else "as far from its exchange"
        return self._accept(recorded, live, kind, why)

    def _with_dates(self, recorded: str, live: str) -> str:
        """`live` with the recorded dates in the place of those that moved as the time did."""
        if not calendars.may_have_dates(recorded):
            return live
        for doubt in range(3):
            expected = calendars.dates_in(recorded, doubt)
            actual = calendars.dates_in(live, doubt)
            if len(expected) == len(actual):
                live = self._with_these(expected, actual, live)
        return live

    def _with_these(
        self, expected: list[calendars.Date], actual: list[calendars.Date], live: str
    ) -> str:
        done = 0
        pieces: list[str] = []
        for date, other in zip(expected, actual, strict=True):
            pieces += live[done : other.start], self._with_date(date, other)
            done = other.end
        return "".join((*pieces, live[done:]))

    def _with_date(self, date: calendars.Date, other: calendars.Date) -> str:
        if date.form != other.form or date.text == other.text:
            return other.text
        if self._same_date(date.form, date.text, other.text):
            return date.text
        if (length := _DAYS.get(date.form, 0)) and length < len(other.text):
            # What follows a day may be a number instead of a time.
            day, rest = date.text[:length], other.text[length:]
            if self._same_date(date.form, day, other.text[:length]):
                return day + rest
        return other.text

    def _same_date(self, form: str, recorded: str, live: str) -> bool:
        if form == "iso":
            return bool(self._same_time(recorded, live))
        span, timeline = self._span, self._known.timeline
        times = span.recorded_at_ns, span.live_at_ns
        for expected, actual in calendars.readings(form, recorded, live, *times):
            if isinstance(expected, Instant):
                if isinstance(actual, Instant) and self._same_instant(
                    expected, actual, recorded, live
                ):
                    return True
            elif not isinstance(actual, Instant) and calendars.same_period(
                expected, actual, span, timeline
            ):
                return self._accept(recorded, live, "time", "moved as the day of its exchange did")
        return False

    def _same_precision(self, expected: Instant, actual: Instant) -> bool:
        """Whether dropped zeros explain that one side shows fewer digits of a second."""
        fewer, more = sorted((expected.digits, actual.digits))
        if expected.syntax.startswith("epoch") and fewer > 0:
            return True
        if more >= _FINE_DIGITS:
            return fewer >= _FINE_DIGITS - 1
        # The side that shows fewer must have shown as many before under this name.
        shown = self._known.fractions.get(self._name, (0, 0))
        return fewer > 0 and shown[actual.digits == fewer] >= more

    def _ruled(self, same: bool, recorded: str, live: str, kind: str, why: str) -> bool:
        return self._accept(recorded, live, kind, why) if same else self._refuse(why)

    def _accept(self, recorded: str, live: str, kind: str, why: str) -> bool:
        place = Place(self.place.endpoint, self.place.side, self._part, self._name)
        self.accepted.append(Accepted(place, recorded, live, kind, why))
        return True

    def _refuse(self, reason: str) -> bool:
        self._reason = reason
        return False


def _off(at_ns: int, low_ns: int, high_ns: int) -> int:
    """How far an instant lies beyond a range; 0 within it."""
    if at_ns < low_ns:
        return at_ns - low_ns
    return max(0, at_ns - high_ns)
