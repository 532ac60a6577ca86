"""Values that are distinctive: met twice, they are one value and no accident.

A word is distinctive where it looks like 64 random bits or more: a UUID, hex from 16 characters,
one case with digits from 13, mixed case with digits from 11, with - and _ from 20, a number of 13
digits (times in ms, numbers of 64 bits). Words of a language, names and small numbers are not.
"""

from __future__ import annotations

import base64
import binascii
import re
from functools import lru_cache
from itertools import pairwise

from wiretape.replayer.values.tokens import looks_random

MAX_VALUE = 8192
# Nothing shorter is distinctive, nor has a distinctive part.
SHORTEST = 11

_HEX = re.compile(r"[0-9a-f]+|[0-9A-F]+")
_UUID = re.compile(r"(?i:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})")
_DIGIT = re.compile(r"\d")
# What was signed has colons before the time and the signature.
_STAMP = r":[0-9A-Za-z]{6}:[A-Za-z0-9_-]{27,86}"
_RUN = re.compile(
    rf"[A-Za-z0-9_.~-]{{11,}}(?:{_STAMP})?|(?<![A-Za-z0-9_.~-])[A-Za-z0-9_.~-]{{1,10}}{_STAMP}"
)
_WORD = re.compile(r"[A-Za-z0-9_-]{11,}")
_PIECE = re.compile(rf"{_UUID.pattern}|[A-Za-z0-9]{{11,}}")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{14,}={0,2}|[A-Za-z0-9_-]{14,}={1,2}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?")
_FRACTION = re.compile(r"\d{10}\.\d{3,9}")
_BASE64_TEXT = re.compile(r"[A-Za-z0-9+/_-]{12,}={0,2}")
_PRINTED = re.compile(r"[\t\r\n\x20-\x7e]+")

Span = tuple[int, int]


@lru_cache(1 << 14)
def is_distinctive(word: str) -> bool:
    """Whether a word of letters, digits, - and _ is no accident where it is met twice."""
    length = len(word)
    if length < SHORTEST:
        return False
    if word.isdigit():
        return length >= 13
    if _UUID.fullmatch(word):
        return True
    digits = _DIGIT.search(word) is not None
    mixed = word != word.lower() and word != word.upper()
    if "-" in word or "_" in word:
        return (length >= 20 and digits and mixed) or looks_random(word)
    if _HEX.fullmatch(word):
        return length >= 16 and digits
    if digits:
        return length >= (11 if mixed else 13)
    # Words of a language, even run together, change their case seldom.
    changes = sum(a.isupper() != b.isupper() for a, b in pairwise(word))
    return length >= 16 and changes * 3 >= length


@lru_cache(1 << 14)
def spans(text: str) -> tuple[Span, ...]:
    """Where distinctive values lie in `text`: whole runs before the words and pieces in them."""
    if len(text) < SHORTEST:
        return ()
    if _UUID.fullmatch(text):
        return ((0, len(text)),)
    if _WORD.search(text) is None:
        return ()
    found: dict[Span, None] = {}
    for run in _RUN.finditer(text):
        words: dict[Span, None] = {}
        # The parts of a JWT are not made of values, though - and _ divide them by chance.
        is_jwt = run[0].startswith("eyJ") and run[0].count(".") == 2
        for word in _WORD.finditer(text, *run.span()):
            if is_distinctive(word[0]):
                words[word.span()] = None
            if is_jwt:
                continue
            for piece in _PIECE.finditer(text, *word.span()):
                if is_distinctive(piece[0]):
                    words[piece.span()] = None
        if not words:
            continue
        start, end = run.span()
        # A full stop ends a sentence; within a run it joins the parts of one token (a JWT).
        found[start, start + len(text[start:end].rstrip(".-"))] = None
        found |= words
    return tuple(found)


@lru_cache(1 << 14)
def is_whole(text: str) -> bool:
    """Whether a whole value, of any characters, is distinctive: a token, base64, a time."""
    if not SHORTEST <= len(text) <= MAX_VALUE:
        return False
    if _UUID.fullmatch(text):
        return True
    if _TIME.fullmatch(text) or _FRACTION.fullmatch(text):
        return True
    if _BASE64.fullmatch(text) and not text.isdigit():
        mixed = text != text.lower() and text != text.upper()
        if mixed and _DIGIT.search(text) is not None:
            return True
    return not re.search(r"\s", text) and bool(spans(text))


def is_padded(text: str) -> bool:
    """Whether it is base64 for certain, so that no part of it is a value."""
    return text.endswith("=") and len(text) % 4 == 0 and _BASE64.fullmatch(text) is not None


@lru_cache(1 << 14)
def from_base64(text: str) -> str | None:
    """The printable text that is written in base64 or base64url; None where it is neither."""
    if len(text) > MAX_VALUE or _UUID.fullmatch(text) or _HEX.fullmatch(text):
        return None
    if _BASE64_TEXT.fullmatch(text) is None:
        return None
    bare = text.rstrip("=").translate(_TO_STANDARD)
    if len(bare) % 4 == 1:
        return None
    try:
        decoded = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return decoded if _PRINTED.fullmatch(decoded) else None


def to_base64(text: str, like: str) -> str:
    """`text` in base64 of the alphabet and with or without padding, as `like` has it."""
    url = any(mark in like for mark in "-_")
    encode = base64.urlsafe_b64encode if url else base64.b64encode
    coded = encode(text.encode()).decode()
    return coded if len(like) % 4 == 0 else coded.rstrip("=")


_TO_STANDARD = str.maketrans("-_", "+/")
