"""The verdict for a person: the first line says it all, then each cause in a few lines."""

from __future__ import annotations

from collections.abc import Iterator

from wiretape.replayer.causes import Cause, causes_of
from wiretape.replayer.compare import Difference
from wiretape.replayer.report.terminal import Line, line, render
from wiretape.replayer.report.words import (
    accepted_line,
    count,
    describe,
    headline,
    label,
    milliseconds,
    one_line,
    shown,
    unfit_lines,
)
from wiretape.replayer.verdict import Latency, Verdict

_CAUSES = 20
_DIFFERENCES = 8
_CONSEQUENCES = 3
_ENDPOINTS = 4
_LISTED = 5
_SHORT = 60
_LEARN = "what is random by design needs a rule: `replay learn` on a known-good build makes it"


def text_report(verdict: Verdict, colour: bool = False, width: int | None = None) -> str:
    """The whole report, ending in a line feed; `width` in columns, None for as wide as it gets."""
    return "".join(f"{render(one, colour, width)}\n" for one in _lines(verdict))


def _lines(verdict: Verdict) -> Iterator[Line]:
    style = "good" if verdict.exit_code == 0 else "bad"
    yield line((style, verdict.word), f"  {shown(headline(verdict))}", hang=6)
    if verdict.failure is not None and (at := verdict.failure.place) is not None:
        compared, total = verdict.compared, len(verdict.results)
        yield line(
            f"  {compared} of {total} exchanges were compared before, {total - at} were left"
        )
    causes = causes_of(verdict)
    for number, cause in enumerate(causes[:_CAUSES], 1):
        yield line()
        yield from _cause(number, cause, verdict)
    if len(causes) > _CAUSES:
        yield line()
        yield line(f"… and {count(len(causes) - _CAUSES, 'more cause')}")
    yield from _section("The recording is not fit to judge", unfit_lines(verdict), _CAUSES)
    output = verdict.failure.output if verdict.failure is not None else ()
    yield from _section("The build's last output", output, len(output))
    remarks = list(_remark_texts(verdict))
    if any(cause.kind == "content" and not cause.hint for cause in causes):
        remarks.insert(0, _LEARN)
    yield from _remarks(remarks, gap=bool(causes or output or verdict.unfit_reason))


def _cause(number: int, cause: Cause, verdict: Verdict) -> Iterator[Line]:
    where = _where(cause, len(verdict.results))
    yield line(f"{number}. ", ("strong", shown(cause.title)), where, hang=3)
    if len(cause.endpoints) > 1:
        named = ", ".join(shown(endpoint) for endpoint in cause.endpoints[:_ENDPOINTS])
        more = len(cause.endpoints) - _ENDPOINTS
        yield line(f"   at {named}" + (f" and {more} more" if more > 0 else ""), hang=6)
    for difference in cause.differences[:_DIFFERENCES]:
        yield from _difference(difference)
    if len(cause.differences) > _DIFFERENCES:
        yield line(f"   … and {count(len(cause.differences) - _DIFFERENCES, 'more difference')}")
    follows = [_consequence(cause, position, verdict) for position in cause.consequences]
    for index in cause.calls_following:
        finding = verdict.upstream[index]
        follows.append(f"upstream call {finding.kind}: {finding.upstream} {finding.call}")
    for text in follows[:_CONSEQUENCES]:
        yield line(f"   so {shown(text)}", hang=6)
    if (more := len(follows) - _CONSEQUENCES) > 0:
        yield line(f"   so {count(more, 'more consequence')}")
    if cause.hint:
        yield line("   ", ("weak", f"→ {cause.hint}"), hang=5)


def _consequence(cause: Cause, position: int, verdict: Verdict) -> str:
    result = verdict.results[position]
    said = describe(result.differences[0]) if result.differences else "differs"
    via = cause.via.get(position)
    carried = f"; it carries {via}" if via is not None else ""
    return f"{result.endpoint} differs: {said}{carried}"


def _where(cause: Cause, total: int) -> str:
    if cause.kind in ("attempt", "condition"):
        return ""
    if not cause.positions:
        return "  (before the first exchange)"
    first, others = cause.positions[0] + 1, len(cause.positions) - 1
    more = f" and {others} more like it" if others else ""
    return f"  (exchange {first} of {total}{more})"


def _difference(difference: Difference) -> Iterator[Line]:
    name = label(difference)
    expected, actual = shown(difference.expected), shown(difference.actual)
    if difference.expected is None and difference.actual is None:
        yield line(f"   {name}  {shown(difference.reason)}", hang=6)
    elif difference.kind == "response":
        yield line(f"   {name}  expected {expected}, {shown(difference.reason)}", hang=6)
    elif "\n" not in expected + actual and max(len(expected), len(actual)) <= _SHORT:
        said = ("good", expected), ", actual ", ("bad", actual)
        yield line(f"   {name}  expected ", *said, hang=6)
    else:
        yield line(f"   {name}  {shown(difference.reason)}", hang=6)
        yield from _block("expected", expected, "good")
        yield from _block("actual", actual, "bad")


def _block(word: str, text: str, style: str) -> Iterator[Line]:
    for place, part in enumerate(text.split("\n")):
        yield line(f"     {word if not place else '':8}  ", (style, part), hang=15)


def _section(title: str, lines: list[str] | tuple[str, ...], most: int) -> Iterator[Line]:
    if not lines:
        return
    yield line()
    yield line(("strong", title))
    for text in lines[:most]:
        yield line(f"   {shown(text)}", hang=6)
    if len(lines) > most:
        yield line(f"   … and {len(lines) - most} more")


def _remarks(remarks: list[str], gap: bool) -> Iterator[Line]:
    """What judges nothing, in a line each."""
    if remarks and gap:
        yield line()
    for text in remarks:
        yield line(("weak", shown(text)), hang=2)


def _remark_texts(verdict: Verdict) -> Iterator[str]:
    if said := accepted_line(verdict):
        yield f"{said} (--json and --report say where and why)"
    if verdict.moved:
        calls = sorted({f"{moved.upstream} {moved.call}" for moved in verdict.moved})
        yield f"answered in another exchange than recorded: {_listed(calls)}"
    let_out = sorted({attempt.where for attempt in verdict.attempts if attempt.let_out})
    if let_out:
        yield f"left this machine: {_listed(let_out)}"
    datagrams = sorted({a.where for a in verdict.attempts if not a.counts and not a.let_out})
    if datagrams:
        yield f"datagrams that went nowhere: {_listed(datagrams)}"
    if verdict.unused_rules:
        yield f"rules that match nothing: {_listed(verdict.unused_rules)}"
    yield from (
        f"{one.expression}: {one.actual}, {'holds' if one.holds else 'does not hold'}"
        for one in verdict.conditions
    )
    yield from (_latency(one) for one in verdict.latency if not one.endpoint)
    if (late := verdict.lateness) is not None:
        yield f"behind schedule: p50 {milliseconds(late.p50_us)}, p99 {milliseconds(late.p99_us)}"
    yield from verdict.notes


def _latency(latency: Latency) -> str:
    parts = []
    for name in ("p50", "p95", "p99"):
        sides = (
            "-" if side is None else milliseconds(getattr(side, f"{name}_us"))
            for side in (latency.recorded, latency.live)
        )
        parts.append(f"{name} {' → '.join(sides)}")
    return f"latency, recorded → live: {', '.join(parts)}"


def _listed(texts: list[str]) -> str:
    more = f" and {len(texts) - _LISTED} more" if len(texts) > _LISTED else ""
    return ", ".join(one_line(text) for text in texts[:_LISTED]) + more
