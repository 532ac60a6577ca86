"""Tokens in text that may be generated: where they lie, and which look random."""

from __future__ import annotations

import re
from itertools import pairwise

from wiretape.replayer.values.instants import EPOCH, HTTP_DATE, ISO

_WORD = r"[A-Za-z0-9_-]{11,}"
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_UUIDS = f"{_UUID}|{_UUID.replace('a-f', 'A-F').replace('[89ab]', '[89AB]')}"

TOKENS = re.compile(
    rf"({HTTP_DATE}|(?<![\w.]){ISO}(?![\w-])|(?<![\w.-]){EPOCH}(?![\w-]|\.\d)|{_WORD})"
)
WORDS = re.compile(_WORD.encode())
PIECES = re.compile(f"({_UUIDS}|[-_])")
BYTE_PIECES = re.compile(PIECES.pattern.encode())
ANY_UUID = re.compile(_UUIDS)
_HEX = re.compile(r"[0-9a-f]+|[0-9A-F]+")
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")


def same_kind_of_uuid(recorded: str, live: str) -> bool:
    """Of one version (its digit at 14) and written in one case."""
    return (
        ANY_UUID.fullmatch(live) is not None
        and recorded[14] == live[14]
        and (recorded == recorded.lower()) == (live == live.lower())
    )


def is_random(recorded: str, live: str) -> bool:
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


def tokens_in(data: bytes) -> set[bytes]:
    words = set(WORDS.findall(data))
    pieces = {p for word in words for p in BYTE_PIECES.split(word) if len(p) >= 11}
    return words | pieces


def shape(text: str) -> str:
    """`text` with every token that could be generated blotted out."""
    return TOKENS.sub("*", text)
