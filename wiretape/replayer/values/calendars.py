"""Dates and times as people and file names spell them: 20261123, Nov 23, 2026, 2026-W48, 10:15 AM.

What tells a time is an instant. A day, a week, a month, a quarter or a year is a period, which has
a number among all of its kind. Both move from a recording to a run as the time that passed says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from functools import partial
from typing import NamedTuple

from wiretape.replayer.values.instants import (
    BASIC,
    DAY_NS,
    HTTP_DATE,
    ISO_TIME,
    SECOND_NS,
    Instant,
    Span,
    Timeline,
    days_of,
)

_MINUTE_NS = 60 * SECOND_NS
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

_Y, _M, _D = r"20\d\d", r"(?:0[1-9]|1[0-2])", r"(?:0[1-9]|[12]\d|3[01])"
_H, _S = r"(?:[01]\d|2[0-3])", r"[0-5]\d"
_MONTH = "(?:" + "|".join((*_MONTHS, "Sept", *(name[:3] for name in _MONTHS))) + ")"
_DAY = "(?:" + "|".join((*_DAYS, *(name[:3] for name in _DAYS))) + ")"
_ONE = r"(?:[12]\d|3[01]|0?[1-9])(?:st|nd|rd|th)?"
_SPACE = "[ \u202f\xa0]"
_HALF = r"(?:[AP]M\b|[ap]m\b|[ap]\.m\.)"
_TIME = (
    rf"(?:(?:{_H}|[1-9]):{_S}(?::{_S})?(?:{_SPACE}?{_HALF})?|1?\d{_SPACE}?{_HALF}|noon|midnight)"
)
_AT = rf"(?:,?(?: at)? {_TIME}(?: (?:GMT|UTC)(?:[+-]\d{{4}})?| [+-]\d{{4}})?)?"
_BEGIN = r"(?<![A-Za-z0-9])"

# Digits among letters are of a token, but behind a prefix in capitals.
_LONE, _END = r"(?<![0-9a-z])", r"(?![0-9A-Za-z])"
# What every date has in it, and begins with; most texts are done with by these.
# It begins with one set of characters, which is what makes a search quick.
_HINT = re.compile(
    r"[0-9ADFJMNOSTW](?:(?<=2)0\d\d|(?<=\d)(?::[0-5]\d|(?<![0-9a-z].)\d{5}(?![0-9A-Za-z]))"
    r"|(?<=[A-W])(?:a[nryt]|eb|pr|u[nlge]|ep|ct|ov|e[cd]|on|hu|ri))"
)
_FIRST = rf"{_LONE}(?=[0-9JFMASONDTWQ])"
# The first that fits takes the text. These are surely dates.
_SURE = {
    "spaced": (
        rf"(?<!\d){_Y}(?P<p>[/.]){_M}(?P=p){_D},? {_TIME}"
        rf"|(?<!\d){_Y}-{_M}-{_D},? (?:{_H}|[1-9]):{_S}(?::{_S})?{_SPACE}?{_HALF}"
    ),
    "iso": rf"{HTTP_DATE}|(?<!\d){ISO_TIME}|{BASIC}",
    "dashed": (
        rf"(?<!\d){_Y}(?P<d>[-/.]){_M}(?P=d){_D}(?:[T_-]{_H}[-.:]?{_S}(?:[-.:]?{_S})?)?(?!\d)"
    ),
    "log": rf"(?<!\d){_D}/{_MONTH}/{_Y}:{_H}:{_S}:{_S}(?: [+-]\d{{4}})?",
    "asctime": rf"{_BEGIN}{_DAY} {_MONTH} +{_ONE} {_TIME} (?:[A-Z]{{3,4}} )?{_Y}(?!\d)",
    "named": (
        rf"{_BEGIN}(?:{_DAY},? )?(?:{_ONE}\.?[ -]{_MONTH}\.?,?[ -]|{_MONTH}\.? {_ONE},? )"
        rf"{_Y}(?!\d){_AT}"
    ),
    "slashed": rf"(?<![\d./]){_ONE}(?P<s>[./]){_ONE}(?P=s){_Y}(?!\d)(?:,? {_TIME})?",
    "week": rf"(?<!\d){_Y}-?W(?:0[1-9]|[1-4]\d|5[0-3]){_END}",
    "quarter": rf"(?<!\d){_Y}[- ]?Q[1-4]{_END}|{_BEGIN}Q[1-4][- /]?{_Y}(?!\d)",
    "month": (
        rf"(?<!\d){_Y}[-/]{_M}(?!\d)|{_BEGIN}{_MONTH}\.? {_Y}(?!\d)|(?<![\d/]){_M}/{_Y}(?!\d)"
    ),
}
# These may be part of something else, which has to be the same on both sides then.
_LIKELY = {
    "compact": rf"{_LONE}{_Y}{_M}{_D}(?:[T_-]?{_H}{_S}(?:{_S}(?:\d{{3}})?)?)?{_END}",
    "ordinal": rf"(?<!\d){_Y}-[0-3]\d\d(?!\d)",
    "numbered": rf"{_LONE}{_Y}{_M}{_D}(?=\d{{3,8}}{_END})",
    "time": rf"(?<![\w:.-]){_TIME}(?![\w:])",
    "weekday": rf"{_BEGIN}{_DAY}(?![A-Za-z])",
    "month name": rf"{_BEGIN}{_MONTH}(?![A-Za-z])",
}
# These, a token may have by chance.
_VAGUE = {
    "month digits": rf"{_LONE}20(?:1[3-9]|[2-9]\d){_M}{_END}",
    "short": rf"{_LONE}{_Y[2:]}{_M}{_D}{_END}",
    "year": rf"(?<![\w.]){_Y}(?![\w.]\w)",
}
_TOKEN = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_DATES = [
    re.compile(
        f"{_TOKEN}|{_FIRST}(?:"
        + "|".join(f"(?P<{form.replace(' ', '_')}>{pattern})" for form, pattern in forms)
        + ")"
    )
    for forms in (
        _SURE.items(),
        (_SURE | _LIKELY).items(),
        (_SURE | _LIKELY | _VAGUE).items(),
    )
]
_DAYS_WITHIN = re.compile(f"({_LIKELY['compact']}|{_LONE}{_Y}-{_M}-{_D}{_END})")
_PIECES = re.compile(r"(\d+|[A-Za-z]+)")
_ZONE = re.compile(r" (?:GMT|UTC)?([+-])(\d\d)(\d\d)$")
# As newspapers have it: no minutes of a full hour, words for two of them, and short names of months
# with a point, but not of those that are short.
_FULL_HOUR = re.compile(rf"(?<![\d:])(1?\d)(?={_SPACE}[ap]\.m\.)")
_HOURS = {"noon": "12:00 p.m.", "midnight": "12:00 a.m."}
_HOUR = re.compile("|".join(_HOURS))
_POINTED = re.compile(r"\b(?:Jan|Feb|Aug|Sept|Oct|Nov|Dec)\.")
_UNPOINTED = re.compile(r"\b(?:March|April|May|June|July)\b")
_SUFFIXES = frozenset(["st", "nd", "rd", "th"])
_HALVES = (frozenset(["AM", "PM"]), frozenset(["am", "pm"]), frozenset("ap"))
_AFTERNOON = re.compile(r"P\.?M", re.IGNORECASE)
_IN_HALVES = re.compile(r"[AP]\.?M", re.IGNORECASE)


class Date(NamedTuple):
    """Where in a text a date stands, in which form."""

    start: int
    end: int
    form: str
    text: str


class Period(NamedTuple):
    """A day or more: its number among all of its kind, days from 1970 on. Of a name that comes
    again, `cycle` is after how many; else 0."""

    kind: str
    number: int
    cycle: int = 0


Reading = Instant | Period


def may_have_dates(text: str) -> bool:
    return _HINT.search(text) is not None


def dates_in(text: str, doubt: int) -> list[Date]:
    """Those that can be nothing else, without `doubt`; with 1 the likely ones too; with 2 all."""
    return [
        Date(match.start(), match.end(), match.lastgroup.replace("_", " "), match[0])
        for match in _DATES[doubt].finditer(text)
        if match.lastgroup is not None
    ]


def around_days(token: str) -> list[str]:
    """What a token consists of: at the odd places days, perhaps with a time."""
    return _DAYS_WITHIN.split(token)


def number_of(kind: str, day: int) -> int:
    """The number of the period of that kind in which a day lies."""
    match kind:
        case "day":
            return day
        case "week":
            return (day + 3) // 7
    moment = date.fromordinal(day + _EPOCH_DAY)
    month = moment.year * 12 + moment.month - 1
    return {"month": month, "quarter": month // 3}.get(kind, moment.year)


def are_own_months(recorded: str, live: str, span: Span) -> bool:
    """Whether both are the year and month of their exchanges in four digits, as in 2611-00017."""
    own, other = (
        {date.fromordinal(day + _EPOCH_DAY).strftime("%y%m") for day in days_of(at_ns)}
        for at_ns in (span.recorded_at_ns, span.live_at_ns)
    )
    return recorded in own and live in other


def same_period(recorded: Period, live: Period, span: Span, timeline: Timeline) -> bool:
    """Whether a period moved as that of its exchange did; another one than that, as any of its days
    would have."""
    kind, number, cycle = recorded.kind, recorded.number, recorded.cycle
    moved = timeline.passed(span, partial(number_of, kind))
    own = {number_of(kind, day) for day in days_of(span.recorded_at_ns)}
    if not cycle and number not in own:
        first, last = _first_day(kind, number), _first_day(kind, number + 1) - 1
        for low, high in timeline.passed(span, int):
            later = number_of(kind, first + low), number_of(kind, last + high)
            moved.append((later[0] - number, later[1] - number))
    step = live.number - number
    if cycle:
        return any((step - low) % cycle <= high - low for low, high in moved)
    return any(low <= step <= high for low, high in moved)


def readings(
    form: str, recorded: str, live: str, near_ns: int, live_ns: int
) -> Iterator[tuple[Reading, Reading]]:
    """What two dates of one form may mean, the same way; nothing where they are spelled otherwise.

    A time of day is of the day in which it is nearest to its exchange.
    """
    is_pointed = _POINTED.search(recorded + live) is not None
    recorded, live = _spelled_out(recorded, is_pointed), _spelled_out(live, is_pointed)
    if form == "iso" or not _is_spelled_alike(recorded, live):
        return
    for is_month_first in (False, True) if form == "slashed" else (False,):
        try:
            yield (
                _read(form, recorded, is_month_first, near_ns),
                _read(form, live, is_month_first, live_ns),
            )
        except ValueError:
            continue


def _spelled_out(text: str, is_pointed: bool) -> str:
    """`text` as the same format spells most dates."""
    text = _FULL_HOUR.sub(r"\1:00", _HOUR.sub(lambda match: _HOURS[match[0]], text))
    if is_pointed:
        text = _UNPOINTED.sub(lambda match: f"{match[0][:3]}.", text).replace("Sept.", "Sep.")
    return text


def _is_spelled_alike(recorded: str, live: str) -> bool:
    pieces, others = _PIECES.split(recorded), _PIECES.split(live)
    if len(pieces) != len(others):
        return False
    return all(map(_are_alike, pieces, others))


def _are_alike(piece: str, other: str) -> bool:
    if piece == other:
        return True
    if piece.isdigit() and other.isdigit():
        short, long = sorted((piece, other), key=len)
        return len(short) == len(long) or (len(long) == 2 and long[0] != "0")
    if not piece.strip(" ") and not other.strip(" "):
        return True
    for names in (_MONTHS, _DAYS):
        for length in (3, 9):
            spelled = {name[:length] for name in names}
            if piece in spelled and other in spelled:
                return True
    return any({piece, other} <= alike for alike in (_SUFFIXES, *_HALVES))


def _read(form: str, text: str, is_month_first: bool, near_ns: int) -> Reading:
    """ValueError where there is no such date."""
    words = re.findall(r"[A-Za-z]+", text)
    month = next((n for word in words if (n := _named(word, _MONTHS)) is not None), None)
    weekday = next((n for word in words if (n := _named(word, _DAYS)) is not None), None)
    zone = _ZONE.search(text)
    numbers = [int(found) for found in re.findall(r"\d+", text[: zone.start()] if zone else text)]
    match form:
        case "weekday":
            return Period("day", weekday or 0, 7)
        case "month name":
            return Period("month", month or 0, 12)
        case "year":
            return Period("year", numbers[0])
        case "week":
            monday = date.fromisocalendar(numbers[0], numbers[1], 1)
            return Period("week", number_of("week", _day(monday)))
        case "quarter":
            year, quarter = sorted(numbers, reverse=True)
            return Period("quarter", year * 4 + quarter - 1)
        case "month":
            year = max(numbers)
            number = min(numbers) - 1 if month is None else month
            return Period("month", year * 12 + number)
        case "month digits":
            year, number = divmod(numbers[0], 100)
            return Period("month", year * 12 + number - 1)
        case "ordinal":
            return Period("day", _day(date(numbers[0], 1, 1)) + numbers[1] - 1)
        case "short":
            return Period("day", _day(_from(f"20{text}")))
        case "time":
            day = near_ns // DAY_NS
            at_ns, unit_ns = _of_day(numbers, text)
            nearest = min((-1, 0, 1), key=lambda d: abs((day + d) * DAY_NS + at_ns - near_ns))
            return Instant((day + nearest) * DAY_NS + at_ns, unit_ns, form, 0)
        case "compact" | "numbered" | "dashed":
            digits = "".join(re.findall(r"\d+", text))
            moment, clock = _from(digits), digits[8:]
            numbers = [int(clock[i : i + 2]) for i in range(0, min(len(clock), 6), 2)]
            thousandths = int(clock[6:]) if clock[6:] else None
        case _:
            moment, numbers = _moment(form, numbers, month, is_month_first)
            thousandths = None
    day = _day(moment)
    if weekday is not None and (day + 3) % 7 != weekday:
        raise ValueError("another day of the week")
    if not numbers:
        return Period("day", day)
    at_ns, unit_ns = _of_day(numbers, text)
    if thousandths is not None:
        at_ns, unit_ns = at_ns + thousandths * 10**6, 10**6
    away_s = int(zone[2]) * 3_600 + int(zone[3]) * 60 if zone else 0
    if zone and zone[1] == "-":
        away_s = -away_s
    return Instant(day * DAY_NS + at_ns - away_s * SECOND_NS, unit_ns, form, 0)


def _moment(
    form: str, numbers: list[int], month: int | None, is_month_first: bool
) -> tuple[date, list[int]]:
    """The day, and the numbers of the time."""
    match form:
        case "spaced":
            return date(*numbers[:3]), numbers[3:]
        case "slashed":
            first, second, year = numbers[:3]
            if is_month_first:
                first, second = second, first
            return date(year, second, first), numbers[3:]
        case "asctime":
            return date(numbers[-1], (month or 0) + 1, numbers[0]), numbers[1:-1]
    return date(numbers[1], (month or 0) + 1, numbers[0]), numbers[2:]


def _of_day(numbers: list[int], text: str) -> tuple[int, int]:
    """Since midnight, and the smallest step that is shown; ns."""
    hour, minute, second = (*numbers, 0, 0)[:3]
    if _IN_HALVES.search(text):
        hour = hour % 12 + 12 * (_AFTERNOON.search(text) is not None)
    unit_ns = SECOND_NS if len(numbers) > 2 else _MINUTE_NS
    return ((hour * 60 + minute) * 60 + second) * SECOND_NS, unit_ns


def _first_day(kind: str, number: int) -> int:
    match kind:
        case "week":
            return number * 7 - 3
        case "month":
            return _day(date(number // 12, number % 12 + 1, 1))
        case "quarter":
            return _day(date(number // 4, number % 4 * 3 + 1, 1))
        case "year":
            return _day(date(number, 1, 1))
    return number


def _named(word: str, names: tuple[str, ...]) -> int | None:
    return next((n for n, name in enumerate(names) if word in (name, name[:3])), None)


def _from(digits: str) -> date:
    return date(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))


def _day(moment: date) -> int:
    return moment.toordinal() - _EPOCH_DAY
