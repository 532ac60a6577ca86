"""What later messages carry, gathered before it is looked for: most values of responses never are.

A value is wanted until a message has made it or somebody has brought it. Contents in which nothing
wanted can stand, like those that only repeat what was asked for, are not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeVar

from wiretape.replayer.carried.families import is_stored, value_of
from wiretape.replayer.carried.tokens import SHORTEST

T = TypeVar("T", str, bytes)

_RUN = re.compile(r"[A-Za-z0-9]+")
_TO_SPACES = bytes(b if chr(b).isalnum() and b < 128 else 32 for b in range(256))

_URL_STARTS = ("/", "?", "http")


class Wanted:
    """The keys that messages further on carry."""

    def __init__(self) -> None:
        self._keys: set[str] = set()
        self._stored: set[str] = set()
        # How many keys have a value, and how many a value of which this is the longest run.
        self._short: dict[str, int] = {}
        self._cores: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: str) -> bool:
        return key in self._keys or key in self._stored

    def add(self, keys: Iterable[str]) -> None:
        """A message further on carries them."""
        for key in keys:
            if key in self._keys:
                continue
            if is_stored(key):
                self._stored.add(key)
                continue
            self._keys.add(key)
            value = value_of(key)
            if value is not key:
                self._short[value] = self._short.get(value, 0) + 1
            core = _core(value)
            self._cores[core] = self._cores.get(core, 0) + 1

    def settle(self, keys: Iterable[str]) -> None:
        """It is known by now where they came from, so they are not looked for again."""
        for key in keys:
            if key not in self._keys:
                continue
            self._keys.remove(key)
            value = value_of(key)
            if value is not key:
                _less(self._short, value)
            _less(self._cores, _core(value))

    def long(self, value: str) -> bool:
        """Whether a distinctive value is wanted."""
        return value in self._keys

    def short(self, value: str) -> bool:
        """Whether a value is wanted under some name."""
        return value in self._short

    def may_be_in(self, content: bytes) -> bool:
        """Whether it is worth while to read a content."""
        if b"eyJ" in content or b"%" in content or b"\\u" in content:
            # Codings may hide it.
            return bool(self._keys)
        return not self._cores.keys().isdisjoint(content.translate(_TO_SPACES).split())

    def may_be_at(self, text: str) -> bool:
        """Whether it is worth while to look at a text: it is wanted, or may have a part that is."""
        return (
            len(text) >= SHORTEST
            or text in self._short
            or text in self._keys
            or text.startswith(_URL_STARTS)
        )


def _less(counts: dict[T, int], name: T) -> None:
    left = counts[name] - 1
    if left:
        counts[name] = left
    else:
        del counts[name]


def _core(value: str) -> bytes:
    """The longest run of letters and digits: codings of text leave it as it is."""
    if value.isascii() and value.isalnum():
        return value.encode()
    return max(_RUN.findall(value), key=len, default="").encode()
