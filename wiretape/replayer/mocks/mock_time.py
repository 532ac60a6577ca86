"""Absolute times in recorded answers, moved to where they lie seen from now.

An answer that was recorded an hour ago and expires in two is out of date tomorrow. So each time in
it that lies within a year of its exchange is shifted by live − recorded. What is signed, or covered
by a digest, stays: it would no longer verify. Texts keep their syntax, precision and length.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from wiretape.replayer.values import Instant, read_instant

_SECOND_NS = 10**9
_YEAR_NS = 366 * 86_400 * _SECOND_NS
_HOUR_NS = 3600 * _SECOND_NS
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_INSTANT = re.compile(
    rb"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT"
    rb"|(?<![\w.-])\d{4}-\d\d-\d\d"
    rb"(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?)?(?![\w-])"
    rb"|(?<![\w.+-])(?:\d{10}(?:\.\d{1,9})?|\d{13}|\d{16}|\d{19})(?![\w-]|\.\d)"
)
_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:([T ])(\d\d:\d\d)(?::(\d\d)(?:([.,])(\d{1,9}))?)?(Z|[+-]\d\d:?\d\d)?)?"
)
# The name before a number: of a JSON member, or of a field.
_NAME = re.compile(rb"([A-Za-z_][\w-]*)\"?[ \t]*:[ \t]*\"?\Z")
_OF_TIME = re.compile(
    rb"(?i)(?:^|[_-])(?:at|date|exp|expires?|expiry|expiration|iat|nbf|not_?before|not_?after|now|"
    rb"reset|since|start|end|time|timestamp|ts|until|created|updated|modified|issued)(?:$|[_-]|ms$)"
    rb"|[a-z](?:At|Date|Time|Timestamp|Ms|Until|Expires|Expiry)$"
)
_ANY_DIGIT = bytes.maketrans(b"0123456789", b"0000000000")
_FORMS = (b"0000-00-00", b"0000000000", b":00 GMT")
_SIGNS = (b"signature", b"digest", b"content-md5")
_SIGNED_FIELD = re.compile(
    rb"(?im)^(?:content-md5|digest|content-digest|repr-digest|[\w-]*signature[\w-]*):"
)
_SIGNED_MEMBER = re.compile(rb"(?i)\"(?:signature|sig|hmac|mac|digest|checksum)\"[ \t\r\n]*:")
_SIGNED_URL = re.compile(rb"(?i)[?&](?:[\w-]*signature|sig|hmac|mac)=")
_URL_END = re.compile(rb"[\s\"'<>]")


def is_signed(head: bytes) -> bool:
    """A field of this header section vouches for others, or for the content."""
    lower = head.lower()
    return any(word in lower for word in _SIGNS) and _SIGNED_FIELD.search(head) is not None


def shifted(
    data: bytes,
    recorded_at_ns: int,
    shift_ns: int,
    known: dict[int, int],
    used: dict[int, int] | None = None,
) -> bytes:
    """`data` with its times moved; `known` pairs recorded instants with live ones, and grows.
    `used` gets those pairs that `data` needed."""
    # Most contents hold no time at all, and that is seen much faster than by a pattern.
    digits = data.translate(_ANY_DIGIT)
    if not any(form in digits for form in _FORMS) or _SIGNED_MEMBER.search(data):
        return data

    has_signed_url = _SIGNED_URL.search(data) is not None

    def move(match: re.Match[bytes]) -> bytes:
        text = match[0].decode()
        instant = _read(text)
        if instant is None or not _is_near(match, instant, recorded_at_ns):
            return match[0]
        if has_signed_url and _is_in_signed_url(match):
            return match[0]
        live_ns = known.setdefault(instant.at_ns, instant.at_ns + shift_ns)
        if used is not None:
            used[instant.at_ns] = live_ns
        return spell(text, instant, live_ns).encode()

    return _INSTANT.sub(move, data)


def _is_near(match: re.Match[bytes], instant: Instant, recorded_at_ns: int) -> bool:
    away_ns = abs(instant.at_ns - recorded_at_ns)
    if away_ns > _YEAR_NS:
        return False
    data, start = match.string, match.start()
    if instant.syntax.startswith("epoch") and away_ns > _HOUR_NS:
        # A number like a time is one where its name says so.
        name = _NAME.search(data, max(0, start - 64), start)
        if name is None or not _OF_TIME.search(name[1]):
            return False
    return True


def _is_in_signed_url(match: re.Match[bytes]) -> bool:
    data, start = match.string, match.start()
    begin = max((m.end() for m in _URL_END.finditer(data, max(0, start - 2048), start)), default=0)
    end = _URL_END.search(data, match.end())
    return _SIGNED_URL.search(data, begin, end.start() if end else len(data)) is not None


# The same dates come again and again.
_read = lru_cache(4096)(read_instant)


@lru_cache(256)
def _http_date(at_s: int) -> str:
    moment = datetime.fromtimestamp(at_s, UTC)
    day, month = _DAYS[moment.weekday()], _MONTHS[moment.month - 1]
    return f"{day}, {moment:%d} {month} {moment.year:04} {moment:%H:%M:%S} GMT"


def spell(text: str, instant: Instant, at_ns: int) -> str:
    """`at_ns` in the syntax and precision of `text`, which spells `instant`."""
    if instant.syntax.startswith("date"):
        return _http_date(at_ns // _SECOND_NS)
    if instant.syntax.startswith("epoch"):
        whole, mark, fraction = text.partition(".")
        digits = str(at_ns // (_SECOND_NS // 10 ** (len(whole) - 10)))
        return digits + mark + f"{at_ns % _SECOND_NS:09}"[: len(fraction)]
    match = _ISO.fullmatch(text)
    assert match is not None, "it was read"
    _, separator, minutes, seconds, mark, fraction, zone = match.groups()
    moment = datetime.fromtimestamp(at_ns // _SECOND_NS, UTC)
    if zone and zone != "Z":
        away = timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
        moment += -away if zone[0] == "-" else away
    spelled = f"{moment.year:04}-{moment:%m-%d}"
    if minutes is not None:
        spelled += f"{separator}{moment:%H:%M}"
    if seconds is not None:
        spelled += f":{moment:%S}"
    if fraction is not None:
        spelled += mark + f"{at_ns % _SECOND_NS:09}"[: len(fraction)]
    return spelled + (zone or "")
