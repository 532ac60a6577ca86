"""Instants in text and numbers: RFC 9110 dates, ISO 8601, and epoch s, ms, µs or ns."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from time import localtime
from typing import NamedTuple

SECOND_NS = 10**9
DAY_NS = 86_400 * SECOND_NS
_MINUTE_NS = 60 * SECOND_NS
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

HTTP_DATE = (
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d[ -](?:" + "|".join(_MONTHS) + r")[ -]\d{4}"
    r" \d\d:\d\d:\d\d (?:GMT|UTC|[+-]\d{4})"
)
BASIC = r"\d{8}T\d{6}Z"
_ISO_CLOCK = r"[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?"
ISO = rf"\d{{4}}-\d\d-\d\d(?:{_ISO_CLOCK})?"
ISO_TIME = rf"\d{{4}}-\d\d-\d\d{_ISO_CLOCK}"
EPOCH = r"\d{10}(?:\.\d{1,9})?"

_ISO_PARTS = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:([T ])(\d\d):(\d\d)(?::(\d\d)(?:([.,])(\d{1,9}))?)?(Z|[+-]\d\d:?\d\d)?)?"
)
_DATE_PARTS = re.compile(
    r"\w{3}, (\d\d)([ -])(\w{3})[ -](\d{4}) (\d\d):(\d\d):(\d\d) (\w{3}|[+-]\d{4})"
)
_BASIC_PARTS = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z")
_EPOCH_PARTS = re.compile(r"(\d{10}|\d{13}|\d{16}|\d{19})(?:\.(\d{1,9}))?")


# So long before the first exchange a build may have made what it shows later.
_START_NS = 3_600 * SECOND_NS
# So long after its begin an exchange may fix an instant.
_FIXED_NS = SECOND_NS // 4
_PAIRS_KEPT = 1 << 18
_MOST_FURTHER = 7
_STEPS = ((86_400 * SECOND_NS, "d"), (3_600 * SECOND_NS, "h"))


class Instant(NamedTuple):
    """A point in time: ns since the epoch, the smallest step its text can show, and its syntax.

    `digits` counts those of the fraction of a second. They are no part of the syntax, for some
    writers drop zeros at the end.
    """

    at_ns: int
    unit_ns: int
    syntax: str
    digits: int


@dataclass(frozen=True, slots=True)
class Span:
    """When an exchange took place, recorded and live; ns since the epoch, and ns."""

    recorded_at_ns: int
    recorded_duration_ns: int
    live_at_ns: int
    live_duration_ns: int


class Up(NamedTuple):
    """For how long a build was up at least, recorded and live, and at most; 0 where it is unknown.

    All in ns.
    """

    recorded: int
    live: int
    most: int


class Timeline:
    """When exchanges began, recorded and live, and which instants were found to be one.

    `paired` holds the first live instant for each recorded one, in ns; `started_ns` is when the
    build was started, 0 where it was there before.
    """

    def __init__(self) -> None:
        self.started_ns = 0
        self._recorded_ns = array("q")
        self._live_ns = array("q")
        self._lasted_ns = array("q")
        self.paired: dict[int, int] = {}
        self._further: dict[int, tuple[int, ...]] = {}
        self._stood_for: dict[int, int] = {}

    def begin(self, recorded_at_ns: int, live_at_ns: int, lasted_ns: int = -1) -> None:
        """An exchange is being driven that took so long when it was recorded; -1: not known."""
        place = bisect_right(self._recorded_ns, recorded_at_ns)
        self._recorded_ns.insert(place, recorded_at_ns)
        self._live_ns.insert(place, live_at_ns)
        self._lasted_ns.insert(place, lasted_ns)

    def first_ns(self, recorded_at_ns: int) -> int:
        """When the first exchange began in the recording; the given one where there is none."""
        return self._recorded_ns[0] if self._recorded_ns else recorded_at_ns

    def has_begun(self, recorded: tuple[int, int], live: tuple[int, int]) -> bool:
        """Whether an exchange began within both of these spans, ends excluded."""
        first = bisect_right(self._recorded_ns, recorded[0])
        end = bisect_left(self._recorded_ns, recorded[1])
        return any(live[0] < at_ns < live[1] for at_ns in self._live_ns[first:end])

    def up_ns(self, span: Span) -> Up:
        """For how long the build must have been up when this exchange was answered."""
        recorded_ns = span.recorded_at_ns - self.first_ns(span.recorded_at_ns)
        live_ns = span.live_at_ns - (self._live_ns[0] if self._live_ns else span.live_at_ns)
        ended_ns = span.live_at_ns + span.live_duration_ns
        return Up(recorded_ns, live_ns, ended_ns - self.started_ns if self.started_ns else 0)

    def live_of(self, recorded_ns: int) -> tuple[int, ...]:
        """What this instant was live, in the order in which it was found."""
        first = self.paired.get(recorded_ns)
        return () if first is None else (first, *self._further.get(recorded_ns, ()))

    def pair(self, recorded_ns: int, live_ns: int) -> None:
        first = self.paired.setdefault(recorded_ns, live_ns)
        self._stood_for.setdefault(live_ns, recorded_ns)
        if first != live_ns:
            # Of times without fractions, several of one second may lie in several live ones.
            known = self._further.get(recorded_ns, ())
            if live_ns not in known and len(known) < _MOST_FURTHER:
                self._further[recorded_ns] = (*known, live_ns)
        elif len(self.paired) > _PAIRS_KEPT:
            # What is forgotten can still be told from when its exchange began.
            oldest = next(iter(self.paired))
            self._stood_for.pop(self.paired.pop(oldest), None)
            self._further.pop(oldest, None)

    def misfit(self, recorded: Instant, live: Instant, span: Span, ordered: bool) -> str:
        """Why the live instant cannot be the recorded one, where both are exact to the fraction of
        a second, however near it is; `ordered` where exchanges do not overlap."""
        unit_ns = max(recorded.unit_ns, live.unit_ns)
        known = self.live_of(recorded.at_ns)
        # What an upstream was given live is known to the nanosecond, and came back less exact.
        if unit_ns >= SECOND_NS or any(abs(live.at_ns - at_ns) < unit_ns for at_ns in known):
            return ""
        other_ns = self._stood_for.get(live.at_ns, recorded.at_ns)
        is_other = abs(recorded.at_ns - other_ns) > 2 * unit_ns
        after_ns = recorded.at_ns - span.recorded_at_ns
        if known:
            if ordered and after_ns < -unit_ns and live.at_ns >= span.live_at_ns:
                return "made anew; the recorded one was there before"
        else:
            # Only what was made in an exchange is known not to have been there before.
            is_made_here = -unit_ns <= after_ns <= span.recorded_duration_ns + unit_ns
            since_ns = span.live_at_ns
            if not is_made_here:
                since_ns = self._begun_with(recorded.at_ns) if ordered else 0
            is_other &= live.at_ns + unit_ns <= since_ns
        return "that instant stands for another" if is_other else ""

    def _begun_with(self, recorded_ns: int) -> int:
        """When the exchange in which a recorded instant lies began live; 0 where it is in none."""
        place = bisect_right(self._recorded_ns, recorded_ns) - 1
        if place < 0 or recorded_ns > self._recorded_ns[place] + self._lasted_ns[place]:
            return 0
        return self._live_ns[place]

    def is_another_day(self, recorded: Instant, live: Instant, span: Span) -> bool:
        """Whether a date without a time changed by other than the midnights that passed."""
        if recorded.unit_ns != DAY_NS or live.at_ns in self.live_of(recorded.at_ns):
            return False
        days = (live.at_ns - recorded.at_ns) // DAY_NS
        return not any(low <= days <= high for low, high in self.passed(span, int))

    def passed(self, span: Span, number_of: Callable[[int], int]) -> list[tuple[int, int]]:
        """How many periods began, of UTC and here, from the recorded exchange to the live one, or
        from the first one to its own; `number_of` a day among them."""
        moves = [
            (span.recorded_at_ns + span.recorded_duration_ns, span.live_at_ns),
            (span.recorded_at_ns, span.live_at_ns + span.live_duration_ns),
            *zip(self._recorded_ns[:1], self._live_ns[:1], strict=True),
        ]
        found = []
        for day_of in _DAYS_OF:
            few = [number_of(day_of(after)) - number_of(day_of(at)) for at, after in moves]
            found.append((min(few), max(few)))
        return found

    def ranges(self, instant: Instant, span: Span, is_start: bool = False) -> list[tuple[int, int]]:
        """Where the live instant may lie: as far from its own exchange as the recorded one.

        One of the future that is no whole minutes away was fixed in an earlier exchange from which
        it was, if there is one.
        One of the past is also measured from the exchange that was begun last before it. Where it
        tells no more than the second or the day, it belongs to any exchange that began within that.
        One from shortly before all of them, or at any time before where its name says `is_start`,
        may be when the build was started.
        """
        at_ns, unit_ns = instant.at_ns, instant.unit_ns
        shifted_ns = at_ns - span.recorded_at_ns + span.live_at_ns
        found = [(shifted_ns, shifted_ns)]
        if at_ns >= span.recorded_at_ns:
            return [*found, *self._fixed_before(instant, span)]
        first = bisect_right(self._recorded_ns, at_ns)
        if first == 0 and self._live_ns:
            is_near = self._recorded_ns[0] - at_ns <= _START_NS
            if is_start or (self.started_ns and is_near):
                found.append((self.started_ns, self._live_ns[0]))
        if first > 0:
            before_ns = self._live_ns[first - 1] + at_ns - self._recorded_ns[first - 1]
            found.append((before_ns, before_ns))
        last = bisect_right(self._recorded_ns, at_ns + unit_ns) - 1
        if last >= first:
            low_ns = self._live_ns[first] + at_ns - self._recorded_ns[first]
            high_ns = self._live_ns[last] + at_ns + unit_ns - self._recorded_ns[last]
            found.append((low_ns, max(low_ns, high_ns)))
        return found

    def _fixed_before(self, instant: Instant, span: Span) -> Iterator[tuple[int, int]]:
        at_ns, cut_ns = instant.at_ns, instant.unit_ns
        ahead_ns = at_ns - span.recorded_at_ns
        over_ns = (ahead_ns + cut_ns) % _MINUTE_NS
        if over_ns <= span.recorded_duration_ns + cut_ns or not self._recorded_ns:
            return
        most_ns = at_ns - self._recorded_ns[0] + cut_ns
        for life_ns in range(ahead_ns - ahead_ns % _MINUTE_NS + _MINUTE_NS, most_ns, _MINUTE_NS):
            first = bisect_left(self._recorded_ns, at_ns - life_ns - _FIXED_NS)
            end = bisect_right(self._recorded_ns, at_ns - life_ns + cut_ns)
            for index in range(first, min(end, first + _MOST_FURTHER)):
                live_ns = self._live_ns[index] + at_ns - self._recorded_ns[index]
                yield live_ns, live_ns


@lru_cache(4096)
def read_instant(text: str) -> Instant | None:
    """The instant that a whole text names, or None; a time without a zone counts as UTC."""
    if len(text) < 10:
        return None
    mark = text[4] if text[4] == "-" else text[3] if text[3] == "," else text[8]
    read = _READERS.get(mark, _read_epoch)
    try:
        return read(text)
    except ValueError:
        return None


def spell(ns: int) -> str:
    """A span of time for people, so coarse that it is the same in every run."""
    for step_ns, unit in _STEPS:
        if ns >= step_ns:
            return f"{ns / step_ns:.1f} {unit}".replace(".0 ", " ")
    return f"{ns / _MINUTE_NS:.0f} min" if ns >= _MINUTE_NS else "some seconds"


def _read_epoch(text: str) -> Instant | None:
    match = _EPOCH_PARTS.fullmatch(text)
    if match is None:
        return None
    digits, fraction = match[1], match[2] or ""
    if fraction and len(digits) != 10:
        return None
    unit_ns = SECOND_NS // 10 ** (len(digits) - 10)
    fraction_ns = int(fraction.ljust(9, "0")) if fraction else 0
    syntax = f"epoch/{len(digits)}"
    return Instant(int(digits) * unit_ns + fraction_ns, unit_ns, syntax, len(fraction))


def _read_date(text: str) -> Instant | None:
    match = _DATE_PARTS.fullmatch(text)
    if match is None:
        return None
    day, mark, month, year, hour, minute, second, zone = match.groups()
    number = str(_MONTHS.index(month) + 1)
    at_s = _epoch_s(year, number, day, hour, minute, second) - _zone_s(zone)
    return Instant(at_s * SECOND_NS, SECOND_NS, f"date{mark}{zone}", 0)


def _read_basic(text: str) -> Instant | None:
    match = _BASIC_PARTS.fullmatch(text)
    if match is None:
        return None
    return Instant(_epoch_s(*match.groups()) * SECOND_NS, SECOND_NS, "basic", 0)


def _read_iso(text: str) -> Instant | None:
    match = _ISO_PARTS.fullmatch(text)
    if match is None:
        return None
    year, month, day, separator, hour, minute, second, mark, fraction, zone = match.groups()
    at_s = _epoch_s(year, month, day, hour, minute, second) - _zone_s(zone)
    digits = len(fraction) if fraction else 0
    at_ns = at_s * SECOND_NS + (int(fraction.ljust(9, "0")) if fraction else 0)
    if separator is None:
        return Instant(at_ns, DAY_NS, "iso", 0)
    unit_ns = 60 * SECOND_NS if second is None else SECOND_NS // 10**digits
    comma = mark == ","
    return Instant(at_ns, unit_ns, f"iso{separator}{second is None}{comma}{zone}", digits)


def _epoch_s(
    year: str, month: str, day: str, hour: str | None, minute: str | None, second: str | None
) -> int:
    """Seconds since 1970; ValueError where there is no such time."""
    hours, minutes, seconds = int(hour or 0), int(minute or 0), int(second or 0)
    if hours > 24 or minutes > 59 or seconds > 60:
        raise ValueError("no such time")
    return _days(year, month, day) * 86_400 + hours * 3_600 + minutes * 60 + seconds


@lru_cache(1024)
def _days(year: str, month: str, day: str) -> int:
    return date(int(year), int(month), int(day)).toordinal() - _EPOCH_DAY


def _zone_s(zone: str | None) -> int:
    if zone is None or zone[0] not in "+-":
        return 0
    away_s = int(zone[1:3]) * 3_600 + int(zone[-2:]) * 60
    return -away_s if zone[0] == "-" else away_s


def _day(at_ns: int) -> int:
    return at_ns // DAY_NS


def _day_here(at_ns: int) -> int:
    at_s = at_ns // SECOND_NS
    return (at_s + localtime(at_s).tm_gmtoff) * SECOND_NS // DAY_NS


def days_of(at_ns: int) -> set[int]:
    """The day of UTC and the day here."""
    return {day_of(at_ns) for day_of in _DAYS_OF}


_DAYS_OF = (_day, _day_here)
_READERS: dict[str, Callable[[str], Instant | None]] = {
    "-": _read_iso,
    ",": _read_date,
    "T": _read_basic,
}
