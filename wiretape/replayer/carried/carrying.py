"""What one run carries: the live values as they come, and what failed for want of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from wiretape.exchange.v1.exchange_pb2 import HttpRequest, HttpResponse
from wiretape.replayer.carried.candidates import Message
from wiretape.replayer.carried.expiry import Expired, expired
from wiretape.replayer.carried.families import is_short, value_of
from wiretape.replayer.carried.places import Seen
from wiretape.replayer.carried.plan import Makes, Plan
from wiretape.replayer.carried.rewriting import Parts, Use, rewritten
from wiretape.replayer.carried.unknown import Unknown
from wiretape.replayer.values import Correlation


class Lacking(NamedTuple):
    """A value that a later request carries and the live message at `position` does not have.

    `place` names where it stood when it was recorded, `value` is what it was then.
    """

    position: int
    place: str
    value: str


class Carried:
    """Takes values from live messages and puts them into those that carry them on.

    Requests are asked for after everything that they need was told (`needs`, `awaits`); each
    live message is told once.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._live: list[str | None] = [None] * len(plan.values)
        self._lacking: dict[int, Lacking] = {}
        self._failed: dict[int, int] = {}
        """The recorded statuses where the live response says that nothing came of it."""
        self._roots: dict[int, tuple[Lacking, ...]] = {}

    @property
    def forgotten(self) -> int:
        """Values that were dropped from memory while the recording was read, and not carried."""
        return self._plan.forgotten

    def session(self, position: int) -> int:
        """The session that a request belongs to; those of one session keep their order."""
        return self._plan.sessions[position]

    def needs(self, position: int) -> list[int]:
        """The earlier positions whose live responses this request carries values of."""
        return [event for event in self._events(position) if event >= 0]

    def awaits(self, position: int) -> list[int]:
        """The upstream calls, by number, that the build makes before this request can be sent."""
        return [-1 - event for event in self._events(position) if event < 0]

    def _events(self, position: int) -> Sequence[int]:
        plan = self._plan
        return plan.needs[plan.needs_from[position] : plan.needs_to[position]]

    def expired(self, now_ns: int) -> list[Expired]:
        """Tokens that the client brought along and that no build accepts any more."""
        return expired(self._plan.tokens.values(), now_ns)

    def request(
        self, position: int, recorded: HttpRequest, correlation: Correlation
    ) -> tuple[HttpRequest, list[Lacking]]:
        """The request to send, and what it carries as recorded for want of a live value.

        The recorded request itself comes back where nothing in it changes.
        """
        parts = self._plan.sent[position]
        lacking = self._lacked(position, parts, correlation)
        if not parts and not correlation.live_of:
            return recorded, lacking
        source = self._source(correlation)
        return rewritten(recorded, parts, source, correlation.to_live), lacking

    def answer(self, call: int, recorded: HttpResponse, correlation: Correlation) -> HttpResponse:
        """The mock's answer to a call: what the build had sent upstream comes back live.

        What is carried alone; the recorded answer itself comes back where that is nothing.
        """
        parts = self._plan.answered[call]
        return rewritten(recorded, parts, self._source(correlation), bytes) if parts else recorded

    def answered(
        self, position: int, live: HttpResponse | None, recorded_status: int = 200
    ) -> list[Lacking]:
        """A live response came, or none; what it lacks that a later request carries."""
        if recorded_status < 400 and (live is None or live.status >= 400):
            self._failed[position] = recorded_status
        return self._fill(self._plan.made[position], live, position, "")

    def answered_as_recorded(self, position: int, correlation: Correlation) -> None:
        """The live response was the recorded one, with what stands for its values."""
        for slot, _ in self._plan.made[position]:
            value = value_of(self._plan.values[slot])
            self._live[slot] = correlation.live_of.get(value, value)
            self._lacking.pop(slot, None)

    def takes(self, position: int) -> bool:
        """Whether a later message carries anything of this response."""
        return bool(self._plan.made[position])

    def called(self, call: int, live: HttpRequest) -> list[Lacking]:
        """The build made an upstream call; what it lacks that is carried on."""
        place = self._plan.call_places[call]
        return self._fill(self._plan.called[call], live, place, "upstream call: ")

    def explain(self, position: int) -> list[Lacking]:
        """Why this request could not be what it was: the first causes, not what followed."""
        return list(self._roots.get(position, ()))

    def uncreated(self, position: int, status: int) -> Unknown | None:
        """State that the recording never created, where that is why the live status is `status`.

        A request that named something, or showed credentials, which no recorded message had made
        found it when recorded (2xx, 3xx) and not now.
        """
        kinds = {404: "path", 410: "path", 401: "credential", 403: "credential"}
        kind = kinds.get(status)
        return next((u for u in self._plan.unknown[position] if u.kind == kind), None)

    def _source(self, correlation: Correlation) -> Callable[[int], str | None]:
        def live(slot: int) -> str | None:
            key = self._plan.values[slot]
            # What was accepted as a renaming holds for the whole run; a place may have moved.
            known = None if is_short(key) else correlation.live_of.get(key)
            return known or self._live[slot]

        return live

    def _fill(self, makes: Makes, live: Message | None, position: int, where: str) -> list[Lacking]:
        if not makes:
            return []
        seen = Seen(live) if live is not None else None
        lacking: list[Lacking] = []
        for slot, places in makes:
            taken = (place.take(seen) for place in places if seen is not None)
            value = next((text for text in taken if text), None)
            if value is not None:
                self._live[slot] = value
                self._lacking.pop(slot, None)
            elif self._live[slot] is None:
                recorded = value_of(self._plan.values[slot])
                self._lacking[slot] = Lacking(position, f"{where}{places[0]}", recorded)
                lacking.append(self._lacking[slot])
        return lacking

    def _lacked(self, position: int, parts: Parts, correlation: Correlation) -> list[Lacking]:
        if not self._lacking and not self._failed:
            return []
        known = correlation.live_of
        found = dict.fromkeys(
            self._lacking[slot]
            for slot in _slots(chain.from_iterable(uses for _, uses in parts))
            if slot in self._lacking and self._plan.values[slot] not in known
        )
        # What a call of the build has told of, its response may say was never made.
        told = {position, *(lack.position for lack in found)}
        for event in self._events(position):
            place = event if event >= 0 else self._plan.call_places[-1 - event]
            if place not in told and place in self._failed:
                found[Lacking(place, "status", str(self._failed[place]))] = None
        if found:
            roots = (self._roots.get(lack.position, (lack,)) for lack in found)
            self._roots[position] = tuple(dict.fromkeys(chain.from_iterable(roots)))
        return list(found)


def _slots(uses: Iterable[Use]) -> Iterator[int]:
    for use in uses:
        if use.slot >= 0:
            yield use.slot
        yield from _slots(use.inner)
