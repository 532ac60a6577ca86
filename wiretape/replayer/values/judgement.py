"""Judges the values of one pair of messages: equal, generated, or different."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from wiretape.exchange.v1.exchange_pb2 import HttpRequest, HttpResponse
from wiretape.replayer.values.instants import SECOND_NS, read_instant
from wiretape.replayer.values.place import NOWHERE, Place
from wiretape.replayer.values.renaming import Correlation
from wiretape.replayer.values.tokens import (
    ANY_UUID,
    PIECES,
    TOKENS,
    is_random,
    same_kind_of_uuid,
)

if TYPE_CHECKING:
    from wiretape.replayer.rules import Rules

_SLACK_NS = 2 * SECOND_NS
_DECADE_NS = 3_653 * 86_400 * SECOND_NS


@dataclass(frozen=True, slots=True)
class Span:
    """When an exchange took place, recorded and live; ns since the epoch, and ns."""

    recorded_at_ns: int
    recorded_duration_ns: int
    live_at_ns: int
    live_duration_ns: int


Message = HttpRequest | HttpResponse


class Accepted(NamedTuple):
    """A value that differs and was accepted.

    `kind` is unique, counter, composite, derived, time, duration, own-address, float or rule.
    """

    place: Place
    recorded: str
    live: str
    kind: str
    why: str


class Judgement:
    """Judges the values of one pair of messages; what it accepts counts only after `commit`.

    `place` says where the messages stand: its endpoint and side; part and name come with each
    value. A fork sees all that its parent accepted, and its commit gives its own to the parent.
    """

    def __init__(
        self,
        correlation: Correlation,
        span: Span,
        place: Place = NOWHERE,
        rules: Rules | None = None,
    ) -> None:
        self.accepted: list[Accepted] = []
        self.place = place
        self.rules = rules
        self._known = correlation
        self._span = span
        self._parent: Judgement | None = None
        self._reason = ""
        self._pairs: dict[str, str] = {}
        self._back: dict[str, str] = {}
        self._instants: dict[int, int] = {}

    def fork(self) -> Judgement:
        """A judgement that may be thrown away."""
        fork = Judgement(self._known, self._span, self.place, self.rules)
        fork._parent = self
        fork._pairs, fork._back = self._pairs.copy(), self._back.copy()
        fork._instants = self._instants.copy()
        return fork

    def commit(self) -> None:
        """Let what was accepted count: for the run, or for the parent of a fork."""
        parent = self._parent
        if parent is None:
            self._known.add(self._pairs, self._instants)
            return
        parent._pairs, parent._back, parent._instants = self._pairs, self._back, self._instants
        parent.accepted += self.accepted

    def reason(self) -> str:
        """Why the value that was refused last was refused; "" where there is no more to say."""
        return self._reason

    def messages(self, recorded: Sequence[Message], live: Sequence[Message]) -> None:
        """Of what digests may have been made: these messages; to be said before fields are judged.

        Both sides name the same ones, such as the request and the response of the exchange.
        """

    def saw(self, recorded: bytes, live: bytes) -> None:
        """As Correlation.saw; to be said before the values inside are judged."""
        self._known.saw(recorded, live)

    def same_text(self, recorded: str, live: str, part: str = "", name: str = "") -> bool:
        """Two strings at one place: equal, or all that differs is generated."""
        if recorded == live:
            return True
        expected, actual = TOKENS.split(recorded), TOKENS.split(live)
        # Fixed text lies at the even places, tokens at the odd ones.
        if len(expected) != len(actual) or expected[::2] != actual[::2]:
            return False
        return all(map(self._same_token, expected[1::2], actual[1::2]))

    def same_number(
        self, recorded: int | Decimal, live: int | Decimal, part: str = "", name: str = ""
    ) -> bool:
        """Two JSON numbers of one kind: equal, or both a time since 1970."""
        return recorded == live or self._same_time(str(recorded), str(live)) is True

    def _same_token(self, recorded: str, live: str) -> bool:
        if recorded == live:
            return True
        if (as_time := self._same_time(recorded, live)) is not None:
            return as_time
        if len(recorded) != len(live):
            return False
        if not ANY_UUID.search(recorded) and is_random(recorded, live):
            return self._rename(recorded, live)
        expected, actual = PIECES.split(recorded), PIECES.split(live)
        return len(expected) == len(actual) > 1 and all(map(self._same_piece, expected, actual))

    def _same_piece(self, recorded: str, live: str) -> bool:
        if recorded == live:
            return True
        if ANY_UUID.fullmatch(recorded):
            return same_kind_of_uuid(recorded, live) and self._rename(recorded, live)
        return is_random(recorded, live) and self._rename(recorded, live)

    def _rename(self, recorded: str, live: str) -> bool:
        bound = self._pairs.get(recorded) or self._known.live_of.get(recorded)
        if bound is not None:
            return bound == live
        if live in self._back or live in self._known.recorded_of:
            return False
        if self._known.stands_for_itself(recorded) or self._known.stands_for_itself(live):
            return False
        self._pairs[recorded] = live
        self._back[live] = recorded
        return True

    def _same_time(self, recorded: str, live: str) -> bool | None:
        """None where the recorded text is no time."""
        expected = read_instant(recorded)
        if expected is None:
            return None
        actual = read_instant(live)
        if actual is None or actual.syntax != expected.syntax:
            return False
        span = self._span
        if expected.syntax.startswith("epoch") and (
            abs(expected.at_ns - span.recorded_at_ns) > _DECADE_NS
        ):
            return False
        within_ns = _SLACK_NS + span.recorded_duration_ns + span.live_duration_ns + expected.unit_ns
        shifted_ns = expected.at_ns - span.recorded_at_ns + span.live_at_ns
        possible = [shifted_ns]
        if expected.at_ns < span.recorded_at_ns:
            possible.append(self._known.live_time_of(expected.at_ns) or shifted_ns)
        paired_ns = self._instants.get(expected.at_ns, self._known.instants.get(expected.at_ns))
        if paired_ns is not None:
            possible.append(paired_ns)
        if all(abs(actual.at_ns - at_ns) > within_ns for at_ns in possible):
            return False
        self._instants.setdefault(expected.at_ns, actual.at_ns)
        return True
