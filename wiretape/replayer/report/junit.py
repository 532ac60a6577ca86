"""The verdict as JUnit XML: one test case for each exchange.

An exchange that differs, or whose upstream calls do, is a failure; one that the recording cannot
judge is an error; one that was not run is skipped. What belongs to no exchange (the environment, a
cut recording, calls at start-up) is a case of its own, so that a failed run never looks green.

Names and order are those of Jenkins' schema and of Ant's, which asks for more attributes.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from wiretape.replayer.causes import Cause, causes_of
from wiretape.replayer.mocks import UpstreamFinding
from wiretape.replayer.report.words import accepted_line, describe, headline
from wiretape.replayer.verdict import Result, State, Verdict

# What XML 1.0 cannot hold in any spelling (§2.2).
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_report(verdict: Verdict) -> str:
    """The document, ending in a line feed."""
    suite = ET.Element(
        "testsuite", name="wiretape replay", hostname="localhost", package="", id="0"
    )
    ET.SubElement(suite, "properties")
    follows = {p: cause for cause in causes_of(verdict) for p in cause.consequences}
    by_place: dict[int, list[UpstreamFinding]] = {}
    for finding in verdict.upstream:
        by_place.setdefault(finding.place, []).append(finding)
    for result in verdict.results:
        _case(suite, result, by_place.pop(result.position, []), follows.get(result.position))
    for findings in by_place.values():
        _outcome(_named(suite, "upstream calls at start-up"), "failure", _told(findings))
    if verdict.failure is not None:
        lines = [verdict.failure.message, *verdict.failure.output]
        _outcome(_named(suite, "environment"), "error", lines)
    if verdict.truncated is not None:
        _outcome(_named(suite, "recording"), "error", [verdict.truncated])
    for call in verdict.unfit_calls:
        _outcome(_named(suite, f"recording: {call.upstream} {call.call}"), "error", [call.reason])
    if not verdict.results and verdict.unfit_reason:
        _outcome(_named(suite, "recording"), "error", [verdict.unfit_reason])
    for attempt in verdict.attempts:
        if attempt.counts:
            reason = f"tried over {attempt.transport} and not recorded"
            _outcome(_named(suite, f"reach {attempt.where}"), "failure", [reason])
    for condition in verdict.conditions:
        case = _named(suite, f"--fail-if {condition.expression}")
        if condition.holds:
            _outcome(case, "failure", [f"it holds: {condition.actual}"])
    if verdict.interrupted:
        _outcome(_named(suite, "run"), "error", ["interrupted"])
    for attribute, element in (("failures", "failure"), ("errors", "error")):
        suite.set(attribute, str(len(suite.findall(f"testcase/{element}"))))
    suite.set("skipped", str(len(suite.findall("testcase/skipped"))))
    suite.set("tests", str(len(suite.findall("testcase"))))
    suite.set("time", _seconds(verdict.duration_ns))
    began = datetime.fromtimestamp(verdict.started_at_ns // 10**9, UTC)
    suite.set("timestamp", f"{began:%Y-%m-%dT%H:%M:%S}")
    told = [f"{verdict.word}  {headline(verdict)}", accepted_line(verdict)]
    ET.SubElement(suite, "system-out").text = _xml("\n".join(filter(None, told)))
    ET.SubElement(suite, "system-err").text = _xml("\n".join(verdict.output))
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=False).join(
        ['<?xml version="1.0" encoding="UTF-8"?>\n', "\n"]
    )


def _case(
    suite: ET.Element, result: Result, findings: list[UpstreamFinding], root: Cause | None
) -> None:
    case = _named(suite, f"{result.position + 1:04d} {result.endpoint}")
    case.set("time", _seconds(result.live_ns))
    lines = _told(findings) + [describe(difference) for difference in result.differences]
    if root is not None and lines:
        lines.insert(0, f"follows from: {root.title}")
    if result.state is State.UNFIT:
        _outcome(case, "error", [result.note])
    elif lines:
        _outcome(case, "failure", lines, "consequence" if root is not None else "difference")
    elif result.state is State.NOT_RUN:
        _outcome(case, "skipped", [result.note])


def _told(findings: list[UpstreamFinding]) -> list[str]:
    lines: list[str] = []
    for finding in findings:
        call = f"{finding.upstream} {finding.call}"
        lines.append(f"upstream call {finding.kind}: {call}: {finding.reason}")
        lines += [f"  {describe(difference)}" for difference in finding.differences]
    return lines


def _named(suite: ET.Element, name: str) -> ET.Element:
    return ET.SubElement(suite, "testcase", classname="replay", name=_xml(name), time="0.000")


def _outcome(case: ET.Element, element: str, lines: list[str], kind: str = "") -> None:
    outcome = ET.SubElement(case, element, message=_xml(lines[0]))
    if element != "skipped":
        outcome.set("type", kind or element)
        outcome.text = _xml("\n".join(lines))


def _seconds(duration_ns: int) -> str:
    return f"{duration_ns / 1e9:.3f}"


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
