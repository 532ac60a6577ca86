"""What requests name that nothing in the recording created, and tokens that came from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from wiretape.exchange.v1.exchange_pb2 import HttpRequest
from wiretape.replayer.carried.candidates import TARGET, Candidate, path_of
from wiretape.replayer.carried.expiry import Token
from wiretape.replayer.carried.families import is_short
from wiretape.replayer.carried.places import claims

_MOST_TOKENS = 10_000


class Unknown(NamedTuple):
    """A value in a request that nothing in the recording created: `kind` is path or credential."""

    kind: str
    place: str
    value: str


def note_tokens(
    tokens: dict[str, Token],
    position: int,
    request: HttpRequest,
    unknown: Iterable[tuple[int, Candidate]],
) -> None:
    """Tokens with an end that nobody in the recording issued."""
    for part, candidate in unknown:
        text = candidate.text
        if not text.startswith("eyJ"):
            continue
        payload = claims(text)
        expires = _seconds(payload.get("exp")) if isinstance(payload, dict) else None
        if expires is None or (len(tokens) >= _MOST_TOKENS and text not in tokens):
            continue
        token = tokens.setdefault(text, Token(_place(request, part), expires, position))
        token.used_until_ns = request.first_byte_at_ns
        token.count += 1


def _seconds(value: object) -> int | None:
    """A NumericDate (RFC 7519 §2), also where it was written as a string."""
    if not isinstance(value, int | float | str):
        return None
    try:
        return int(float(value) if isinstance(value, str) else value)
    except (ValueError, OverflowError):
        return None


def tells(request: HttpRequest, part: int, candidate: Candidate) -> bool:
    """Whether something unknown there names a thing, or who asks."""
    if part == TARGET:
        return candidate.end <= len(path_of(request.target)) or candidate.text.startswith("eyJ")
    if part < 0:
        return candidate.text.startswith("eyJ")
    name = request.fields[part].name.lower()
    if name == b"authorization":
        return True
    if name == b"cookie":
        return candidate.codings == ("field",) and not all(map(is_short, candidate.keys))
    return candidate.text.startswith("eyJ")


def named(request: HttpRequest, part: int, candidate: Candidate) -> Unknown:
    kind = "path" if part == TARGET else "credential"
    return Unknown(kind, _place(request, part), candidate.text)


def _place(request: HttpRequest, part: int) -> str:
    if part == TARGET:
        return "path"
    return request.fields[part].name.decode("latin-1") if part >= 0 else "content"
