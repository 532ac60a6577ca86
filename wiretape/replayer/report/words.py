"""What all reports say in the same words, and how they spell what a build may have sent."""

from __future__ import annotations

from wiretape.replayer.compare import Difference
from wiretape.replayer.verdict import State, Verdict

ABSENT = "(absent)"
ONE_LINE = 120


def describe(difference: Difference, limit: int = ONE_LINE) -> str:
    """One difference in one line, each value in at most `limit` characters."""
    name = label(difference)
    if difference.expected is None and difference.actual is None:
        return f"{name}: {difference.reason}"
    expected, actual = one_line(difference.expected, limit), one_line(difference.actual, limit)
    return f"{name}: expected {expected}, actual {actual} ({difference.reason})"


def label(difference: Difference) -> str:
    if difference.kind in ("field", "trailer", "query", "form"):
        return f"{difference.kind} {shown(difference.place)}"
    return shown(difference.place)


def shown(value: str | None) -> str:
    """What a build sends must not move the reader's cursor; line feeds stay."""
    if value is None:
        return ABSENT
    return "".join(c if c.isprintable() or c == "\n" else escape(c) for c in value)


def escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def one_line(value: str | None, limit: int = ONE_LINE) -> str:
    """In at most `limit` characters and "…"; no escape is cut."""
    if value is None:
        return ABSENT
    pieces: list[str] = []
    size = 0
    for character in value:
        piece = character if character.isprintable() else escape(character)
        size += len(piece)
        if size > limit:
            return "".join(pieces) + "…"
        pieces.append(piece)
    return "".join(pieces)


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def milliseconds(microseconds: int) -> str:
    """Three significant digits, with the unit."""
    if microseconds >= 9_995_000:
        return f"{microseconds / 1e6:.3g} s" if microseconds < 1e9 else f"{microseconds // 10**6} s"
    return f"{float(f'{microseconds / 1e3:.3g}'):g} ms"


def headline(verdict: Verdict) -> str:
    """Counts in one line, without the word of the verdict."""
    total, differing = len(verdict.results), verdict.count(State.DIFFERS)
    if verdict.failure is not None:
        return verdict.failure.message
    if not total:
        return verdict.unfit_reason or ""
    if differing:
        verb = "differs" if differing == 1 else "differ"
        parts = [f"{differing:,} of {count(verdict.compared, 'exchange')} {verb}"]
    else:
        parts = [f"{count(verdict.compared, 'exchange')} compared, none differs"]
    if verdict.mocked and (verdict.calls_recorded or verdict.upstream):
        parts.append(f"{count(verdict.calls_answered, 'upstream call')} as recorded")
    parts += [
        f"{count(number, 'upstream call')} {kind}"
        for kind in ("changed", "missing", "extra")
        if (number := sum(finding.kind == kind for finding in verdict.upstream))
    ]
    if attempts := sum(attempt.counts for attempt in verdict.attempts):
        parts.append(f"{count(attempts, 'attempt')} to reach what was not recorded")
    parts += [f"{one.expression} holds" for one in verdict.conditions if one.holds]
    if unfit := verdict.count(State.UNFIT):
        parts.append(f"{unfit:,} not fit to judge")
    if skipped := verdict.count(State.NOT_RUN):
        parts.append(f"{skipped:,} not run")
    return " · ".join(parts)


def accepted_line(verdict: Verdict) -> str:
    """How many values were accepted as generated, by class; "" for none."""
    kinds = verdict.accepted.by_kind()
    if not kinds:
        return ""
    return "accepted as generated: " + " · ".join(f"{n:,} {kind}" for kind, n in kinds.items())


def unfit_lines(verdict: Verdict) -> list[str]:
    """What the recording holds too little of, a line each."""
    lines = [
        f"{result.endpoint} (exchange {result.position + 1}, {result.id}): {result.note}"
        for result in verdict.results
        if result.state is State.UNFIT
    ]
    lines += [
        f"upstream call {call.upstream} {call.call} ({call.id}): {call.reason}"
        for call in verdict.unfit_calls
    ]
    return lines + ([verdict.truncated] if verdict.truncated is not None else [])
