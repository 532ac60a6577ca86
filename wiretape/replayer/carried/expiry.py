"""Tokens that a recording brings along and that are over by now.

A token that a recorded response issued is taken from the live one and is fresh. One that came from
elsewhere is sent as recorded, and a build that looks at its end refuses it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

_SECOND_NS = 10**9
_SPANS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


@dataclass(eq=False, slots=True)
class Token:
    """A JWT (RFC 7519) that a client brought along, and the requests that carry it.

    `place` is the field it stands in, `first` the position of the first request, `used_until_ns`
    when the last began.
    """

    place: str
    expires_at_s: int
    first: int
    used_until_ns: int = 0
    count: int = 0


class Expired(NamedTuple):
    """A token that was valid when it was recorded and is not any more.

    `first` is the position of the first request that carries it, `requests` how many do.
    """

    place: str
    first: int
    requests: int
    expired_at_s: int
    message: str
    """One line for people: what, since when, and what to do about it."""


def expired(tokens: Iterable[Token], now_ns: int) -> list[Expired]:
    """Those of `tokens` that are over at `now_ns` and were not when they were recorded."""
    return [
        Expired(t.place, t.first, t.count, t.expires_at_s, _message(t, now_ns))
        for t in tokens
        if t.used_until_ns < t.expires_at_s * _SECOND_NS <= now_ns
    ]


def _message(token: Token, now_ns: int) -> str:
    ended = datetime.fromtimestamp(token.expires_at_s, UTC)
    clock = datetime.fromtimestamp(token.used_until_ns / _SECOND_NS, UTC)
    requests = f"{token.count} request{'s' if token.count > 1 else ''}"
    return (
        f"the JWT in {token.place} of {requests} expired on {ended:%Y-%m-%d %H:%M:%S} UTC,"
        f" {_long(now_ns // _SECOND_NS - token.expires_at_s)} ago, and no recorded response issued"
        " it: a build that verifies it will refuse it. Record the login too, or with a token that"
        " lives longer; or start the build with the clock of the recording"
        f" (faketime '{clock:%Y-%m-%d %H:%M:%S} UTC' COMMAND) or with its own setting for leeway"
    )


def _long(seconds: int) -> str:
    for length, name in _SPANS:
        if seconds >= length:
            count = seconds // length
            return f"{count} {name}{'s' if count > 1 else ''}"
    return "a moment"
