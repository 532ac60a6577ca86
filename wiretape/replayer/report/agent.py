"""The verdict for a coding agent: what to mend first, with the request that shows it.

At most 4,000 bytes. What does not fit is left out by whole lines and counted.
"""

from __future__ import annotations

from collections.abc import Iterator

from wiretape.replayer.causes import Cause, causes_of
from wiretape.replayer.report.curl import curl_command
from wiretape.replayer.report.words import (
    accepted_line,
    count,
    describe,
    headline,
    one_line,
    shown,
    unfit_lines,
)
from wiretape.replayer.verdict import Result, Verdict

MAX_BYTES = 4000
# Kept free for the line that says what was left out.
_RESERVED = 240
_TITLE = 300
_VALUE = 160
_COMMAND = 900
_SECTION = 40
# From all there is to say of a cause to its title alone: (differences, consequences, request).
_LEVELS = ((6, 3, True), (2, 1, True), (1, 0, True), (1, 0, False), (0, 0, False))


def agent_report(verdict: Verdict) -> str:
    """The whole report, ending in a line feed."""
    page = _Page()
    page.put([f"{verdict.word} (exit {verdict.exit_code}): {one_line(headline(verdict), _TITLE)}"])
    page.put([one_line(f"replay run {verdict.recording} --target {verdict.target}", _TITLE)])
    causes = causes_of(verdict)
    if causes:
        page.put([f"{count(len(causes), 'cause')}, what to mend first at the head:"])
    left_out = _put_all(page, verdict, causes)
    for title, lines in _sections(verdict):
        missing = page.put_some(title, lines)
        if missing:
            left_out.append(f"{count(missing, 'line')} of {title}")
    if left_out:
        page.close(f"Left out for want of room: {', '.join(left_out)}; --json has everything")
    return page.text()


class _Page:
    """Lines, as long as there is room for them."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._room = MAX_BYTES - _RESERVED

    def put(self, lines: list[str]) -> bool:
        """All of them, or none where they do not fit."""
        size = sum(len(text.encode()) + 1 for text in lines)
        if size > self._room:
            return False
        self._room -= size
        self._lines += lines
        return True

    def put_some(self, title: str, lines: list[str]) -> int:
        """The title and the last of `lines`; how many did not fit."""
        kept = lines[-_SECTION:]
        while kept and not self.put(["", f"{title}:", *kept]):
            del kept[0]
        return len(lines) - len(kept)

    def close(self, text: str) -> None:
        """The last line; there is always room for it."""
        self._lines.append(text)

    def text(self) -> str:
        return "".join(f"{text}\n" for text in self._lines)


def _put_all(page: _Page, verdict: Verdict, causes: list[Cause]) -> list[str]:
    """Causes in their order, each as full as fits; what was left out, in words."""
    for number, cause in enumerate(causes, 1):
        if not any(page.put(list(_cause(number, cause, verdict, level))) for level in _LEVELS):
            return [count(len(causes) - number + 1, "cause")]
    return []


def _cause(
    number: int, cause: Cause, verdict: Verdict, level: tuple[int, int, bool]
) -> Iterator[str]:
    differences, consequences, request = level
    yield ""
    yield f"{number}. {one_line(cause.title, _TITLE)}"
    first = verdict.results[cause.positions[0]] if cause.positions else None
    if first is not None:
        more = len(cause.positions) - 1
        others = f" and {count(more, 'other')}" if more else ""
        yield f"   seen in exchange {first.position + 1} (id {one_line(first.id)}){others}"
    if len(cause.endpoints) > 1 and differences:
        yield f"   at {one_line(', '.join(cause.endpoints), _VALUE)}"
    for difference in cause.differences[:differences]:
        yield f"   {one_line(describe(difference, _VALUE), 3 * _VALUE)}"
    if (hidden := len(cause.differences) - differences) > 0:
        yield f"   and {count(hidden, 'more difference')}"
    yield from _consequences(cause, verdict, consequences)
    if cause.hint:
        yield f"   to do: {one_line(cause.hint, _TITLE)}"
    if request and first is not None:
        yield f"   {_request(first, verdict)}"


def _consequences(cause: Cause, verdict: Verdict, most: int) -> Iterator[str]:
    total = len(cause.consequences) + len(cause.calls_following)
    if not total:
        return
    named = [
        f"exchange {position + 1} {verdict.results[position].endpoint}"
        for position in cause.consequences[:most]
    ]
    more = total - len(named)
    text = ", ".join([*named, *([f"{more} more"] if more else [])])
    yield f"   so also: {one_line(text, 2 * _VALUE)}"


def _request(result: Result, verdict: Verdict) -> str:
    """The command that sends it again, or where to find what is too long for that."""
    kept = result.live_request or result.request
    command = curl_command(kept, verdict.target) if kept is not None else None
    if command is not None and len(command.encode()) <= _COMMAND:
        return command
    return f"request: capture-agent show {verdict.recording} {result.id} --format http"


def _sections(verdict: Verdict) -> Iterator[tuple[str, list[str]]]:
    unfit = [one_line(text, _TITLE) for text in unfit_lines(verdict)]
    yield "the recording is not fit to judge", unfit
    if verdict.failure is not None:
        output = [one_line(text, _TITLE) for text in verdict.failure.output]
        yield "the build's last output", output
    remarks = [accepted_line(verdict)]
    if verdict.unused_rules:
        remarks.append(f"rules that match nothing: {', '.join(verdict.unused_rules)}")
    yield "judging nothing", [one_line(shown(text), _TITLE) for text in remarks if text]
