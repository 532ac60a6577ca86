"""What a run found, and what that means: the exit code. Causes are told in causes.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from wiretape.exchange.v1.exchange_pb2 import HttpExchange, HttpRequest, HttpResponse
from wiretape.replayer.accepted import Acceptance, AcceptedValues
from wiretape.replayer.compare import Difference
from wiretape.replayer.kept import Kept, keep
from wiretape.replayer.mocks import MadeCall, MovedCall, UpstreamFinding


class State(StrEnum):
    """What became of one recorded inbound exchange."""

    SAME = "same"
    DIFFERS = "differs"
    UNFIT = "unfit"
    NOT_RUN = "not_run"


@dataclass(frozen=True, slots=True)
class Lacking:
    """A value that a request was to carry, and that the response of `position` did not give.

    `place` is where in that response, as differences spell it; `value` the recorded one.
    """

    position: int
    place: str
    value: str


@dataclass(slots=True)
class Result:
    """One recorded inbound exchange; durations are of the whole exchange, 0 where it did not run.

    `note` says why it is unfit or was not run. `lacking` makes it a consequence; `uncreated` names
    the value of its request that no recorded response created. Times are ns since the epoch.
    Messages and acceptances are kept only where a report wants them: `request` and `response` as
    recorded, `live_request` and `live_response` where they are other bytes.
    """

    position: int
    id: str
    method: str
    target: str
    recorded_ns: int
    state: State = State.NOT_RUN
    note: str = ""
    live_ns: int = 0
    differences: Sequence[Difference] = ()
    recorded_at_ns: int = 0
    live_at_ns: int = 0
    lacking: Sequence[Lacking] = ()
    uncreated: str = ""
    accepted: Sequence[Acceptance] = ()
    request: Kept | None = None
    response: Kept | None = None
    live_request: Kept | None = None
    live_response: Kept | None = None

    @property
    def endpoint(self) -> str:
        return f"{self.method} {self.target}"

    def keep(
        self, recorded: HttpExchange, sent: HttpRequest | None, live: HttpResponse | None
    ) -> None:
        """Keep what a report shows; `sent` and `live` None where they are as recorded.

        That no response came at all, a difference says.
        """
        self.request, self.response = keep(recorded.request), keep(recorded.response)
        self.live_request = keep(sent) if sent is not None else None
        self.live_response = keep(live) if live is not None else None


@dataclass(frozen=True, slots=True)
class UnfitCall:
    """A recorded upstream call that the recording holds too little of."""

    id: str
    upstream: str
    call: str
    reason: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the environment failed; `place` is the position of the exchange that was due, or None."""

    message: str
    place: int | None
    output: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Attempt:
    """Something that the build tried to reach and that is not in the recording.

    `transport` is tcp, udp or dns (a name was asked for); `where` host:port, or the name. What was
    let out (`--allow`, `--on-miss passthrough`) is listed, and does not count.
    """

    transport: str
    where: str
    times: int = 1
    let_out: bool = False

    @property
    def counts(self) -> bool:
        """Whether it is a finding; a recording holds no datagrams, so it says nothing of them."""
        return not self.let_out and self.transport != "udp"


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of one endpoint's durations, in µs."""

    count: int
    p50_us: int
    p90_us: int
    p95_us: int
    p99_us: int
    max_us: int


@dataclass(frozen=True, slots=True)
class Latency:
    """Recorded and live of one endpoint ("POST /orders/*"), or of all ("")."""

    endpoint: str
    recorded: Percentiles | None
    live: Percentiles | None


@dataclass(frozen=True, slots=True)
class Lateness:
    """How far behind its schedule a paced run sent its requests, in µs."""

    p50_us: int
    p99_us: int
    max_us: int


@dataclass(frozen=True, slots=True)
class Condition:
    """One --fail-if as it was given; `actual` is what was measured, in its own unit."""

    expression: str
    holds: bool
    actual: str


@dataclass(slots=True)
class Verdict:
    """All that a run found; complete once the run has ended.

    `notes` are lines for people that judge nothing: what was said before the run, which
    interception was chosen. `output` is the end of what the build printed.
    """

    recording: str
    target: str
    results: list[Result] = field(default_factory=list)
    upstream: list[UpstreamFinding] = field(default_factory=list)
    unfit_calls: list[UnfitCall] = field(default_factory=list)
    mocked: bool = False
    calls_recorded: int = 0
    calls_answered: int = 0
    unrelated: int = 0
    truncated: str | None = None
    failure: Failure | None = None
    interrupted: bool = False
    stopped_early: bool = False
    started_at_ns: int = 0
    duration_ns: int = 0
    accepted: AcceptedValues = field(default_factory=AcceptedValues)
    attempts: list[Attempt] = field(default_factory=list)
    moved: list[MovedCall] = field(default_factory=list)
    calls: list[MadeCall] = field(default_factory=list)
    unused_rules: list[str] = field(default_factory=list)
    conditions: list[Condition] = field(default_factory=list)
    latency: list[Latency] = field(default_factory=list)
    lateness: Lateness | None = None
    notes: list[str] = field(default_factory=list)
    output: tuple[str, ...] = ()

    def count(self, state: State) -> int:
        return sum(result.state is state for result in self.results)

    @property
    def compared(self) -> int:
        return self.count(State.SAME) + self.count(State.DIFFERS)

    @property
    def unfit_reason(self) -> str | None:
        """Why the recording is not fit to judge, in one line."""
        if not self.results:
            return "nothing to replay: no request to the service was recorded"
        if unfit := self.count(State.UNFIT):
            return f"{unfit} of {len(self.results)} exchanges cannot be judged by it"
        if self.unfit_calls:
            return f"{len(self.unfit_calls)} of its upstream calls are incomplete"
        return self.truncated

    @property
    def exit_code(self) -> int:
        """As design.md §5: the first that holds of 130, 5, 4, 3, 1; 0 only if all was compared."""
        if self.interrupted:
            return 130
        if self.failure is not None:
            return 5
        if self.unfit_reason is not None:
            return 4
        if self.upstream or any(attempt.counts for attempt in self.attempts):
            return 3
        if self.count(State.DIFFERS) or any(condition.holds for condition in self.conditions):
            return 1
        return 0 if self.compared else 4

    @property
    def word(self) -> str:
        words = {0: "PASS", 1: "FAIL", 3: "FAIL", 4: "UNFIT", 5: "ERROR", 130: "INTERRUPTED"}
        return words[self.exit_code]
