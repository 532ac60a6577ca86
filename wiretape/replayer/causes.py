"""The causes behind what a run found: one thing to mend is one cause, however many show it.

Folded into a cause, as its consequences, are:

- exchanges whose request was to carry a value that a differing response did not give;
- the response that differs where an upstream call of the same exchange could not be answered, and
  the calls that did not come after that one, but for those whose answer the recording had before
  it: what comes first is nearer to the cause;
- the calls that did not come where the response says that the build failed before them.

One cause are differences at one place of one endpoint, places of one endpoint that always differ
together, and what is provably the same at several endpoints (`alike.py`).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from wiretape.replayer.alike import across, endpoint_of, normal_place
from wiretape.replayer.compare import Difference
from wiretape.replayer.compare.difference import UNORDERED
from wiretape.replayer.mocks import UpstreamFinding
from wiretape.replayer.values import shape
from wiretape.replayer.verdict import Result, State, Verdict

# What is mended first: what keeps other things from being judged at all.
_TIERS = {
    "unreachable": 0, "attempt": 1, "upstream": 1, "no response": 1, "server error": 1,
    "status": 2, "state": 2, "lacking": 2, "content": 3, "field": 4, "condition": 5,
}  # fmt: skip
# What a build says of what it does not have: resources, or who has credentials.
_REFUSED = ("401", "403", "404", "410")
_WHOLE = ("status", "response", "interim")
_LEARN = "if this order has no meaning, `replay learn` on a known-good build says so in the rules"


@dataclass(slots=True)
class Cause:
    """One thing that is wrong: where, what, and which exchanges show it.

    `kind`: unreachable, attempt, upstream, no response, server error, status, state (that the
    recording never created), lacking, content, field, condition. `differences` are those of the
    first of `positions`. `consequences` are positions of exchanges that differ because of it, `via`
    says of some how. `calls` and `calls_following` are places in Verdict.upstream: what the cause
    is made of, and what follows from it. `hint` is what to do.
    """

    kind: str
    title: str
    differences: tuple[Difference, ...] = ()
    positions: tuple[int, ...] = ()
    consequences: tuple[int, ...] = ()
    endpoints: tuple[str, ...] = ()
    calls: tuple[int, ...] = ()
    calls_following: tuple[int, ...] = ()
    via: dict[int, str] = field(default_factory=dict)
    hint: str = ""

    @property
    def rank(self) -> tuple[int, int, int]:
        """Sort key: what to mend first."""
        shown = len(self.positions) + len(self.consequences)
        return _TIERS[self.kind], -shown, self.positions[0] if self.positions else -1


def causes_of(verdict: Verdict) -> list[Cause]:
    """Every difference and every finding in exactly one place, what to mend first at the head."""
    return sorted(_Grouping(verdict).causes(), key=lambda cause: cause.rank)


@dataclass(slots=True)
class _Symptom:
    """Differences of one exchange that stand for one thing."""

    result: Result
    endpoint: str
    kind: str
    differences: list[Difference]
    local: Hashable
    across: tuple[Hashable, str] | None


class _Grouping:
    def __init__(self, verdict: Verdict) -> None:
        self._verdict = verdict
        self._differing = {
            result.position: result for result in verdict.results if result.state is State.DIFFERS
        }
        self._causes: list[Cause] = []
        # The cause of what differs in an exchange: at a place, and first of all.
        self._at: dict[tuple[int, str], Cause] = {}
        self._of: dict[int, Cause] = {}

    def causes(self) -> list[Cause]:
        verdict = self._verdict
        # What an earlier response did not give comes before all: it changes everything after it.
        dependants = [r for r in self._differing.values() if r.lacking]
        roots = {p: r for p, r in self._differing.items() if not r.lacking}
        folded = self._upstream({r.position for r in dependants}, roots)
        self._state([r for r in roots.values() if r.position not in self._of])
        self._responses([r for r in roots.values() if r.position not in self._of])
        following: dict[int, tuple[Cause, list[int], list[int]]] = {}
        for result in dependants:
            cause = self._depended_on(result)
            following.setdefault(id(cause), (cause, [], []))[1].append(result.position)
        for index in folded:
            cause = self._of[verdict.upstream[index].place]
            following.setdefault(id(cause), (cause, [], []))[2].append(index)
        for cause, positions, calls in following.values():
            cause.consequences += tuple(positions)
            cause.calls_following = tuple(calls)
        for attempt in verdict.attempts:
            if attempt.counts:
                what = "look up" if attempt.transport == "dns" else "reach"
                title = f"the build tried to {what} {attempt.where}, which was not recorded"
                hint = f"--allow {attempt.where} lets it out, if that is meant"
                self._causes.append(Cause("attempt", title, hint=hint))
        self._causes += [
            Cause("condition", f"--fail-if '{condition.expression}' holds")
            for condition in verdict.conditions
            if condition.holds
        ]
        return self._causes

    def _add(self, cause: Cause, results: Iterable[Result]) -> Cause:
        self._causes.append(cause)
        for result in results:
            self._of.setdefault(result.position, cause)
        return cause

    def _upstream(self, dependants: set[int], roots: dict[int, Result]) -> list[int]:
        """Findings that are causes; the places in Verdict.upstream of those that follow."""
        findings = self._verdict.upstream
        since = _first_missed(findings)
        groups: dict[Hashable, list[int]] = {}
        folded: list[int] = []

        def comes_first(finding: UpstreamFinding) -> bool:
            """Whether it was over before what was missed at its place began."""
            return 0 < finding.recorded_ns[1] < since.get(finding.place, 0)

        order = sorted(
            range(len(findings)), key=lambda i: (findings[i].place, not comes_first(findings[i]))
        )
        for index in order:
            finding = findings[index]
            place = finding.place
            is_root = place not in dependants and not (
                finding.kind == "missing"
                and not finding.unreachable
                and not comes_first(finding)
                and (place in since or (place in roots and _has_failed(roots[place])))
            )
            if is_root:
                groups.setdefault(_upstream_signature(finding), []).append(index)
            else:
                folded.append(index)
        for indexes in groups.values():
            alike = [findings[index] for index in indexes]
            first = alike[0]
            places = tuple(dict.fromkeys(f.place for f in alike if f.place >= 0))
            follows = tuple(p for p in places if p in roots and p not in self._of)
            cause = Cause(
                "unreachable" if first.unreachable else "upstream",
                _upstream_title(first),
                first.differences,
                places,
                follows,
                tuple(dict.fromkeys(_upstream_endpoint(f) for f in alike)),
                tuple(indexes),
            )
            if first.unreachable:
                cause.hint = f"--env NAME=http://{{mock:{first.upstream}}} tells the build of it"
            self._add(cause, ())
            for place in places:
                self._of.setdefault(place, cause)
        return folded

    def _state(self, results: list[Result]) -> None:
        """One cause for all that is refused in one way for what was there before the recording."""
        refused: dict[str, list[Result]] = {}
        for result in results:
            status = _live_status(result)
            if result.uncreated and status in _REFUSED:
                refused.setdefault(status, []).append(result)
        for status, alike in refused.items():
            values = list(dict.fromkeys(result.uncreated for result in alike))
            more = f" and {len(values) - 3} more" if len(values) > 3 else ""
            cause = _cause_of(
                "state",
                f"state that the recording never created: {status} for {', '.join(values[:3])}"
                f"{more}, from no recorded response",
                alike,
                list(alike[0].differences),
            )
            cause.hint = "give the build this state before the run, or record from an empty one"
            self._add(cause, alike)

    def _responses(self, results: list[Result]) -> None:
        local: dict[Hashable, list[_Symptom]] = {}
        for result in results:
            for symptom in _symptoms(result):
                local.setdefault(symptom.local, []).append(symptom)
        # What has another difference among its own is not provably the same as elsewhere.
        wide: dict[Hashable, list[list[_Symptom]]] = {}
        alone: list[list[_Symptom]] = []
        for group in local.values():
            keys = frozenset(s.across[0] if s.across is not None else None for s in group)
            (alone if None in keys else wide.setdefault(keys, [])).append(group)
        alone += [groups[0] for groups in wide.values() if len(groups) == 1]
        for group in _together(alone):
            self._response_cause(group)
        for groups in wide.values():
            if len(groups) > 1:
                self._response_cause([symptom for group in groups for symptom in group])

    def _response_cause(self, group: list[_Symptom]) -> None:
        results = list({s.result.position: s.result for s in group}.values())
        results.sort(key=lambda result: result.position)
        first = [d for s in group if s.result is results[0] for d in s.differences]
        endpoints = dict.fromkeys(s.endpoint for s in group)
        title = results[0].endpoint
        wide = {symptom.across for symptom in group}
        if len(endpoints) > 1:
            title = " and ".join(sorted({a[1] for a in wide if a})[:2])
            title += f" at {len(endpoints)} endpoints"
        cause = self._add(_cause_of(group[0].kind, title, results, first), results)
        if any(difference.remedy == UNORDERED for difference in first):
            cause.hint = _LEARN
        for symptom in group:
            for difference in symptom.differences:
                place = normal_place(difference.place)
                self._at.setdefault((symptom.result.position, place), cause)

    def _depended_on(self, result: Result) -> Cause:
        """The cause of what it lacks; in the order of positions, so that is known already."""
        lacking = result.lacking[0]
        cause = self._at.get((lacking.position, normal_place(lacking.place)))
        cause = cause or self._of.get(lacking.position)
        # A call at start-up belongs to no exchange.
        before = [self._verdict.results[lacking.position]] if lacking.position >= 0 else []
        if cause is None:
            who = before[0].endpoint if before else "start-up"
            cause = _cause_of("lacking", f"{who}: it gives no {lacking.place}", before, [])
            self._causes.append(cause)
            self._of[lacking.position] = cause
        self._of[result.position] = cause
        of = f" of exchange {lacking.position + 1}" if before else ""
        cause.via[result.position] = f"{lacking.place}{of}"
        return cause


def _cause_of(kind: str, title: str, results: list[Result], differences: list[Difference]) -> Cause:
    return Cause(
        kind,
        title,
        tuple(differences),
        tuple(result.position for result in results),
        endpoints=tuple(dict.fromkeys(endpoint_of(r.method, r.target) for r in results)),
    )


def _symptoms(result: Result) -> list[_Symptom]:
    """One where the response is another altogether; else one for each place."""
    endpoint = endpoint_of(result.method, result.target)
    for difference in result.differences:
        if difference.kind in _WHOLE:
            local = (endpoint, difference.kind, difference.expected, difference.actual)
            kind = "no response" if difference.kind == "response" else "status"
            if kind == "status" and (difference.actual or "").startswith("5"):
                kind = "server error"
            wide = across(result, difference)
            return [_Symptom(result, endpoint, kind, list(result.differences), local, wide)]
    by_place: dict[Hashable, _Symptom] = {}
    for difference in result.differences:
        place = (endpoint, difference.kind, normal_place(difference.place))
        symptom = by_place.get(place)
        wide = across(result, difference)
        if symptom is None:
            kind = "field" if difference.kind in ("field", "trailer") else "content"
            by_place[place] = _Symptom(result, endpoint, kind, [difference], place, wide)
        else:
            symptom.differences.append(difference)
            if symptom.across != wide:
                symptom.across = None
    return list(by_place.values())


def _together(groups: Iterable[list[_Symptom]]) -> list[list[_Symptom]]:
    """Groups of one endpoint that the same exchanges show are one."""
    merged: dict[Hashable, list[_Symptom]] = {}
    for group in groups:
        shown = tuple(symptom.result.position for symptom in group)
        merged.setdefault((group[0].endpoint, shown), []).extend(group)
    for group in merged.values():
        # What the content says comes before what fields say of it.
        if any(symptom.kind == "content" for symptom in group):
            group.sort(key=lambda symptom: symptom.kind != "content")
    return list(merged.values())


def _live_status(result: Result) -> str | None:
    return next((d.actual for d in result.differences if d.kind == "status"), None)


def _has_failed(result: Result) -> bool:
    """The build gave no response, or one that says that something failed."""
    if any(difference.kind == "response" for difference in result.differences):
        return True
    return (_live_status(result) or "0")[0] in "45"


def _first_missed(findings: Iterable[UpstreamFinding]) -> dict[int, int]:
    """By exchange, when the first call that came otherwise than recorded began in the recording;
    0 where that is not known."""
    since: dict[int, int] = {}
    for finding in findings:
        if finding.place >= 0 and finding.kind != "missing":
            begun_ns = finding.recorded_ns[0]
            since[finding.place] = min(since.get(finding.place, begun_ns), begun_ns)
    return since


def _upstream_title(finding: UpstreamFinding) -> str:
    if finding.unreachable:
        return f"upstream calls missing: {finding.upstream}: {finding.reason}"
    call = f"{finding.upstream} {finding.call}"
    title = f"upstream call {finding.kind}: {call}: {finding.reason}"
    if finding.nearest is not None and finding.differences:
        title += f"; nearest is {finding.nearest}"
    return title


def _upstream_endpoint(finding: UpstreamFinding) -> str:
    method, _, target = finding.call.partition(" ")
    return f"{finding.upstream} {endpoint_of(method, target)}"


def _upstream_signature(finding: UpstreamFinding) -> Hashable:
    if finding.unreachable:
        return finding.kind, finding.upstream
    places = sorted({(d.kind, normal_place(d.place)) for d in finding.differences})
    reason = shape(finding.reason.partition(":")[0])
    return finding.kind, _upstream_endpoint(finding), reason, *places
