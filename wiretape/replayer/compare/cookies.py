"""Cookies compared by name and attribute (RFC 6265), in whatever order they stand.

Set-Cookie is no list: each line is one cookie. Of lines with one name the order is kept, as the
last one counts. Attribute names have no case; Expires is a time, Max-Age what is left until one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from wiretape.replayer.compare.difference import Difference
from wiretape.replayer.compare.view import View

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
# As RFC 6265 §5.1.1 lets dates be written: dashes, no week-day, two digits of the year.
_DATE = re.compile(
    r"(?:(\w{3})\w*,? +)?(\d{1,2})[ -](\w{3})\w*[ -](\d{2}|\d{4}) (\d\d:\d\d:\d\d)(?: GMT| UTC)?",
    re.IGNORECASE,
)
# With more, Max-Age could be read as an instant, which it is not.
_MOST_DIGITS = 9


def compare_set_cookies(
    recorded: list[str], live: list[str], view: View, kind: str
) -> list[Difference]:
    """Differences between two messages' Set-Cookie lines."""
    found: list[Difference] = []
    expected, actual = _by_name(recorded), _by_name(live)
    for name, lines in expected.items():
        others = actual.pop(name, [])
        for line, other in zip(lines, others, strict=False):
            found += _compare_cookie(name, line, other, view, kind)
        for line in lines[len(others) :]:
            found += _one_sided(view, kind, name, "the cookie is missing", line, None)
        for other in others[len(lines) :]:
            found += _one_sided(view, kind, name, "the cookie was not recorded", None, other)
    for name, others in actual.items():
        for other in others:
            found += _one_sided(view, kind, name, "the cookie was not recorded", None, other)
    return found


def _by_name(lines: list[str]) -> dict[str, list[str]]:
    named: dict[str, list[str]] = {}
    for line in lines:
        named.setdefault(line.partition(";")[0].partition("=")[0].strip(" \t"), []).append(line)
    return named


def _one_sided(
    view: View, kind: str, cookie: str, reason: str, expected: str | None, actual: str | None
) -> Iterator[Difference]:
    name = f"set-cookie: {cookie}"
    if not view.ignores(kind, name):
        yield view.difference(kind, name, name, expected, actual, reason)


def _compare_cookie(
    cookie: str, recorded: str, live: str, view: View, kind: str
) -> Iterator[Difference]:
    if recorded == live:
        return
    (value, attributes), (other, others) = _read(recorded), _read(live)
    name = f"set-cookie: {cookie}"
    if not view.same_text(value, other, kind, name):
        reason = f"another value: {view.why}" if view.why else "another value"
        yield view.difference(kind, name, name, value, other, reason)
    for key in sorted(attributes.keys() | others.keys()):
        place = f"{name}; {key}"
        expected, actual = attributes.get(key), others.get(key)
        if expected is None or actual is None:
            if not view.ignores(kind, place):
                reason = f"the attribute {'was not recorded' if expected is None else 'is missing'}"
                yield view.difference(kind, place, place, expected, actual, reason)
        elif not _same_attribute(key, expected, actual, view, kind, place):
            reason = f"another {key}: {view.why}" if view.why else f"another {key}"
            yield view.difference(kind, place, place, expected, actual, reason)


def _same_attribute(key: str, recorded: str, live: str, view: View, kind: str, place: str) -> bool:
    if key == "expires":
        return view.same_text(_http_date(recorded), _http_date(live), kind, place)
    view.why = ""
    if key == "max-age" and recorded != live and len(recorded) > _MOST_DIGITS:
        return bool(view.ruled(recorded, live, kind, place))
    return view.same_text(recorded, live, kind, place)


def _read(line: str) -> tuple[str, dict[str, str]]:
    """The value, and the attributes by lower-case name; of an attribute that repeats the last."""
    pair, *rest = line.split(";")
    attributes: dict[str, str] = {}
    for piece in rest:
        key, _, text = piece.partition("=")
        key, text = key.strip(" \t").lower(), text.strip(" \t")
        if key == "domain":
            text = text.lower().removeprefix(".")
        elif key == "samesite":
            text = text.lower()
        if key:
            attributes[key] = text
    return pair.partition("=")[2].strip(" \t"), attributes


def _http_date(text: str) -> str:
    """The date as an HTTP date where it can be read (RFC 6265 §5.1.1)."""
    match = _DATE.fullmatch(text)
    if match is None or match[3].lower() not in _MONTHS:
        return text
    day_name, day, month, year, time = match.groups()
    if len(year) == 2:
        year = f"{'19' if int(year) >= 70 else '20'}{year}"
    if not day_name:
        return text
    return f"{day_name.title()}, {int(day):02} {month.title()} {year} {time} GMT"


def cookie_pairs(values: list[str]) -> list[tuple[str, str]]:
    """Name and value of each cookie in a request's Cookie fields, sorted by name."""
    pieces = [piece.strip(" \t") for value in values for piece in value.split(";")]
    pairs = [piece.partition("=")[::2] for piece in pieces if piece]
    return sorted(pairs, key=lambda pair: pair[0])
