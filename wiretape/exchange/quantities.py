"""Times and sizes as people write them; what is wrong is a ValueError of one line."""

import re

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?")
_SECOND_NS = 10**9
_UNIT_NS = {
    "ms": 10**6, "s": _SECOND_NS, None: _SECOND_NS, "m": 60 * _SECOND_NS, "h": 3600 * _SECOND_NS,
    "d": 86400 * _SECOND_NS,
}  # fmt: skip
_SIZE = re.compile(r"(\d+)([KMG]?)(i?B)?", re.IGNORECASE)
_UNIT_BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def parse_duration_ns(text: str) -> int:
    """ "30s", "500ms", "2m", "1h", "7d", or a plain number of seconds; more than nothing."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration such as 30s, 500ms or 2m")
    whole, _, fraction = match[1].partition(".")
    unit_ns = _UNIT_NS[match[2]]
    fraction_ns = int(fraction) * unit_ns // 10 ** len(fraction) if fraction else 0
    duration_ns = int(whole) * unit_ns + fraction_ns
    if not duration_ns:
        raise ValueError(f"{text!r} is no time: it must be longer than nothing")
    return duration_ns


def parse_size(text: str) -> int:
    """Bytes from a number with K, M or G (of 1024, 1024² and 1024³ bytes)."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size: a number of bytes, or of K, M or G")
    return int(match[1]) * _UNIT_BYTES[match[2].upper()]


def parse_part(text: str) -> float:
    """ "10%" as 0.1; more than nothing, and at most all."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)%", text.strip())
    if match is None or not 0 < float(match[1]) <= 100:
        raise ValueError(f"{text!r} is not a part of all: more than 0% and at most 100%")
    return float(match[1]) / 100
