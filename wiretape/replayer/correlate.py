"""Which live value stands for which recorded value: the rule for generated values.

Equal values are always accepted. Where they differ, two classes are accepted, and nothing else:

*Unique*: a UUID (RFC 9562, same version), a ULID, a KSUID, an ObjectId or another token of at least
64 random bits (hex from 16 characters, base-36 from 13, mixed case from 11, with - and _ from 20).
Both sides have the same length and alphabet and agree in at most half of their places, as random
values do and a counter with a prefix does not. The renaming recorded → live is one-to-one in both
directions over the whole run. A value that stood for itself anywhere (the client sent it, a mock
answered with it, the build returned it unchanged) is never renamed.

*Time*: an RFC 9110 date, an ISO 8601 date or time, or a number of seconds, ms, µs or ns since 1970.
Both sides have the same syntax and precision, and the live instant is as far from its own exchange
as the recorded one was from its own, within 2 s + both exchanges' durations + one unit of
precision. An instant of the past is also measured from the exchange that was begun last before it,
and one that was accepted before may come again as its paired live instant.

A number that changed is a difference however it looks: a counter is not a class here. Tokens inside
longer text (paths, sentences, prefixed ids) are judged one by one; the text around them is equal.

Accepted pairs have one length, so they can be put into later requests, upstream calls and mock
answers without touching any framing.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

_SECOND_NS = 10**9
_DAY_NS = 86_400 * _SECOND_NS
_SLACK_NS = 2 * _SECOND_NS
_DECADE_NS = 3_653 * _DAY_NS
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_HTTP_DATE = (
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (?:" + "|".join(_MONTHS) + r") \d{4} \d\d:\d\d:\d\d GMT"
)
_ISO = r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?)?"
_EPOCH = r"\d{10}(?:\.\d{1,9})?"
_WORD = r"[A-Za-z0-9_-]{11,}"
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_UUIDS = f"{_UUID}|{_UUID.replace('a-f', 'A-F').replace('[89ab]', '[89AB]')}"

_TOKENS = re.compile(
    rf"({_HTTP_DATE}|(?<![\w.]){_ISO}(?![\w-])|(?<![\w.-]){_EPOCH}(?![\w-]|\.\d)|{_WORD})"
)
_ISO_PARTS = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:([T ])(\d\d):(\d\d)(?::(\d\d)(?:([.,])(\d{1,9}))?)?(Z|[+-]\d\d:?\d\d)?)?"
)
_DATE_PARTS = re.compile(r"\w{3}, (\d\d) (\w{3}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT")
_EPOCH_PARTS = re.compile(r"(\d{10}|\d{13}|\d{16}|\d{19})(?:\.(\d{1,9}))?")
_WORDS = re.compile(_WORD.encode())
_PIECES = re.compile(f"({_UUIDS}|[-_])")
_BYTE_PIECES = re.compile(_PIECES.pattern.encode())
_ANY_UUID = re.compile(_UUIDS)
_HEX = re.compile(r"[0-9a-f]+|[0-9A-F]+")
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")


class Instant(NamedTuple):
    """A point in time: ns since the epoch, the smallest step its text can show, and its syntax."""

    at_ns: int
    unit_ns: int
    syntax: str


@dataclass(frozen=True, slots=True)
class Span:
    """When an exchange took place, recorded and live; ns since the epoch, and ns."""

    recorded_at_ns: int
    recorded_duration_ns: int
    live_at_ns: int
    live_duration_ns: int


class Correlation:
    """The pairs recorded ↔ live of one run."""

    def __init__(self) -> None:
        self.live_of: dict[str, str] = {}
        self.recorded_of: dict[str, str] = {}
        self.instants: dict[int, int] = {}
        self._live_bytes: dict[bytes, bytes] = {}
        self._recorded_bytes: dict[bytes, bytes] = {}
        self._begun_recorded_ns: list[int] = []
        self._begun_live_ns: list[int] = []
        self._themselves: set[bytes] = set()
        self._unread: list[tuple[bytes, bytes]] = []

    def begin(self, recorded_at_ns: int, live_at_ns: int) -> None:
        """An exchange is being driven; calls come in recorded order."""
        self._begun_recorded_ns.append(recorded_at_ns)
        self._begun_live_ns.append(live_at_ns)

    def saw(self, recorded: bytes, live: bytes) -> None:
        """These two stand for each other; tokens that are in both stand for themselves."""
        # Reading tokens costs time that a run without generated values need not spend.
        self._unread.append((recorded, live))
        if len(self._unread) >= 4096:
            self._read()

    def stands_for_itself(self, token: str) -> bool:
        self._read()
        return token.encode() in self._themselves

    def _read(self) -> None:
        for recorded, live in self._unread:
            tokens = _tokens_in(recorded)
            self._themselves |= tokens if recorded == live else tokens & _tokens_in(live)
        self._unread.clear()

    def to_live(self, data: bytes) -> bytes:
        """Put live values in the place of the recorded ones; the length stays."""
        return _replace(self._live_bytes, data)

    def to_recorded(self, data: bytes) -> bytes:
        """Put recorded values in the place of the live ones; the length stays."""
        return _replace(self._recorded_bytes, data)

    def live_time_of(self, recorded_ns: int) -> int | None:
        """Where an instant falls when the exchange begun last before it is the measure."""
        place = bisect_right(self._begun_recorded_ns, recorded_ns) - 1
        if place < 0:
            return None
        return self._begun_live_ns[place] + recorded_ns - self._begun_recorded_ns[place]

    def add(self, pairs: dict[str, str], instants: dict[int, int]) -> None:
        for recorded, live in pairs.items():
            self.live_of[recorded] = live
            self.recorded_of[live] = recorded
            self._live_bytes[recorded.encode()] = live.encode()
            self._recorded_bytes[live.encode()] = recorded.encode()
        for recorded_ns, live_ns in instants.items():
            self.instants.setdefault(recorded_ns, live_ns)


class Judgement:
    """Judges one exchange; what it accepts counts for the run only after `commit`."""

    def __init__(self, correlation: Correlation, span: Span) -> None:
        self._known = correlation
        self._span = span
        self._pairs: dict[str, str] = {}
        self._back: dict[str, str] = {}
        self._instants: dict[int, int] = {}

    def commit(self) -> None:
        self._known.add(self._pairs, self._instants)

    def saw(self, recorded: bytes, live: bytes) -> None:
        """As Correlation.saw; to be said before the values inside are judged."""
        self._known.saw(recorded, live)

    def same_text(self, recorded: str, live: str) -> bool:
        if recorded == live:
            return True
        expected, actual = _TOKENS.split(recorded), _TOKENS.split(live)
        # Fixed text lies at the even places, tokens at the odd ones.
        if len(expected) != len(actual) or expected[::2] != actual[::2]:
            return False
        return all(map(self._same_token, expected[1::2], actual[1::2]))

    def same_number(self, recorded: int | Decimal, live: int | Decimal) -> bool:
        """Two JSON numbers of one kind: equal, or both a time since 1970."""
        return recorded == live or self._same_time(str(recorded), str(live)) is True

    def _same_token(self, recorded: str, live: str) -> bool:
        if recorded == live:
            return True
        if (as_time := self._same_time(recorded, live)) is not None:
            return as_time
        if len(recorded) != len(live):
            return False
        if not _ANY_UUID.search(recorded) and _is_random(recorded, live):
            return self._rename(recorded, live)
        expected, actual = _PIECES.split(recorded), _PIECES.split(live)
        return len(expected) == len(actual) > 1 and all(map(self._same_piece, expected, actual))

    def _same_piece(self, recorded: str, live: str) -> bool:
        if recorded == live:
            return True
        if _ANY_UUID.fullmatch(recorded):
            return _same_kind_of_uuid(recorded, live) and self._rename(recorded, live)
        return _is_random(recorded, live) and self._rename(recorded, live)

    def _rename(self, recorded: str, live: str) -> bool:
        bound = self._pairs.get(recorded) or self._known.live_of.get(recorded)
        if bound is not None:
            return bound == live
        if live in self._back or live in self._known.recorded_of:
            return False
        if self._known.stands_for_itself(recorded) or self._known.stands_for_itself(live):
            return False
        self._pairs[recorded] = live
        self._back[live] = recorded
        return True

    def _same_time(self, recorded: str, live: str) -> bool | None:
        """None where the recorded text is no time."""
        expected = read_instant(recorded)
        if expected is None:
            return None
        actual = read_instant(live)
        if actual is None or actual.syntax != expected.syntax:
            return False
        span = self._span
        if expected.syntax.startswith("epoch") and (
            abs(expected.at_ns - span.recorded_at_ns) > _DECADE_NS
        ):
            return False
        within_ns = _SLACK_NS + span.recorded_duration_ns + span.live_duration_ns + expected.unit_ns
        shifted_ns = expected.at_ns - span.recorded_at_ns + span.live_at_ns
        possible = [shifted_ns]
        if expected.at_ns < span.recorded_at_ns:
            possible.append(self._known.live_time_of(expected.at_ns) or shifted_ns)
        paired_ns = self._instants.get(expected.at_ns, self._known.instants.get(expected.at_ns))
        if paired_ns is not None:
            possible.append(paired_ns)
        if all(abs(actual.at_ns - at_ns) > within_ns for at_ns in possible):
            return False
        self._instants.setdefault(expected.at_ns, actual.at_ns)
        return True


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
            return Instant(int(moment.timestamp()) * _SECOND_NS, _SECOND_NS, "http-date")
    except ValueError:
        return None
    if match := _EPOCH_PARTS.fullmatch(text):
        digits, fraction = match[1], match[2] or ""
        if fraction and len(digits) != 10:
            return None
        unit_ns = _SECOND_NS // 10 ** (len(digits) - 10)
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
    at_ns = int(moment.timestamp()) * _SECOND_NS + int((fraction or "").ljust(9, "0"))
    # Forms with nanoseconds drop trailing zeros: 7, 8 and 9 digits are one precision.
    digits = min(len(fraction or ""), 7)
    if separator is None:
        unit_ns = _DAY_NS
    elif second is None:
        unit_ns = 60 * _SECOND_NS
    else:
        unit_ns = _SECOND_NS // 10 ** len(fraction or "")
    return Instant(at_ns, unit_ns, f"iso/{separator}/{second is None}/{mark}{digits}/{zone}")


def _same_kind_of_uuid(recorded: str, live: str) -> bool:
    """Of one version (its digit at 14) and written in one case."""
    return (
        _ANY_UUID.fullmatch(live) is not None
        and recorded[14] == live[14]
        and (recorded == recorded.lower()) == (live == live.lower())
    )


def _is_random(recorded: str, live: str) -> bool:
    """Both look like independent random tokens of one shape, of at least 64 bits."""
    length = len(recorded)
    if length != len(live) or length < 11:
        return False
    if sum(map(str.__eq__, recorded, live)) * 2 > length:
        return False
    if _HEX.fullmatch(recorded) and _HEX.fullmatch(live):
        return length >= 16 and not (recorded.isdigit() and live.isdigit())
    if _ULID.fullmatch(recorded) and _ULID.fullmatch(live):
        return True
    if any(mark in recorded or mark in live for mark in "-_"):
        return length >= 20 and _is_scattered(recorded) and _is_scattered(live)
    if _is_mixed_case(recorded) and _is_mixed_case(live):
        return _is_scattered(recorded) and _is_scattered(live)
    one_case = recorded.isalnum() and recorded.islower() == live.islower()
    one_case = one_case and recorded.isupper() == live.isupper()
    return one_case and length >= 13 and _has_digit(recorded) and _has_digit(live)


def _is_mixed_case(text: str) -> bool:
    return text != text.lower() and text != text.upper()


def _has_digit(text: str) -> bool:
    return any(map(str.isdigit, text)) and not text.isdigit()


def _is_scattered(text: str) -> bool:
    """Mixed case with a digit among it, or whose case changes more often than words' does."""
    if not _is_mixed_case(text):
        return False
    changes = sum(a.isupper() != b.isupper() for a, b in pairwise(text))
    return _has_digit(text) or changes * 3 >= len(text)


def _tokens_in(data: bytes) -> set[bytes]:
    words = set(_WORDS.findall(data))
    pieces = {p for word in words for p in _BYTE_PIECES.split(word) if len(p) >= 11}
    return words | pieces


def _replace(table: dict[bytes, bytes], data: bytes) -> bytes:
    if not table:
        return data

    def other(match: re.Match[bytes]) -> bytes:
        word = match[0]
        if (whole := table.get(word)) is not None:
            return whole
        return b"".join(table.get(piece, piece) for piece in _BYTE_PIECES.split(word))

    return _WORDS.sub(other, data)


def shape(text: str) -> str:
    """`text` with every token that could be generated blotted out."""
    return _TOKENS.sub("*", text)
