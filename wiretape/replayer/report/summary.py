"""The summary of the page: what one reads first, and what is there without any script."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from wiretape.replayer.causes import Cause
from wiretape.replayer.compare import Difference
from wiretape.replayer.report.chart import both, latency_chart
from wiretape.replayer.report.curl import curl_command
from wiretape.replayer.report.words import (
    count,
    describe,
    headline,
    label,
    milliseconds,
    shown,
    unfit_lines,
)
from wiretape.replayer.verdict import Latency, Result, Verdict

_CAUSES = 200
_OPEN = 3
_CONSEQUENCES = 50
_LISTED = 500


def summary(verdict: Verdict, causes: list[Cause]) -> Iterator[str]:
    """HTML, in pieces."""
    yield from _top(verdict)
    if causes:
        yield f"<h2>{count(len(causes), 'cause')}, what to mend first at the head</h2>\n"
        for number, cause in enumerate(causes[:_CAUSES], 1):
            yield from _cause(number, cause, verdict)
        if len(causes) > _CAUSES:
            yield f'<p class="weak">and {len(causes) - _CAUSES} more</p>\n'
    yield from _listed("The recording is not fit to judge", unfit_lines(verdict))
    yield from _accepted(verdict)
    yield from _others(verdict)
    yield from _latency(verdict)
    output = verdict.output or (verdict.failure.output if verdict.failure is not None else ())
    if output:
        text = _text("\n".join(output))
        opened = " open" if verdict.failure is not None else ""
        yield (
            f'<h2>The build\'s output</h2>\n<details class="card pad more"{opened}>'
            f"<summary>its last {count(len(output), 'line')}</summary><pre>{text}</pre></details>\n"
        )


def _text(text: str | None) -> str:
    return escape(shown(text))


def _top(verdict: Verdict) -> Iterator[str]:
    style = "good" if verdict.exit_code == 0 else "bad"
    yield (
        f'<header class="card top"><div class="badge {style}">{verdict.word}</div>'
        f"<h1>{_text(headline(verdict))}</h1>\n"
        '<div class="meta">'
    )
    facts = [
        ("recording", verdict.recording),
        ("target", verdict.target),
        ("took", milliseconds(verdict.duration_ns // 1000)),
        ("exit code", str(verdict.exit_code)),
    ]
    yield "".join(f"<span>{name} <b>{_text(value)}</b></span>" for name, value in facts)
    yield "".join(f"<span>{_text(note)}</span>" for note in verdict.notes)
    yield "</div></header>\n"


def _cause(number: int, cause: Cause, verdict: Verdict) -> Iterator[str]:
    shows = len(cause.positions)
    where = f"{count(shows, 'exchange')}" if shows else ""
    follows = len(cause.consequences) + len(cause.calls_following)
    if follows:
        where += f"{' · ' if where else ''}{count(follows, 'consequence')}"
    opened = " open" if number <= _OPEN else ""
    yield (
        f'<details class="card cause"{opened}><summary><span class="title">{number}.'
        f' {_text(cause.title)}</span><span class="tag bad">{cause.kind}</span>'
        f'<span class="shows">{where}</span></summary><div class="body">\n'
    )
    if cause.differences:
        yield _differences(cause.differences)
    if len(cause.endpoints) > 1:
        yield f'<p class="weak">at {_text(", ".join(cause.endpoints))}</p>\n'
    if cause.positions:
        yield f"<p>Seen in {_links(cause.positions, verdict)}</p>\n"
    if follows:
        yield from _consequences(cause, verdict)
    if cause.hint:
        yield f'<p class="hint">→ {_text(cause.hint)}</p>\n'
    first = verdict.results[cause.positions[0]] if cause.positions else None
    if first is not None and (command := _command(first, verdict)):
        yield (
            '<details class="more"><summary>the request, as a command</summary>'
            f"<pre>{_text(command)}</pre></details>\n"
        )
    yield "</div></details>\n"


def _command(result: Result, verdict: Verdict) -> str | None:
    kept = result.live_request or result.request
    return curl_command(kept, verdict.target) if kept is not None else None


def _differences(differences: Iterable[Difference]) -> str:
    rows = "".join(
        f'<tr><td class="mono">{escape(label(one))}</td>'
        f'<td class="mono expected">{_text(one.expected)}</td>'
        f'<td class="mono actual">{_text(one.actual)}</td><td>{_text(one.reason)}</td></tr>\n'
        for one in differences
    )
    return (
        '<div class="scroll"><table><thead><tr><th>place</th><th>expected</th><th>actual</th>'
        f"<th>reason</th></tr></thead><tbody>\n{rows}</tbody></table></div>\n"
    )


def _links(positions: tuple[int, ...], verdict: Verdict) -> str:
    links = [
        f'<a href="#open={position + 1}" data-open="{position}"'
        f' title="{_text(verdict.results[position].endpoint)}">{position + 1}</a>'
        for position in positions[:_CONSEQUENCES]
    ]
    more = len(positions) - len(links)
    return ", ".join(links) + (f" and {more} more" if more > 0 else "")


def _consequences(cause: Cause, verdict: Verdict) -> Iterator[str]:
    yield '<details class="more"><summary>consequences</summary><ul>\n'
    for position in cause.consequences[:_CONSEQUENCES]:
        result = verdict.results[position]
        said = describe(result.differences[0]) if result.differences else "differs"
        via = f"; it carries {cause.via[position]}" if position in cause.via else ""
        yield (
            f'<li><a href="#open={position + 1}" data-open="{position}">exchange {position + 1}'
            f"</a> {_text(result.endpoint)}: {_text(said)}{_text(via)}</li>\n"
        )
    for index in cause.calls_following[:_CONSEQUENCES]:
        finding = verdict.upstream[index]
        call = _text(f"{finding.upstream} {finding.call}")
        yield f"<li>upstream call {finding.kind}: {call}</li>\n"
    yield "</ul></details>\n"


def _latency_table(latency: Iterable[Latency]) -> str:
    names = ("p50", "p90", "p95", "p99", "max")
    rows = "".join(
        f'<tr><td class="mono">{_text(one.endpoint) or "all endpoints"}</td>'
        + "".join(f'<td class="number">{both(one, f"{name}_us")}</td>' for name in names)
        + "</tr>\n"
        for one in latency
    )
    heads = "".join(f'<th class="number">{name}</th>' for name in names)
    return (
        '<details class="more"><summary>as a table, recorded → live</summary><div class="scroll">'
        f"<table><thead><tr><th>endpoint</th>{heads}</tr></thead><tbody>\n{rows}</tbody></table>"
        "</div></details>"
    )


def _listed(title: str, lines: list[str]) -> Iterator[str]:
    if not lines:
        return
    items = "".join(f"<li>{_text(line)}</li>\n" for line in lines[:_LISTED])
    more = f"<li>and {len(lines) - _LISTED} more</li>" if len(lines) > _LISTED else ""
    content = f'<div class="card pad"><ul>{items}{more}</ul></div>'
    yield f"<section><h2>{title}</h2>\n{content}</section>\n"


def _accepted(verdict: Verdict) -> Iterator[str]:
    kinds = verdict.accepted.by_kind()
    if not kinds:
        return
    chips = "".join(
        f'<span class="chip"><b>{number:,}</b> {_text(kind)}</span>'
        for kind, number in kinds.items()
    )
    groups = list(verdict.accepted)
    rows = "".join(
        f"<tr><td>{_text(one.kind)}</td><td class='mono'>{_text(one.endpoint)}</td>"
        f"<td class='mono'>{_text(f'{one.part} {one.name}'.strip())}</td>"
        f"<td class='number'>{group.count:,}</td><td class='mono'>{_text(one.recorded)}</td>"
        f"<td class='mono'>{_text(one.live)}</td><td>{_text(one.why)}</td></tr>\n"
        for group in groups[:_LISTED]
        for one in [group.example]
    )
    yield (
        '<h2>Accepted as generated</h2>\n<div class="card pad">'
        f'<div class="chips">{chips}</div><details class="more"><summary>where, and why</summary>'
        '<div class="scroll"><table><thead><tr><th>class</th><th>endpoint</th><th>place</th>'
        '<th class="number">values</th><th>recorded, for one</th><th>live</th><th>why</th></tr>'
        f"</thead><tbody>\n{rows}</tbody></table></div></details></div>\n"
    )


def _others(verdict: Verdict) -> Iterator[str]:
    """What judges nothing, and what was judged apart from the exchanges."""
    conditions = [
        f"{one.expression}: {one.actual}, {'holds' if one.holds else 'does not hold'}"
        for one in verdict.conditions
    ]
    yield '<div class="columns">'
    yield from _listed("Conditions (--fail-if)", conditions)
    attempts = [
        f"{one.transport} {one.where}, {count(one.times, 'time')}"
        + (", let out of this machine" if one.let_out else "")
        for one in sorted(verdict.attempts, key=lambda one: (one.let_out, one.where))
    ]
    yield from _listed("Tried to reach, and not recorded", attempts)
    moved = sorted({f"{one.upstream} {one.call}" for one in verdict.moved})
    yield from _listed("Answered in another exchange than recorded", moved)
    yield from _listed("Rules that match nothing", verdict.unused_rules)
    yield "</div>\n"


def _latency(verdict: Verdict) -> Iterator[str]:
    if not any(one.recorded or one.live for one in verdict.latency):
        return
    yield '<h2>Latency, recorded against live</h2>\n<div class="card pad">'
    yield (
        '<div class="legend"><span><i class="recorded"></i>recorded</span>'
        '<span><i class="live"></i>live</span><span>● p50 &nbsp; | p95 &nbsp; — up to p99'
        "</span></div>"
    )
    yield latency_chart(verdict.latency)
    yield _latency_table(verdict.latency)
    if (late := verdict.lateness) is not None:
        yield (
            f'<p class="weak">behind schedule: p50 {milliseconds(late.p50_us)},'
            f" p99 {milliseconds(late.p99_us)}, at most {milliseconds(late.max_us)}</p>"
        )
    yield "</div>\n"
