"""Numbers that a build counts with, such as the ids of a database: recorded ↔ live by family.

Only what the recording proves to be a counter (`evidence.py`) is renamed: one-to-one within its
family, and in the order of the recorded numbers unless exchanges overlapped.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable
from typing import NamedTuple

from wiretape.replayer.values.evidence import Evidence, Family, First
from wiretape.replayer.values.firsts import Origin
from wiretape.replayer.values.names import (
    collections_of,
    entities_of,
    is_identifier,
    is_position,
    singular,
)

# How many neighbours are asked for one that came strictly before.
_NEIGHBOURS = 16
# A word, and up to three marks between it and the number that it names.
_WORD_BEFORE = re.compile(r"([A-Za-z](?:[A-Za-z_-]*[A-Za-z])?)[^A-Za-z0-9]{0,3}$")
# The parameter of a link that the number is the value of.
_PARAMETER = re.compile(r"[?&]([\w-]+)=$")


class Ruling(NamedTuple):
    """Whether a number may stand for another; `family` is set where that is news."""

    same: bool
    why: str
    family: Family | None = None


def families_at(
    evidence: Evidence, endpoint: str, name: str, before: str, number: int
) -> list[Family]:
    """The families that a number may be of: by the name of its place, or by the word `before` it.

    `name` is "" where the number does not stand alone.
    """
    parameter = _PARAMETER.search(before)
    decoded = "#" in name and is_position(name)
    if decoded or (parameter is not None and is_position(parameter[1])):
        return _listed(evidence, endpoint, number)
    families: list[Family] = []
    if name:
        numbered = not is_identifier(name)
        families += evidence.families_of(entities_of(endpoint, name), numbered)
    if word := _WORD_BEFORE.search(before):
        named = (singular(word[1]),) if before[-1] == "/" else entities_of(endpoint, word[1])
        families += evidence.families_of(named, True)
    return families


def _listed(evidence: Evidence, endpoint: str, number: int) -> list[Family]:
    """The family of what an endpoint lists; else the only one that has the number."""
    listed = evidence.families_of(collections_of(endpoint), True)
    if (first := next((each for each in listed if number in each.values), None)) is not None:
        return [first]
    holders = {id(each): each for each in evidence.families.values() if number in each.values}
    return list(holders.values()) if len(holders) == 1 else []


class Counters:
    """The pairs of one run, or those that one judgement adds to its parent's."""

    def __init__(self, parent: Counters | None = None) -> None:
        self._parent = parent
        self._live_of: dict[tuple[str, int], int] = {}
        self._recorded_of: dict[tuple[str, int], int] = {}

    def live_of(self, family: Family, recorded: int) -> int | None:
        live = self._live_of.get((family.name, recorded))
        return self._parent.live_of(family, recorded) if live is None and self._parent else live

    def recorded_of(self, family: Family, live: int) -> int | None:
        found = self._recorded_of.get((family.name, live))
        return self._parent.recorded_of(family, live) if found is None and self._parent else found

    def bind(self, family: Family, recorded: int, live: int) -> None:
        self._live_of[family.name, recorded] = live
        self._recorded_of[family.name, live] = recorded

    def release(self, family: Family, recorded: int, live: int) -> None:
        """Undo what was bound here."""
        del self._live_of[family.name, recorded]
        del self._recorded_of[family.name, live]

    def commit(self) -> None:
        """Hand the pairs on to the parent."""
        if self._parent is not None:
            self._parent._live_of.update(self._live_of)
            self._parent._recorded_of.update(self._recorded_of)

    def judge(
        self, families: Iterable[Family], recorded: int, live: int, since_ns: int, in_order: bool
    ) -> Ruling:
        """Whether `live` may stand for `recorded` in one of the families.

        `since_ns` is when the oldest exchange in flight began in the recording: what came first
        before it and has no pair stood for itself.
        """
        why = "a number that nothing recorded proves to be a counter"
        for family in families:
            first = family.values.get(recorded)
            if first is None:
                continue
            bound = self.live_of(family, recorded)
            if bound == live:
                return Ruling(True, f"the number of {family.name} {recorded} in this run")
            if bound is not None:
                why = f"{family.name} {recorded} had another number before"
                continue
            refusal = self._why_not(family, first, recorded, live, since_ns, in_order)
            if refusal is None:
                return Ruling(True, f"the recording counts {family.name} there", family)
            why = refusal
        return Ruling(False, why)

    def _why_not(
        self, family: Family, first: First, recorded: int, live: int, since_ns: int, in_order: bool
    ) -> str | None:
        """Why these two cannot be paired; None where they can."""
        if first.origin in (Origin.CLIENT, Origin.UPSTREAM):
            return f"{recorded} was given to the build"
        if not family.proves(first):
            return "a number that nothing recorded proves to be a counter"
        if first.origin == Origin.RESPONSE and first.at_ns < since_ns:
            return f"{family.name} {recorded} stood for itself before"
        other = self.recorded_of(family, live)
        if other is not None:
            return f"that is {family.name} {other} already"
        taken = family.values.get(live)
        if taken is not None and taken.at_ns <= since_ns and self.live_of(family, live) is None:
            return f"that is another {family.name} in the recording"
        if not in_order:
            return None
        return self._out_of_order(family, first, recorded, live, since_ns)

    def _out_of_order(
        self, family: Family, first: First, recorded: int, live: int, since_ns: int
    ) -> str | None:
        """Numbers of exchanges that had ended before must lie on the same side as recorded."""
        place = bisect_left(family.ordered, recorded)
        below = range(place - 1, -1, -1)
        # Where the recorded numbers rose without exception, all above came later.
        above = range(place + 1, place + 1 if family.rising else len(family.ordered))
        for neighbours, sign in ((below, 1), (above, -1)):
            for index in neighbours[:_NEIGHBOURS]:
                number = family.ordered[index]
                other = family.values[number]
                bound = self.live_of(family, number)
                if bound is None and other.origin == Origin.RESPONSE and other.at_ns < since_ns:
                    bound = number
                overlapped = other.at_ns != first.at_ns and other.ended_ns > first.at_ns
                if bound is None or overlapped:
                    continue
                if (live - bound) * sign <= 0:
                    which = "after" if sign > 0 else "before"
                    return f"it does not come {which} what became of {family.name} {number}"
                break
        return None
