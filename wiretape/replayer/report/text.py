"""The verdict for a person: the first line says it all, then each cause in a few lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from wiretape.replayer.causes import Cause, causes_of
from wiretape.replayer.compare import Difference
from wiretape.replayer.verdict import State, Verdict

_CAUSES = 20
_DIFFERENCES = 8
_CONSEQUENCES = 3
_ONE_LINE = 60
_ABSENT = "(absent)"
_STYLES = {"good": "32;1", "bad": "31;1", "strong": "1", "weak": "2"}

Style = Callable[[str, str], str]


def text_report(verdict: Verdict, colour: bool = False) -> str:
    """The whole report, ending in a line feed; with ANSI colours where asked."""

    def style(kind: str, text: str) -> str:
        return f"\x1b[{_STYLES[kind]}m{text}\x1b[0m" if colour else text

    return "\n".join(_lines(verdict, style)) + "\n"


def describe(difference: Difference) -> str:
    """One difference in one line."""
    label = _label(difference)
    if difference.expected is None and difference.actual is None:
        return f"{label}: {difference.reason}"
    expected, actual = _one_line(difference.expected), _one_line(difference.actual)
    return f"{label}: expected {expected}, actual {actual} ({difference.reason})"


def headline(verdict: Verdict) -> str:
    """Counts in one line, without the word of the verdict."""
    total, differing = len(verdict.results), verdict.count(State.DIFFERS)
    if verdict.failure is not None:
        return verdict.failure.message
    if not total:
        return verdict.unfit_reason or ""
    if differing:
        verb = "differs" if differing == 1 else "differ"
        parts = [f"{differing} of {_count(verdict.compared, 'exchange')} {verb}"]
    else:
        parts = [f"{_count(verdict.compared, 'exchange')} compared, none differs"]
    if verdict.mocked and (verdict.calls_recorded or verdict.upstream):
        parts.append(f"{_count(verdict.calls_answered, 'upstream call')} as recorded")
    parts += [
        f"{count} upstream call{'s' if count > 1 else ''} {kind}"
        for kind in ("changed", "missing", "extra")
        if (count := sum(finding.kind == kind for finding in verdict.upstream))
    ]
    if unfit := verdict.count(State.UNFIT):
        parts.append(f"{unfit} not fit to judge")
    if skipped := verdict.count(State.NOT_RUN):
        parts.append(f"{skipped} not run")
    return " · ".join(parts)


def _lines(verdict: Verdict, style: Style) -> Iterator[str]:
    good = verdict.exit_code == 0
    yield f"{style('good' if good else 'bad', verdict.word)}  {headline(verdict)}"
    if verdict.failure is not None and (at := verdict.failure.place) is not None:
        compared, total = verdict.compared, len(verdict.results)
        yield f"  {compared} of {total} exchanges were compared before, {total - at} were left"
    causes = causes_of(verdict)
    for number, cause in enumerate(causes[:_CAUSES], 1):
        yield ""
        yield from _cause(number, cause, verdict, style)
    if len(causes) > _CAUSES:
        yield ""
        yield f"… and {_count(len(causes) - _CAUSES, 'more cause')}"
    yield from _unfit(verdict, style)
    if verdict.failure is not None and verdict.failure.output:
        yield ""
        yield style("strong", "The build's last output")
        yield from (f"  {line}" for line in verdict.failure.output)


def _cause(number: int, cause: Cause, verdict: Verdict, style: Style) -> Iterator[str]:
    yield f"{number}. {style('strong', cause.title)}{_where(cause, len(verdict.results))}"
    for difference in cause.differences[:_DIFFERENCES]:
        yield from _difference(difference, style)
    if len(cause.differences) > _DIFFERENCES:
        yield f"   … and {_count(len(cause.differences) - _DIFFERENCES, 'more difference')}"
    for position in cause.consequences[:_CONSEQUENCES]:
        result = verdict.results[position]
        yield f"   so {result.endpoint} differs: {describe(result.differences[0])}"
    if (more := len(cause.consequences) - _CONSEQUENCES) > 0:
        yield f"   so {_count(more, 'more exchange')} differ{'s' if more == 1 else ''}"


def _where(cause: Cause, total: int) -> str:
    if not cause.positions:
        return "  (before the first exchange)"
    first, others = cause.positions[0] + 1, len(cause.positions) - 1
    more = f" and {others} more like it" if others else ""
    return f"  (exchange {first} of {total}{more})"


def _difference(difference: Difference, style: Style) -> Iterator[str]:
    label = _label(difference)
    expected, actual = _shown(difference.expected), _shown(difference.actual)
    if difference.expected is None and difference.actual is None:
        yield f"   {label}  {difference.reason}"
    elif difference.kind == "response":
        yield f"   {label}  expected {expected}, {difference.reason}"
    elif "\n" not in expected + actual and max(len(expected), len(actual)) <= _ONE_LINE:
        yield f"   {label}  expected {style('good', expected)}, actual {style('bad', actual)}"
    else:
        yield f"   {label}  {difference.reason}"
        yield from _block("expected", expected, "good", style)
        yield from _block("actual", actual, "bad", style)


def _block(word: str, text: str, kind: str, style: Style) -> Iterator[str]:
    first, *rest = text.split("\n")
    yield f"     {word:8}  {style(kind, first)}"
    for line in rest:
        yield f"               {style(kind, line)}"


def _unfit(verdict: Verdict, style: Style) -> Iterator[str]:
    unfit = [
        f"{result.endpoint} (exchange {result.position + 1}, {result.id}): {result.note}"
        for result in verdict.results
        if result.state is State.UNFIT
    ]
    unfit += [
        f"upstream call {call.upstream} {call.call} ({call.id}): {call.reason}"
        for call in verdict.unfit_calls
    ]
    if verdict.truncated is not None:
        unfit.append(verdict.truncated)
    if not unfit:
        return
    yield ""
    yield style("strong", "The recording is not fit to judge")
    yield from (f"   {line}" for line in unfit[:_CAUSES])
    if len(unfit) > _CAUSES:
        yield f"   … and {len(unfit) - _CAUSES} more"


def _label(difference: Difference) -> str:
    if difference.kind in ("field", "trailer", "query"):
        return f"{difference.kind} {difference.place}"
    return difference.place


def _shown(value: str | None) -> str:
    if value is None:
        return _ABSENT
    # What a build sends must not move the reader's cursor.
    return "".join(c if c.isprintable() or c == "\n" else _escape(c) for c in value)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _one_line(value: str | None) -> str:
    text = _shown(value).replace("\n", "\\n")
    return text if len(text) <= 2 * _ONE_LINE else f"{text[: 2 * _ONE_LINE]}…"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
