"""Which live value stands for which recorded one, over a whole run."""

from __future__ import annotations

import re
from bisect import bisect_right

from wiretape.replayer.values.evidence import Evidence
from wiretape.replayer.values.tokens import BYTE_PIECES, WORDS, tokens_in


class Correlation:
    """The pairs recorded ↔ live of one run.

    `own` pairs the service's recorded endpoint, `host:port`, with the live one.
    """

    def __init__(self, evidence: Evidence | None = None) -> None:
        self.evidence = evidence or Evidence()
        self.own: dict[str, str] = {}
        self.live_of: dict[str, str] = {}
        self.recorded_of: dict[str, str] = {}
        self.instants: dict[int, int] = {}
        self._live_bytes: dict[bytes, bytes] = {}
        self._recorded_bytes: dict[bytes, bytes] = {}
        self._begun_recorded_ns: list[int] = []
        self._begun_live_ns: list[int] = []
        self._themselves: set[bytes] = set()
        self._unread: list[tuple[bytes, bytes]] = []

    def begin(self, recorded_at_ns: int, live_at_ns: int) -> None:
        """An exchange is being driven; calls come in recorded order."""
        self._begun_recorded_ns.append(recorded_at_ns)
        self._begun_live_ns.append(live_at_ns)

    def saw(self, recorded: bytes, live: bytes) -> None:
        """These two stand for each other; tokens that are in both stand for themselves."""
        # Reading tokens costs time that a run without generated values need not spend.
        self._unread.append((recorded, live))
        if len(self._unread) >= 4096:
            self._read()

    def stands_for_itself(self, token: str) -> bool:
        self._read()
        return token.encode() in self._themselves

    def _read(self) -> None:
        for recorded, live in self._unread:
            tokens = tokens_in(recorded)
            self._themselves |= tokens if recorded == live else tokens & tokens_in(live)
        self._unread.clear()

    def to_live(self, data: bytes) -> bytes:
        """Put live values in the place of the recorded ones; lengths may differ."""
        return _replace(self._live_bytes, data)

    def to_recorded(self, data: bytes) -> bytes:
        """Put recorded values in the place of the live ones; lengths may differ."""
        return _replace(self._recorded_bytes, data)

    def live_time_of(self, recorded_ns: int) -> int | None:
        """Where an instant falls when the exchange begun last before it is the measure."""
        place = bisect_right(self._begun_recorded_ns, recorded_ns) - 1
        if place < 0:
            return None
        return self._begun_live_ns[place] + recorded_ns - self._begun_recorded_ns[place]

    def add(self, pairs: dict[str, str], instants: dict[int, int]) -> None:
        for recorded, live in pairs.items():
            self.live_of[recorded] = live
            self.recorded_of[live] = recorded
            self._live_bytes[recorded.encode()] = live.encode()
            self._recorded_bytes[live.encode()] = recorded.encode()
        for recorded_ns, live_ns in instants.items():
            self.instants.setdefault(recorded_ns, live_ns)


def _replace(table: dict[bytes, bytes], data: bytes) -> bytes:
    if not table:
        return data

    def other(match: re.Match[bytes]) -> bytes:
        word = match[0]
        if (whole := table.get(word)) is not None:
            return whole
        return b"".join(table.get(piece, piece) for piece in BYTE_PIECES.split(word))

    return WORDS.sub(other, data)
