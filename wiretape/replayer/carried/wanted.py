"""What requests carry, gathered before it is looked for: most values of responses never are."""

from __future__ import annotations

import re

from wiretape.replayer.carried.families import is_short, value_of

# Beyond so many values everything is looked at, which takes time instead of memory.
_MOST = 500_000
_RUN = re.compile(r"[A-Za-z0-9]+")
_RUNS = re.compile(rb"[A-Za-z0-9]{4,}")
_SHORT = re.compile(rb'"([\w.:~-]{1,64})"|[:\[,]\s*(\d{1,19})\b|\bvalue=["\']?([^"\'<>\s]{1,64})')


class Wanted:
    """Values that some message carries; it may say that others are wanted, too."""

    def __init__(self) -> None:
        self._cores: set[str] = set()
        self._shorts: set[str] = set()
        self._runs: set[bytes] = set()
        self._all = False

    def add(self, key: str) -> None:
        if self._all:
            return
        if is_short(key):
            self._shorts.add(value_of(key))
        else:
            self._cores.add(_core(key))
        if len(self._cores) + len(self._shorts) > _MOST:
            self._all = True
            self._cores.clear()
            self._shorts.clear()

    def long(self, value: str) -> bool:
        return self._all or _core(value) in self._cores

    def short(self, value: str) -> bool:
        return self._all or value in self._shorts

    def may_be_in(self, content: bytes) -> bool:
        """Whether it is worth while to read a content."""
        if self._all or b"%" in content or b"eyJ" in content or b"\\u" in content:
            return True
        if len(self._runs) != len(self._cores):
            self._runs = {core.encode() for core in self._cores}
        if not self._runs.isdisjoint(_RUNS.findall(content)):
            return True
        return any(
            (a or b or c).decode("latin-1") in self._shorts for a, b, c in _SHORT.findall(content)
        )


def _core(value: str) -> str:
    """The longest run of letters and digits: codings of text leave it as it is."""
    return max(_RUN.findall(value), key=len, default="")
