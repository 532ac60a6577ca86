"""The verdict for programs: one JSON object, schema `wiretape.replay/1`.

The same recording and build give the same object, but for `timings` and for live values and ports
where they differ. Keys, always present, None where there is nothing to say:

    schema       "wiretape.replay/1"; a change that breaks readers raises the number
    verdict      "PASS" | "FAIL" | "UNFIT" | "ERROR" | "INTERRUPTED"
    exit_code    that of the command
    recording, target            as they were given
    counts       {exchanges, compared, same, differs, unfit, not_run, unrelated,
                 upstream_calls_recorded, upstream_calls_answered, upstream_findings}
    truncated    what was cut from the recording, one line
    failure      {message, exchange, output[]} where the environment failed; exchange is the
                 position, from 0, of the one that was due
    causes       [{title, exchanges[], consequences[], differences[]}] grouped, the most
                 important first; exchanges and consequences are positions
    exchanges    [{position, id, method, target, state, note, differences[]}] in replayed order;
                 state is "same" | "differs" | "unfit" | "not_run"
    upstream     [{kind, upstream, call, exchange, reason, nearest, differences[]}]; kind is
                 "missing" | "extra" | "changed", exchange the position in flight, None before all
    unfit_calls  [{id, upstream, call, reason}]
    timings      {duration_ns, exchanges: [{recorded_ns, live_ns}]} in the order of `exchanges`

A difference is {kind, place, expected, actual, reason}: kind is "status", "interim", "field",
"trailer", "json", "text", "bytes", "content", "response", "method", "path" or "query"; place a
field name, a JSON path, lines, an offset; expected and actual are text, None for nothing there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from wiretape.replayer.causes import causes_of
from wiretape.replayer.compare import Difference
from wiretape.replayer.verdict import State, Verdict

SCHEMA = "wiretape.replay/1"


def json_report(verdict: Verdict) -> str:
    """The object, a line for each key and for each element of a list, ending in a line feed."""
    members = (f"  {_dump(name)}: {_lines(value)}" for name, value in _verdict(verdict).items())
    return "{\n" + ",\n".join(members) + "\n}\n"


def _lines(value: Any) -> str:
    if not isinstance(value, list) or not value:
        return _dump(value)
    return "[\n" + ",\n".join(f"    {_dump(element)}" for element in value) + "\n  ]"


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _verdict(verdict: Verdict) -> dict[str, Any]:
    failure = verdict.failure
    return {
        "schema": SCHEMA,
        "verdict": verdict.word,
        "exit_code": verdict.exit_code,
        "recording": verdict.recording,
        "target": verdict.target,
        "counts": {
            "exchanges": len(verdict.results),
            "compared": verdict.compared,
            **{state.value: verdict.count(state) for state in State},
            "unrelated": verdict.unrelated,
            "upstream_calls_recorded": verdict.calls_recorded,
            "upstream_calls_answered": verdict.calls_answered,
            "upstream_findings": len(verdict.upstream),
        },
        "truncated": verdict.truncated,
        "failure": failure
        and {
            "message": failure.message,
            "exchange": failure.place,
            "output": list(failure.output),
        },
        "causes": [
            {
                "title": cause.title,
                "exchanges": list(cause.positions),
                "consequences": list(cause.consequences),
                "differences": _differences(cause.differences),
            }
            for cause in causes_of(verdict)
        ],
        "exchanges": [
            {
                "position": result.position,
                "id": result.id,
                "method": result.method,
                "target": result.target,
                "state": result.state.value,
                "note": result.note or None,
                "differences": _differences(result.differences),
            }
            for result in verdict.results
        ],
        "upstream": [
            {
                "kind": finding.kind,
                "upstream": finding.upstream,
                "call": finding.call,
                "exchange": finding.place if finding.place >= 0 else None,
                "reason": finding.reason,
                "nearest": finding.nearest,
                "differences": _differences(finding.differences),
            }
            for finding in verdict.upstream
        ],
        "unfit_calls": [
            {"id": call.id, "upstream": call.upstream, "call": call.call, "reason": call.reason}
            for call in verdict.unfit_calls
        ],
        "timings": {
            "duration_ns": verdict.duration_ns,
            "exchanges": [
                {"recorded_ns": result.recorded_ns, "live_ns": result.live_ns}
                for result in verdict.results
            ],
        },
    }


def _differences(differences: Iterable[Difference]) -> list[dict[str, str | None]]:
    return [
        {
            "kind": difference.kind,
            "place": difference.place,
            "expected": difference.expected,
            "actual": difference.actual,
            "reason": difference.reason,
        }
        for difference in differences
    ]
