"""Values that carry others within: JSON web tokens, JSON and text in base64, signed addresses.

They are taken apart, and their parts are judged; a signature is only asked to be one.
"""

from __future__ import annotations

import binascii
import json
import re
import string
import zlib
from base64 import b64decode, urlsafe_b64decode
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import unquote

_SEGMENTS = re.compile(r"[A-Za-z0-9+/_-]+={0,2}(?:\.[A-Za-z0-9_-]*){0,2}")
_LEAST_TEXT = 6
# A value with its HMAC, as web frameworks sign cookies.
_SIGNED = re.compile(r"s:(.+)\.([A-Za-z0-9+/]{43})", re.DOTALL)
# When it was signed, and the signature, as web frameworks put them behind a value: seconds in
# base62 or base64.
_STAMPED = re.compile(
    r"(.*?)(?::([0-9A-Za-z]{6}):([A-Za-z0-9_-]{27,86})|\.([\w-]{6})\.([A-Za-z0-9_-]{27,86}))",
    re.DOTALL | re.ASCII,
)
_HEX = re.compile(r"[0-9a-fA-F]+")
_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
# Before 2001 and after 2096 nothing was signed.
_PLAUSIBLE_S = range(10**9, 4 * 10**9)
_COMPRESSED = re.compile(r"\.eJ[A-Za-z0-9_-]+={0,2}")
_BASE36 = re.compile("[0-9a-z]{6}")
_SINCE_2001_S = 978_307_200
_MAX_INFLATED = 1 << 20
_SIGNATURES = frozenset(
    [
        "sig", "sign", "signature", "hmac", "x-amz-signature", "x-goog-signature", "x-signature",
        "x-oss-signature", "x-cos-signature",
    ]
)  # fmt: skip


class Composite(NamedTuple):
    """`parts` are JSON values or texts by name; `signatures` are left out of every comparison."""

    kind: str
    parts: tuple[tuple[str, Any], ...]
    signatures: tuple[str, ...] = ()


def take_apart(text: str) -> Composite | None:
    """What a whole text carries; None where it is no composite."""
    if "?" in text and (signed := _signed_address(text)) is not None:
        return signed
    if (match := _SIGNED.fullmatch(text)) is not None:
        return Composite("signed value", (("", match[1]),), (match[2],))
    if len(text) < 8:
        return None
    carried = _segments(text) if _SEGMENTS.fullmatch(text) else _compressed(text)
    return carried or _stamped(text)


def _stamped(text: str) -> Composite | None:
    """A value that was signed at a time that stands behind it."""
    match = _STAMPED.fullmatch(text)
    if match is None:
        return None
    value, base62, signature, base64, other = match.groups()
    if base62:
        signed_at = 0
        for digit in base62:
            signed_at = signed_at * 62 + _BASE62.index(digit)
    else:
        signed_at = int.from_bytes(_decoded(base64) or b"", "big")
    if signed_at not in _PLAUSIBLE_S:
        return None
    stamp = ("signed_at", signed_at)
    if base64 and (inflated := _compressed(value)) is not None:
        # What is short is not compressed, and may be no longer in the next run.
        return Composite("signed JSON", (*inflated.parts, stamp), (other,))
    return Composite("signed value", (("", value), stamp), (signature or other,))


def stamp_of(text: str) -> str:
    """When Django made a token that begins so, as seconds since 1970; "" where it did not."""
    if not _BASE36.fullmatch(text):
        return ""
    return str(int(text, 36) + _SINCE_2001_S)


def _compressed(text: str) -> Composite | None:
    """JSON in base64 behind a dot, which says that it is compressed."""
    if not _COMPRESSED.fullmatch(text):
        return None
    raw = _decoded(text[1:])
    try:
        inflated = zlib.decompressobj().decompress(raw or b"", _MAX_INFLATED)
    except zlib.error:
        return None
    value = _json(inflated)
    return None if value is None else Composite("JSON in base64", (("", value),))


def _segments(text: str) -> Composite | None:
    """What lies in base64, in up to three parts with dots between them."""
    first, *others = text.split(".")
    raw = _decoded(first)
    if raw is None:
        return None
    value = _json(raw)
    if value is None:
        if others:
            return None
        spelled = _text(raw)
        return None if spelled is None else Composite("text in base64", (("", spelled),))
    if not others:
        return Composite("JSON in base64", (("", value),))
    middle = _decoded(others[0])
    second = None if middle is None else _json(middle)
    if second is not None:
        return Composite("JWT", (("header", value), ("payload", second)), tuple(others[1:]))
    if len(others) == 2 and middle is not None and 4 <= len(middle) <= 5:
        # JSON, when it was signed, and the signature, as web frameworks keep sessions.
        signed_at = int.from_bytes(middle, "big")
        return Composite("signed JSON", (("", value), ("signed_at", signed_at)), (others[1],))
    return Composite("signed JSON", (("", value),), tuple(others))


def same_signature(recorded: str, live: str) -> bool:
    """Whether both can be signatures of one kind: as long, and in one alphabet."""
    hexadecimal = _HEX.fullmatch(recorded) is not None
    return len(recorded) == len(live) and (not hexadecimal or _HEX.fullmatch(live) is not None)


def _signed_address(text: str) -> Composite | None:
    """An address whose query has a signature."""
    base, _, query = text.partition("?")
    pairs = [part.partition("=")[::2] for part in query.split("&")]
    if not any(name.lower() in _SIGNATURES for name, _ in pairs):
        return None
    parts = [("", base)]
    parts += [(name, unquote(value)) for name, value in pairs if name.lower() not in _SIGNATURES]
    # Encoded as well: how many of its characters need that changes with each.
    signatures = tuple(unquote(value) for name, value in pairs if name.lower() in _SIGNATURES)
    return Composite("signed address", tuple(parts), signatures)


def _decoded(text: str) -> bytes | None:
    if "=" not in text:
        if len(text) % 4 == 1:
            return None
        text += "=" * (-len(text) % 4)
    decode = urlsafe_b64decode if "-" in text or "_" in text else b64decode
    try:
        return decode(text)
    except (binascii.Error, ValueError):
        return None


def _json(raw: bytes) -> Any:
    """The object or array; None for anything else."""
    if raw[:1] not in (b"{", b"["):
        return None
    try:
        return json.loads(raw, parse_float=Decimal)
    except (ValueError, RecursionError):
        return None


def _text(raw: bytes) -> str | None:
    if len(raw) < _LEAST_TEXT or not raw.isascii():
        return None
    text = raw.decode()
    # Cursors and global ids are words and numbers with marks between them.
    spelled = sum(map(str.isalnum, text)) * 2 >= len(text)
    return text if spelled and text.isprintable() else None
