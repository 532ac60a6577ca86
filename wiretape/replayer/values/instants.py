"""Instants in text and numbers: RFC 9110 dates, ISO 8601, and epoch s, ms, µs or ns."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

SECOND_NS = 10**9
_DAY_NS = 86_400 * SECOND_NS
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

HTTP_DATE = (
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (?:" + "|".join(_MONTHS) + r") \d{4} \d\d:\d\d:\d\d GMT"
)
ISO = r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?)?"
EPOCH = r"\d{10}(?:\.\d{1,9})?"

_ISO_PARTS = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:([T ])(\d\d):(\d\d)(?::(\d\d)(?:([.,])(\d{1,9}))?)?(Z|[+-]\d\d:?\d\d)?)?"
)
_DATE_PARTS = re.compile(r"\w{3}, (\d\d) (\w{3}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT")
_EPOCH_PARTS = re.compile(r"(\d{10}|\d{13}|\d{16}|\d{19})(?:\.(\d{1,9}))?")


class Instant(NamedTuple):
    """A point in time: ns since the epoch, the smallest step its text can show, and its syntax."""

    at_ns: int
    unit_ns: int
    syntax: str


def read_instant(text: str) -> Instant | None:
    """The instant that a whole text names, or None; a time without a zone counts as UTC."""
    try:
        if match := _ISO_PARTS.fullmatch(text):
            return _read_iso(match)
        if match := _DATE_PARTS.fullmatch(text):
            day, month, year, hour, minute, second = match.groups()
            moment = datetime(
                int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second),
                tzinfo=UTC,
            )  # fmt: skip
            return Instant(int(moment.timestamp()) * SECOND_NS, SECOND_NS, "http-date")
    except ValueError:
        return None
    if match := _EPOCH_PARTS.fullmatch(text):
        digits, fraction = match[1], match[2] or ""
        if fraction and len(digits) != 10:
            return None
        unit_ns = SECOND_NS // 10 ** (len(digits) - 10)
        fraction_ns = int(fraction.ljust(9, "0")) if fraction else 0
        # A float drops its trailing zeros, so its number of digits is no part of the syntax.
        syntax = f"epoch/{unit_ns}{'.' if fraction else ''}"
        return Instant(int(digits) * unit_ns + fraction_ns, unit_ns, syntax)
    return None


def _read_iso(match: re.Match[str]) -> Instant:
    year, month, day, separator, hour, minute, second, mark, fraction, zone = match.groups()
    moment = datetime(
        int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0),
        tzinfo=UTC,
    )  # fmt: skip
    if zone and zone != "Z":
        away = timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
        moment -= -away if zone[0] == "-" else away
    at_ns = int(moment.timestamp()) * SECOND_NS + int((fraction or "").ljust(9, "0"))
    # Forms with nanoseconds drop trailing zeros: 7, 8 and 9 digits are one precision.
    digits = min(len(fraction or ""), 7)
    if separator is None:
        unit_ns = _DAY_NS
    elif second is None:
        unit_ns = 60 * SECOND_NS
    else:
        unit_ns = SECOND_NS // 10 ** len(fraction or "")
    return Instant(at_ns, unit_ns, f"iso/{separator}/{second is None}/{mark}{digits}/{zone}")
