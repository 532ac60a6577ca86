"""Dates and times as people write them: Nov. 23, 2026, 8:21 p.m., 23/11/2026 20:21, 20261123.

English names of months, as programs write them. What a text leaves open (whether May is short for
anything, whether 11 would be padded) is no difference of form; nor is which of two numbers is the
day where both could be, as long as one reading holds on both sides.
"""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache
from time import gmtime, localtime, strftime
from typing import NamedTuple

_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_SPACE = "[ \u202f\xa0]"
_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?"
    r"|Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)\.?"
)
_DAY = r"(?:Mon|Tue|Wednes|Wed|Thurs|Thu|Fri|Satur|Sat|Sun)(?:s?day)?"
_CLOCK = rf"\d\d?:\d\d(?::\d\d(?:\.\d{{1,6}})?)?(?:{_SPACE}?[AaPp]\.?[Mm]\b\.?)?"
_HOUR = rf"\d\d?{_SPACE}?[AaPp]\.?[Mm]\b\.?|noon|midnight"
_ZONE = r"(?: (?:UTC|GMT|Z)(?:[+-]\d{4})?| [+-]\d\d:?\d\d|Z)?(?: \([A-Z][A-Za-z ]{2,40}\))?"
_AT = rf"(?:(?:,? at|,|T)? ?(?:{_CLOCK}|{_HOUR}){_ZONE})?"
_COMPACT = r"\d{8}(?:[-_T]?\d{6}Z?)?"
# Of names of files; by itself it would be ISO 8601.
_DATED = r"\d{4}-\d\d-\d\d"
_TIMED = r"[T_-](?:\d{6}|\d\d[-_.]\d\d[-_.]\d\d)Z?"

# What cannot begin so is told by its first character.
WRITTEN = re.compile(
    rf"((?=[A-Z])(?<![\w.])(?:(?:{_DAY},? )?(?:{_MONTH} \d\d?(?:st|nd|rd|th)?,? \d{{4}}"
    rf"|\d\d?(?:st|nd|rd|th|\.)?[ -]{_MONTH},?[ -]\d{{4}}){_AT}(?![\w-])"
    rf"|{_DAY} {_MONTH} [ \d]?\d {_CLOCK} (?:[A-Z]{{3,4}} )?\d{{4}}(?!\w))"
    rf"|(?=\d)(?<!\d)(?:(?<![\w.])\d\d?(?:st|nd|rd|th|\.)?[ -]{_MONTH},?[ -]\d{{4}}{_AT}(?![\w-])"
    rf"|(?<![\w./-])(?:\d\d?/\d\d?/\d{{4}}|\d\d?\.\d\d?\.\d{{4}}|\d\d?-\d\d?-\d{{4}}"
    rf"|\d{{4}}/\d\d?/\d\d?|\d{{4}}\.\d\d?\.\d\d?){_AT}(?![\w/]|[.-]\d)"
    rf"|(?<=[A-Za-z0-9][-_]){_DATED}(?:{_TIMED}|T\d\d:\d\d:\d\dZ?)?(?![A-Za-z0-9:])"
    rf"|(?<![A-Za-z0-9.-]){_DATED}(?:{_TIMED}(?![A-Za-z0-9])|(?=[-_][A-Za-z0-9]))"
    rf"|(?<![A-Za-z0-9.]){_COMPACT}(?![A-Za-z0-9]|\.\d)))"
)


_PARTS = re.compile(
    rf"(?P<weekday>{_DAY}(?=[ ,]))|(?P<month>{_MONTH})|(?P<clock>{_CLOCK}|{_HOUR})"
    r"|(?P<zone>(?<=[TC ])[+-]\d\d:?\d\d)|(?P<compact>\d{8}(?!\d)|\d{14})"
    rf"|(?P<dated>{_DATED})|(?P<timed>(?<=[T_-])(?:\d{{6}}(?!\d)|\d\d[-_.]\d\d[-_.]\d\d))|(?P<number>\d+)"
)
_CLOCK_PARTS = re.compile(
    rf"(\d\d?)(?::(\d\d)(?::(\d\d)(?:\.(\d+))?)?)?({_SPACE}?)([AaPp]\.?[Mm]\.?)?"
)
_PERIODS = ("%Y", "%Y%m", "%y%m")
_ORDINAL = re.compile(r"^(?:st|nd|rd|th)")
_DAY_S = 86_400
_EPOCH_DAY = date(1970, 1, 1).toordinal()


class Written(NamedTuple):
    """A date that a text names, perhaps with a time: seconds since 1970, UTC where it has no zone.

    `unit_s` is the smallest step that it tells. Of how it is written, `layout` is what stands
    between its parts; each of `forms` lists, by a character each, what one part may be.
    """

    at_s: int
    unit_s: int
    layout: str
    forms: tuple[str, ...]


def is_period(recorded: str, live: str, recorded_s: int, live_s: int) -> bool:
    """Whether each of two texts is the year, or the year and month, of its own time, in UTC or
    here: 2026, 202611, 2611."""
    for form in _PERIODS:
        for moment in (gmtime, localtime):
            if recorded == strftime(form, moment(recorded_s)):
                return live == strftime(form, moment(live_s))
    return False


@lru_cache(4096)
def read(text: str) -> tuple[Written | None, Written | None]:
    """The date that a match of WRITTEN names: if the day comes first, and if the month does."""
    return _read(text, True), _read(text, False)


def pairs(recorded: str, live: str) -> list[tuple[Written, Written]]:
    """What two texts name that are dates written in one form."""
    return [
        (one, other)
        for one, other in zip(read(recorded), read(live), strict=True)
        if one is not None and other is not None
        if one.layout == other.layout and len(one.forms) == len(other.forms)
        if all(not set(a).isdisjoint(b) for a, b in zip(one.forms, other.forms, strict=True))
    ]


class _Reader:
    """What the parts of one text say, one after the other."""

    def __init__(self) -> None:
        self.numbers: list[str] = []
        self.forms: list[str] = []
        self.layout = ""
        self.month = self.zone_s = self.clock_s = 0
        self.weekday = -1
        self.unit_s = _DAY_S
        self.month_at = -1

    def add(self, kind: str, text: str) -> None:
        match kind:
            case "weekday":
                self.weekday = next(n for n, name in enumerate(_DAYS) if name[:3] == text[:3])
                self.forms.append("f" if text in _DAYS else f"{len(text)}")
            case "month":
                self.month = next(n for n, name in enumerate(_MONTHS, 1) if name[:3] == text[:3])
                self.month_at = len(self.numbers)
                self.forms.append(_form_of_month(self.month, text))
            case "clock":
                self._clock(text)
            case "zone":
                away_s = int(text[1:3]) * 3_600 + int(text[-2:]) * 60
                self.zone_s = away_s if text[0] == "+" else -away_s
                self.layout += text
            case "compact":
                self.numbers += (text[:4], text[4:6], text[6:8])
                if len(text) == 14:
                    self._compact_time(text[8:])
            case "dated":
                self.numbers += text.split("-")
            case "timed":
                self._compact_time(text.replace(text[2], "") if len(text) > 6 else text)
                self.layout += text[2] * (len(text) > 6)
            case _:
                self.numbers.append(text)
                if len(text) < 4:
                    self.forms.append(_form_of_number(text))
        self.layout += kind[0]

    def _compact_time(self, text: str) -> None:
        self.clock_s = int(text[:2]) * 3_600 + int(text[2:4]) * 60 + int(text[4:])
        self.unit_s = 1

    def _clock(self, text: str) -> None:
        self.unit_s = 60
        if text in ("noon", "midnight"):
            self.clock_s = 43_200 * (text == "noon")
            self.forms += ("12", "P")
            self.layout += " p.m."
            return
        match = _CLOCK_PARTS.fullmatch(text)
        if match is None:
            raise ValueError("no such time")
        hour, minute, second, fraction, space, half = match.groups()
        hours = int(hour)
        if half is not None:
            hours = hours % 12 + 12 * (half[0] in "pP")
            self.layout += space + half.replace("a", "p").replace("A", "P")
        self.forms.append(_form_of_number(hour))
        # Django leaves out minutes that are none.
        self.forms.append("P" if minute is None else "mP" if half in _DOTTED else "m")
        self.layout += ":" * (second is not None) + "." * len(fraction or "")
        self.clock_s = hours * 3_600 + int(minute or 0) * 60 + int(second or 0)
        if second is not None:
            self.unit_s = 1
        if hours > 23 or int(minute or 0) > 59 or int(second or 0) > 60:
            raise ValueError("no such time")

    def date(self, day_first: bool) -> date:
        first, second, *third = map(int, self.numbers)
        if self.month:
            if third:
                raise ValueError("no date")
            return date(max(first, second), self.month, min(first, second))
        if first > 999:
            return date(first, second, third[0])
        return date(third[0], second, first) if day_first else date(third[0], first, second)


_DOTTED = ("a.m.", "p.m.")


def _read(text: str, day_first: bool) -> Written | None:
    reader = _Reader()
    done = 0
    try:
        for match in _PARTS.finditer(text):
            # A day of one digit may stand behind a space more.
            reader.layout += _ORDINAL.sub("th", text[done : match.start()]).replace("  ", " ")
            reader.add(match.lastgroup or "", match[0])
            done = match.end()
        reader.layout += text[done:]
        day = reader.date(day_first)
    except (ValueError, StopIteration):
        return None
    if reader.weekday not in (-1, day.weekday()):
        return None
    at_s = (day.toordinal() - _EPOCH_DAY) * _DAY_S + reader.clock_s - reader.zone_s
    return Written(at_s, reader.unit_s, reader.layout, tuple(reader.forms))


def _form_of_number(text: str) -> str:
    """Whether it would be padded: 1 for no, 2 for yes."""
    return "1" if len(text) == 1 else "2" if text[0] == "0" else "12"


def _form_of_month(month: int, text: str) -> str:
    """Full, abbreviated, with a dot, or as newspapers do, which leave short names as they are."""
    name = _MONTHS[month - 1]
    if text == name:
        return "fadp" if text == "May" else "fp" if 3 <= month <= 7 else "f"
    if not text.endswith("."):
        return "a"
    return "d" if 3 <= month <= 7 else "p" if text == "Sept." else "d" if text == "Sep." else "dp"
