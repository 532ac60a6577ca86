"""What gives way where all connections together hold more memory than they may."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Holding(NamedTuple):
    """What one connection holds."""

    last_ns: int
    """Clock at its latest segment."""
    opened_packet: int
    held_bytes: int


class Holder(Protocol):
    """A table of connections; they have numbers as `holdings` told them last."""

    def held_bytes(self) -> int:
        """What all of them hold."""

    def holdings(self) -> list[Holding]: ...

    def cut(self, number: int) -> int:
        """Cuts the contents that a connection is reading; what it holds then."""

    def drop(self, number: int) -> None:
        """Closes a connection and forgets it."""


def relieve(holders: Sequence[Holder], allowed: int) -> None:
    """Lets go of what the least recently active connections hold, if all hold too much.

    First contents that are being read are cut, where that is worth it; if that is not enough,
    connections are closed. How connections are spread over `holders` does not matter.
    """
    excess = sum(holder.held_bytes() for holder in holders) - allowed
    if excess <= 0:
        return
    excess += allowed // 4  # so that this is rare
    ordered = sorted(
        (holding.last_ns, holding.opened_packet, place, number, holding.held_bytes)
        for place, holder in enumerate(holders)
        for number, holding in enumerate(holder.holdings())
    )
    left = []
    for _, _, place, number, held in ordered:
        after = holders[place].cut(number) if held > allowed >> 13 else held
        left.append(after)
        excess -= held - after
        if excess <= 0:
            return
    for (_, _, place, number, _), held in zip(ordered, left, strict=True):
        holders[place].drop(number)
        excess -= held
        if excess <= 0:
            return
