"""Which values later requests carry on from earlier responses, and what stands for them live.

Values are taken from the same place of the live message and put where the recorded one carried
them, whatever their length and however they are written there. Nothing is carried by accident: a
value is distinctive (64 bits), or names at both ends say that it is one thing.
"""

from __future__ import annotations

from collections.abc import Sequence

from wiretape.exchange.v1.exchange_pb2 import Exchange
from wiretape.replayer.carried.carrying import Carried, Lacking
from wiretape.replayer.carried.expiry import Expired
from wiretape.replayer.carried.plan import read_through
from wiretape.replayer.carried.unknown import Unknown

__all__ = ["Carried", "Expired", "Lacking", "Unknown", "plan"]


def plan(
    inbound: Sequence[Exchange], calls: Sequence[Exchange] = (), places: Sequence[int] = ()
) -> Carried:
    """Read a recording through: `inbound` by position, and the upstream calls, each with the
    position that it belongs to."""
    return Carried(read_through(inbound, calls, places))
