"""Rules from what several runs of a known-good build did differently.

A place is volatile where the runs do not agree with each other: then a rule is made for it, as
narrow as what was seen allows. What differs alike in every run is no chance but another behaviour,
and never gets a rule; nor does a status, a call that is missing or extra, or binary content.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from wiretape.replayer.compare.difference import UNORDERED, Difference
from wiretape.replayer.rules import PATHS, Rule, value_class
from wiretape.replayer.rules_file import VERSION, write_rule
from wiretape.replayer.values.place import Place

# Shares of the recorded number by which live ones may be off; a smaller spread gets a tolerance.
_TOLERANCES = (Decimal("0.001"), Decimal("0.01"), Decimal("0.05"), Decimal("0.1"), Decimal("0.2"))
_EVIDENCE_CHARACTERS = 60
_EVIDENCE_VALUES = 4
# Parts that say what was asked or hold no values: to accept anything there would hide too much.
_NEVER = {"path": "the path of a call", "content": "binary content"}


@dataclass(slots=True)
class Run:
    """What one run did differently: where (an exchange, a call) and what; and calls that it did not
    make, or made though none was recorded, in a line each."""

    differences: list[tuple[str, Difference]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A difference that gets no rule, and why; `runs` is how many showed it."""

    what: str
    why: str
    runs: int


@dataclass(frozen=True, slots=True)
class Lesson:
    """What the runs taught; both in the order in which it was first seen."""

    rules: tuple[Rule, ...]
    refusals: tuple[Refusal, ...]


# Where it was seen, and its exact place; then what was seen in which run.
_Seen = dict[tuple[str, str], dict[int, Difference]]


def learn(runs: Sequence[Run]) -> Lesson:
    """The rules that would have let every run pass, and what no rule may cover."""
    places: dict[Place, _Seen] = {}
    others: dict[tuple[str, str], set[int]] = {}
    for number, run in enumerate(runs):
        for where, difference in run.differences:
            if difference.at is None:
                others.setdefault((_line(where, difference), difference.kind), set()).add(number)
            else:
                seen = places.setdefault(difference.at, {})
                seen.setdefault((where, difference.place), {})[number] = difference
        for call in run.calls:
            others.setdefault((call, "call"), set()).add(number)
    rules: list[Rule] = []
    refusals = [
        Refusal(what, f"no rule can accept a {kind}", len(seen))
        for (what, kind), seen in others.items()
    ]
    for place, seen in places.items():
        where, first = next((where, next(iter(d.values()))) for (where, _), d in seen.items())
        count = len({number for found in seen.values() for number in found})
        if place.part in _NEVER:
            why = f"no rule is made for {_NEVER[place.part]}"
        elif not _is_volatile(seen, len(runs)):
            why = "it is the same in every run: the build behaves differently, or is too new"
        else:
            rules.append(_rule(place, seen, count, len(runs)))
            continue
        refusals.append(Refusal(_line(where, first), why, count))
    return Lesson(tuple(rules), tuple(refusals))


def _line(where: str, difference: Difference) -> str:
    change = f"{_brief(difference.expected)} became {_brief(difference.actual)}"
    return f"{where}: {difference.kind} {difference.place}: {change}"


def _brief(text: str | None) -> str:
    if text is None:
        return "nothing"
    text = " ".join(text.split())
    if len(text) <= _EVIDENCE_CHARACTERS:
        return text
    return f"{text[: _EVIDENCE_CHARACTERS - 1]}…"


def _is_volatile(seen: _Seen, runs: int) -> bool:
    """Whether two runs did not do the same at one exact place."""
    return any(
        len(found) < runs or len({d.actual for d in found.values()}) > 1 for found in seen.values()
    )


def _rule(place: Place, seen: _Seen, count: int, runs: int) -> Rule:
    found = [difference for by_run in seen.values() for difference in by_run.values()]
    values = list(dict.fromkeys(_brief(d.actual) for d in found))
    more = ", …" if len(values) > _EVIDENCE_VALUES else ""
    evidence = (
        f"{count} of {runs} runs: {_brief(found[0].expected)} was recorded,"
        f" {', '.join(values[:_EVIDENCE_VALUES])}{more} came"
    )

    def made(action: str, as_class: str = "", relative: Decimal | None = None) -> Rule:
        return Rule(
            action, place.part, place.name, place.endpoint, evidence,
            as_class=as_class, relative=relative,
        )  # fmt: skip

    if any(difference.remedy == UNORDERED for difference in found):
        return made("unordered")
    one_sided = any(d.expected is None or d.actual is None for d in found)
    if one_sided or place.part in ("text", "multipart"):
        return made("ignore")
    pairs = [(_value(place, d.expected), _value(place, d.actual)) for d in found]
    spread = _spread(pairs)
    if spread is not None:
        return made("tolerance", relative=spread)
    as_class = value_class([value for pair in pairs for value in pair])
    return made("mask", as_class) if as_class else made("ignore")


def _value(place: Place, text: str | None) -> Any:
    """The value that a difference shows; what was too long to be shown whole stays text."""
    if text is None or place.part not in PATHS:
        return text
    try:
        return json.loads(text, parse_float=Decimal)
    except ValueError:
        return text.strip('"')


def _spread(pairs: Iterable[tuple[Any, Any]]) -> Decimal | None:
    """A share by which numbers may be off so that these and somewhat more are accepted."""
    largest = Decimal(0)
    for recorded, live in pairs:
        for value in (recorded, live):
            if isinstance(value, bool) or not isinstance(value, int | Decimal):
                return None
        if not recorded:
            return None
        largest = max(largest, abs((Decimal(live) - Decimal(recorded)) / Decimal(recorded)))
    return next((share for share in _TOLERANCES if 2 * largest <= share), None)


def add_rules(text: str, rules: Iterable[Rule], runs: int) -> str:
    """The text of a rules file, `text` being what it holds already, "" for a new one."""
    made = [write_rule(rule) for rule in rules]
    before = text.rstrip("\n") or f"version = {VERSION}"
    if not made:
        return f"{before}\n"
    return "\n".join([before, "", f"# Learned from {runs} runs; review it.", "", "\n".join(made)])


def describe(lesson: Lesson) -> Iterator[str]:
    """What was learned and what was not, in lines for people."""
    for rule in lesson.rules:
        yield f"new: {rule}: {rule.evidence}"
    for refusal in lesson.refusals:
        times = f"{refusal.runs} run{'s' if refusal.runs != 1 else ''}"
        yield f"no rule: {refusal.what} ({times}): {refusal.why}"
