"""What a run found, and what that means: the exit code, and the causes behind the symptoms."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from wiretape.replayer.compare import Difference
from wiretape.replayer.correlate import shape
from wiretape.replayer.mocks import UpstreamFinding

_INDEX = re.compile(r"\[\d+\]")


class State(StrEnum):
    """What became of one recorded inbound exchange."""

    SAME = "same"
    DIFFERS = "differs"
    UNFIT = "unfit"
    NOT_RUN = "not_run"


@dataclass(slots=True)
class Result:
    """One recorded inbound exchange; durations are of the whole exchange, 0 where it did not run.

    `note` says why it is unfit or was not run.
    """

    position: int
    id: str
    method: str
    target: str
    recorded_ns: int
    state: State = State.NOT_RUN
    note: str = ""
    live_ns: int = 0
    differences: list[Difference] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return f"{self.method} {self.target}"


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
class Cause:
    """One thing that is wrong: where, what, and which exchanges show it."""

    title: str
    differences: tuple[Difference, ...]
    positions: tuple[int, ...]
    consequences: tuple[int, ...] = ()


@dataclass(slots=True)
class Verdict:
    """All that a run found; complete once the run has ended."""

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
    duration_ns: int = 0
    unused_rules: list[str] = field(default_factory=list)

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
        if self.upstream:
            return 3
        if self.count(State.DIFFERS):
            return 1
        return 0 if self.compared else 4

    @property
    def word(self) -> str:
        words = {0: "PASS", 1: "FAIL", 3: "FAIL", 4: "UNFIT", 5: "ERROR", 130: "INTERRUPTED"}
        return words[self.exit_code]

    def causes(self) -> list[Cause]:
        """Upstream findings first, with the differences that they explain; then the others.

        Differences at one place of one endpoint are one cause, however many exchanges show it; so
        are all calls to an upstream that the build does not know of.
        """
        found: list[Cause] = []
        explained: set[int] = set()
        differing = {r.position for r in self.results if r.state is State.DIFFERS}
        alike: dict[tuple[str, ...], list[UpstreamFinding]] = {}
        for finding in self.upstream:
            alike.setdefault(_upstream_signature(finding), []).append(finding)
        for findings in alike.values():
            places = tuple(dict.fromkeys(f.place for f in findings if f.place >= 0))
            follows = tuple(place for place in places if place in differing - explained)
            explained.update(follows)
            first = findings[0]
            found.append(Cause(_upstream_title(first), first.differences, places, follows))
        groups: dict[tuple[str, ...], list[Result]] = {}
        for result in self.results:
            if result.state is State.DIFFERS and result.position not in explained:
                groups.setdefault(_signature(result), []).append(result)
        found += [
            Cause(
                results[0].endpoint,
                tuple(results[0].differences),
                tuple(result.position for result in results),
            )
            for results in groups.values()
        ]
        return found


def _upstream_title(finding: UpstreamFinding) -> str:
    if finding.unreachable:
        return f"upstream calls missing: {finding.upstream}: {finding.reason}"
    call = f"{finding.upstream} {finding.call}"
    title = f"upstream call {finding.kind}: {call}: {finding.reason}"
    if finding.nearest is not None and finding.differences:
        title += f"; nearest is {finding.nearest}"
    return title


def _upstream_signature(finding: UpstreamFinding) -> tuple[str, ...]:
    if finding.unreachable:
        return finding.kind, finding.upstream
    method, _, target = finding.call.partition(" ")
    places = sorted({f"{d.kind} {_INDEX.sub('[*]', d.place)}" for d in finding.differences})
    return (
        finding.kind, finding.upstream, method, shape(target.partition("?")[0]),
        finding.reason.partition(":")[0], *places,
    )  # fmt: skip


def _signature(result: Result) -> tuple[str, ...]:
    path = shape(result.target.partition("?")[0])
    places: Sequence[str] = sorted(
        {f"{d.kind} {_INDEX.sub('[*]', d.place)}" for d in result.differences}
    )
    return (result.method, path, *places)
