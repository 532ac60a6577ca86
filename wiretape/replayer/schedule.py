"""In which order the recorded requests are driven, and to which each upstream call belongs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wiretape.exchange.v1.exchange_pb2 import Exchange
from wiretape.replayer.sessions import inbound_fault

# The place of upstream calls that came before the first inbound exchange.
START_UP = -1


@dataclass(frozen=True, slots=True)
class Step:
    """One inbound exchange in its place; `fault` says why it cannot be driven and judged."""

    position: int
    exchange: Exchange
    fault: str | None
    last_on_connection: bool


def in_order(exchange: Exchange) -> tuple[int, str]:
    """Sort key: when the request began (ns since the epoch), then the id."""
    return exchange.http.request.first_byte_at_ns, exchange.id


def plan(inbound: Sequence[Exchange]) -> list[Step]:
    """The steps of a run, in recorded order; a connection is kept until its last exchange."""
    ordered = sorted(inbound, key=in_order)
    last = {exchange.connection.id: place for place, exchange in enumerate(ordered)}
    return [
        Step(place, exchange, inbound_fault(exchange), last[exchange.connection.id] == place)
        for place, exchange in enumerate(ordered)
    ]


def places(steps: Sequence[Step], calls: Sequence[Exchange]) -> list[int]:
    """For each of `calls`, sorted by `in_order`, the position of the step that it belongs to.

    That is its recorded cause; else the one step in flight when it began; else the step that began
    last before it, or START_UP.
    """
    position_of = {step.exchange.id: step.position for step in steps}
    found: list[int] = []
    active: list[tuple[int, int]] = []
    begun = 0
    for call in calls:
        at_ns = call.http.request.first_byte_at_ns
        while begun < len(steps) and steps[begun].exchange.http.request.first_byte_at_ns <= at_ns:
            active.append((steps[begun].exchange.http.response.last_byte_at_ns, begun))
            begun += 1
        active = [entry for entry in active if entry[0] >= at_ns]
        latest = active[-1][1] if active else begun - 1
        found.append(position_of.get(call.cause_id, latest) if call.cause_id else latest)
    return found
