"""Where each random token of a recording came first, in little memory for millions of them."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

from wiretape.replayer.values.tokens import kind_of

# So many are kept in a dict, about 100 bytes each, before they join the others at 16 bytes.
_RECENT = 1 << 18
_MOST_KINDS = 10_000
_AGAIN = 1 << 2
_ORIGIN = _AGAIN - 1


class Origin(IntEnum):
    """Who chose a value: the client, an upstream, or the build in a response or a call."""

    CLIENT = 0
    UPSTREAM = 1
    RESPONSE = 2
    CALL = 3


_ORIGINS = tuple(Origin)


class Appearance(NamedTuple):
    """When the exchange began in which a token came first, who chose it, and whether it came again.

    Again is in another message, perhaps of the same exchange.
    """

    at_ns: int
    origin: Origin
    again: bool


class Firsts:
    """First appearances by token. Of two tokens with one hash of 64 bits the first counts."""

    def __init__(self) -> None:
        # How many tokens begin with what may be their kind.
        self.kinds: dict[str, int] = {}
        self._recent: dict[int, int] = {}
        self._hashes = array("q")
        self._packed = array("q")

    def __bool__(self) -> bool:
        return bool(self._recent or self._hashes)

    def __contains__(self, token: str) -> bool:
        return self._find(hash(token)) is not None

    def note(self, tokens: Iterable[str], at_ns: int, origin: Origin) -> None:
        """The random tokens of one message; messages come in the order of the run."""
        recent, packed = self._recent, at_ns << 3 | origin
        for token in tokens:
            number = hash(token)
            known = recent.get(number)
            recent[number] = packed if known is None else known | _AGAIN
            if known is None and (kind := kind_of(token)):
                self._count(kind)
        if len(recent) >= _RECENT:
            self._compact()

    def _count(self, kind: str) -> None:
        if kind in self.kinds or len(self.kinds) < _MOST_KINDS:
            self.kinds[kind] = self.kinds.get(kind, 0) + 1

    def get(self, token: str) -> Appearance | None:
        packed = self._find(hash(token))
        if packed is None:
            return None
        return Appearance(packed >> 3, _ORIGINS[packed & _ORIGIN], bool(packed & _AGAIN))

    def _find(self, number: int) -> int | None:
        place = bisect_left(self._hashes, number)
        if place < len(self._hashes) and self._hashes[place] == number:
            # What came since came again.
            again = _AGAIN if number in self._recent else 0
            return self._packed[place] | again
        return self._recent.get(number)

    def _compact(self) -> None:
        import numpy as np

        count = len(self._recent)
        hashes = np.concatenate([
            np.frombuffer(self._hashes, "i8"), np.fromiter(self._recent, "i8", count)
        ])  # fmt: skip
        packed = np.concatenate([
            np.frombuffer(self._packed, "i8"), np.fromiter(self._recent.values(), "i8", count)
        ])  # fmt: skip
        unique, first, times = np.unique(hashes, return_index=True, return_counts=True)
        kept = packed[first] | np.where(times > 1, _AGAIN, 0)
        self._recent.clear()
        self._hashes, self._packed = array("q", unique.tobytes()), array("q", kept.tobytes())
