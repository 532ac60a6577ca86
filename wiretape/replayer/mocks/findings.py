"""What was not as recorded with upstream calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from wiretape.exchange.v1.exchange_pb2 import HttpRequest
from wiretape.replayer.caused import START_UP
from wiretape.replayer.compare import Difference
from wiretape.replayer.mocks.calls import Call
from wiretape.replayer.mocks.names import call_text


@dataclass(frozen=True, slots=True)
class UpstreamFinding:
    """An upstream call that is not as recorded.

    `kind` is missing (recorded, never made), extra (made, not recorded) or changed (both, and they
    differ). `place` is the position of the exchange in flight, -1 before the first. `unreachable`:
    the build was never told where this upstream is mocked. `recorded_ns`: when the recorded call
    began and ended, as ns since the epoch; zeros for an extra one.
    """

    kind: str
    upstream: str
    call: str
    place: int
    reason: str
    nearest: str | None = None
    differences: tuple[Difference, ...] = ()
    unreachable: bool = False
    recorded_ns: tuple[int, int] = (0, 0)


class MovedCall(NamedTuple):
    """A safe call with one constant answer, answered in another exchange than recorded."""

    upstream: str
    call: str
    recorded_place: int
    place: int


class MadeCall(NamedTuple):
    """An upstream call on the time line; ns since the epoch and ns, 0 for what did not take place.

    `state` is answered, moved (in another exchange than when recorded), outside (of any cause),
    unanswered, missing or let out. `place` is the position of the exchange in flight, -1 before the
    first; `id` that of the recorded exchange, "" where there is none.
    """

    id: str
    upstream: str
    call: str
    place: int
    state: str
    recorded_at_ns: int = 0
    recorded_ns: int = 0
    live_at_ns: int = 0
    live_ns: int = 0


@dataclass(slots=True)
class Miss:
    """A live call that was not answered; without a request where what came is none."""

    name: str
    request: HttpRequest | None
    place: int
    at_ns: int
    reason: str = ""
    nearest: Call | None = None
    differences: list[Difference] = field(default_factory=list)
    passed_on: bool = False

    @property
    def text(self) -> str:
        return call_text(self.request) if self.request is not None else "(no request)"


def extra(miss: Miss) -> UpstreamFinding:
    nearest = call_text(miss.nearest.request) if miss.nearest else None
    reason = miss.reason
    if miss.place == START_UP:
        reason += "; it came at start-up, which the recording may lack: record from the start on"
    return UpstreamFinding(
        "extra", miss.name, miss.text, miss.place, reason, nearest, tuple(miss.differences)
    )


def changed(miss: Miss, call: Call, differences: list[Difference]) -> UpstreamFinding:
    reason = "the call differs from the recorded one"
    return UpstreamFinding(
        "changed", call.names[0], call_text(call.request), miss.place, reason, None,
        tuple(differences), recorded_ns=_recorded_ns(call),
    )  # fmt: skip


def changed_order(call: Call, difference: Difference) -> UpstreamFinding:
    reason = "the call came before another that it followed"
    return UpstreamFinding(
        "changed", call.names[0], call_text(call.request), call.place, reason, None,
        (difference,), recorded_ns=_recorded_ns(call),
    )  # fmt: skip


def missing(call: Call, unreachable: bool) -> UpstreamFinding:
    reason = "the recorded call never came"
    if unreachable:
        reason = f"the build was not told of {{mock:{call.names[0]}}} (--env)"
    return UpstreamFinding(
        "missing", call.names[0], call_text(call.request), call.place, reason,
        unreachable=unreachable, recorded_ns=_recorded_ns(call),
    )  # fmt: skip


def _recorded_ns(call: Call) -> tuple[int, int]:
    http = call.exchange.http
    ended_ns = http.response.last_byte_at_ns or http.request.last_byte_at_ns
    return http.request.first_byte_at_ns, ended_ns


def made(call: Call, place: int, live_ns: int = 0, at_ns: int = 0) -> MadeCall:
    http = call.exchange.http
    if not at_ns:
        state = "missing"
    elif not call.caused.by:
        state = "outside"
    else:
        state = "answered" if place in call.caused.by else "moved"
    begun_ns = http.request.first_byte_at_ns
    ended_ns = http.response.last_byte_at_ns or http.request.last_byte_at_ns
    recorded_ns = max(0, ended_ns - begun_ns)
    name, text = call.names[0], call_text(http.request)
    return MadeCall(
        call.exchange.id, name, text, place, state, begun_ns, recorded_ns, at_ns, live_ns
    )
