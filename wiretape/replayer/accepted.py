"""What was accepted as generated in a run, for its reports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from wiretape.replayer.values import Judgement

# Places that are told of one by one; a build that makes up names could else fill the memory.
_MAX_GROUPS = 10_000
# Classes whose values now and then are as recorded by chance: how many were not, each run tells
# otherwise.
MEASURED = frozenset(["duration"])


class Acceptance(NamedTuple):
    """One value that is not as recorded and was accepted as generated.

    `kind` is its class: unique, counter, composite, derived, time, duration, own-address, float,
    rule. `endpoint`, `part` and `name` are those of the place. `why` is one line, the same in every
    run: it names no live value and no measured time.
    """

    kind: str
    endpoint: str
    part: str
    name: str
    recorded: str
    live: str
    why: str


@dataclass(slots=True)
class AcceptedGroup:
    """All that was accepted by one class at one place; the first of them is the example."""

    example: Acceptance
    count: int = 0
    exchanges: int = 0
    first: int = -1
    _last: int = -2

    @property
    def is_measured(self) -> bool:
        return self.example.kind in MEASURED

    def add(self, position: int) -> None:
        self.count += 1
        if position != self._last:
            self.exchanges += 1
            self._last = position


class AcceptedValues:
    """What was accepted as generated in a whole run, counted by class and place."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str, str, str], AcceptedGroup] = {}

    def add(self, position: int, accepted: Iterable[Acceptance]) -> None:
        """Those of one exchange, of its upstream calls too; -1 before the first."""
        for one in accepted:
            key = (one.kind, one.endpoint, one.part, one.name)
            group = self._groups.get(key)
            if group is None:
                if len(self._groups) >= _MAX_GROUPS:
                    key = (one.kind, "", "", "")
                    one = Acceptance(one.kind, "", "", "", "", "", "at places not listed")
                group = self._groups.setdefault(key, AcceptedGroup(one, first=position))
            group.add(position)

    def __iter__(self) -> Iterator[AcceptedGroup]:
        """By class, then by endpoint and place: the same order however a run went."""
        return (self._groups[key] for key in sorted(self._groups))

    def __len__(self) -> int:
        return sum(group.count for group in self._groups.values())

    def by_kind(self) -> dict[str, int]:
        """{class: how many values}, the most frequent first."""
        counts: dict[str, int] = {}
        for group in self:
            counts[group.example.kind] = counts.get(group.example.kind, 0) + group.count
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def acceptances(judgement: Judgement) -> list[Acceptance]:
    """What a judgement accepted."""
    return [
        Acceptance(kind, place.endpoint, place.part, place.name, recorded, live, why)
        for place, recorded, live, kind, why in judgement.accepted
    ]
