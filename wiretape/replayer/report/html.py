"""The verdict as one page that needs nothing else: no network, no other file.

The summary is plain HTML. The exchanges are data in the page, which its script shows when they are
asked for. What was recorded or sent is only ever text: data blocks hold no "<", the script sets
texts as texts, and a policy in the page lets nothing run or load but the page's own.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from html import escape
from importlib.resources import files
from typing import Any

from wiretape.replayer.alike import endpoint_of
from wiretape.replayer.causes import Cause, causes_of
from wiretape.replayer.kept import Kept
from wiretape.replayer.mocks import MadeCall
from wiretape.replayer.report.summary import summary
from wiretape.replayer.report.words import headline, shown
from wiretape.replayer.verdict import Result, State, Verdict

# What the data of the exchanges may take in the page; those that differ come first.
_MAX_DATA_BYTES = 64 << 20
_MAX_BINARY_BYTES = 4 << 10
_SCRIPTS = ("elements.js", "messages.js", "timeline.js", "page.js")
_STATES = [state.value for state in State]


def html_report(verdict: Verdict) -> str:
    """The whole page."""
    return "".join(html_pieces(verdict))


def html_pieces(verdict: Verdict) -> Iterator[str]:
    """The page in pieces, so that a large one is written without being held."""
    style = _asset("page.css")
    script = "\n".join(_asset(name) for name in _SCRIPTS)
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)};"
        " base-uri 'none'; form-action 'none'"
    )
    causes = causes_of(verdict)
    yield (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{verdict.word} · {escape(shown(headline(verdict)))}</title>\n"
        f"<style>{style}</style>\n</head>\n<body>\n<main>\n"
    )
    yield from summary(verdict, causes)
    yield _EXCHANGES if verdict.results else ""
    yield "</main>\n"
    if verdict.results:
        yield f'<script type="application/json" id="index">{_data(_index(verdict))}</script>\n'
        yield '<script type="application/x-ndjson" id="details">\n'
        yield from _details(verdict, causes)
        yield f"</script>\n<script>{script}</script>\n"
    yield "</body>\n</html>\n"


_EXCHANGES = """<section class="needs-script" hidden>
<h2>Time line</h2>
<div class="card timeline"><header class="chips" id="sides">
<button type="button" data-side="live">live</button>
<button type="button" data-side="recorded">recorded</button></header>
<div id="timeline"></div></div>
<h2 id="exchanges">Exchanges</h2>
<div class="card">
<div class="filters"><input id="text" type="search" placeholder="Text: a path, an id, content"
 aria-label="Text"><span class="chips" id="states"></span>
<select id="endpoint" aria-label="Endpoint"><option value="">every endpoint</option></select>
<span class="shown" id="shown"></span></div>
<div class="panes"><div class="list" id="list" tabindex="0"><div id="rows"></div></div>
<article class="detail" id="detail"></article></div></div>
</section>
<noscript><h2>Exchanges</h2><p class="weak">The list of exchanges, with requests and responses side
by side, needs the script of this page. Everything above does not.</p></noscript>
"""


def _asset(name: str) -> str:
    return (files(__package__) / "page" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _data(value: Any) -> str:
    """JSON in which nothing ends the element that holds it, or begins another."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _index(verdict: Verdict) -> dict[str, Any]:
    """What the list and the time line need, times in µs since the first thing on that side."""
    endpoints: dict[str, int] = {}
    upstreams: dict[str, int] = {}
    results, calls = verdict.results, verdict.calls
    everything: list[Result | MadeCall] = [*results, *calls]
    recorded_ns = min((at for one in everything if (at := one.recorded_at_ns)), default=0)
    live_ns = min((at for one in everything if (at := one.live_at_ns)), default=0)
    rows = [
        [
            endpoints.setdefault(endpoint_of(r.method, r.target), len(endpoints)),
            r.method,
            r.target,
            _STATES.index(r.state.value),
            r.id,
            r.recorded_ns // 1000,
            r.live_ns // 1000,
            _since(r.recorded_at_ns, recorded_ns),
            _since(r.live_at_ns, live_ns),
            len(r.differences),
        ]
        for r in results
    ]
    made = [
        [
            upstreams.setdefault(call.upstream, len(upstreams)),
            call.call,
            call.place,
            call.state.replace("let out", "out"),
            _since(call.recorded_at_ns, recorded_ns),
            call.recorded_ns // 1000,
            _since(call.live_at_ns, live_ns),
            call.live_ns // 1000,
        ]
        for call in calls
    ]
    return {
        "states": _STATES,
        "endpoints": list(endpoints),
        "upstreams": list(upstreams),
        "rows": rows,
        "calls": made,
    }


def _since(at_ns: int, from_ns: int) -> int | None:
    return (at_ns - from_ns) // 1000 if at_ns else None


def _details(verdict: Verdict, causes: list[Cause]) -> Iterator[str]:
    """A line for each exchange, in order; messages as long as there is room for them."""
    told: dict[int, str] = {}
    for number, cause in enumerate(causes, 1):
        for position in cause.positions:
            told.setdefault(position, f"Cause {number}: {cause.title}")
        for position in cause.consequences:
            via = cause.via.get(position)
            carried = f" It carries {via}." if via is not None else ""
            told.setdefault(position, f"A consequence of cause {number}: {cause.title}.{carried}")
    room = _MAX_DATA_BYTES
    for result in verdict.results:
        if result.state is not State.SAME:
            room -= _size(result)
    for result in verdict.results:
        fits = True
        if result.state is State.SAME:
            room -= _size(result)
            fits = room >= 0
        yield _data(_detail(result, told.get(result.position, ""), fits)) + "\n"


def _size(result: Result) -> int:
    """About what the messages take in the page."""
    messages = (result.request, result.response, result.live_request, result.live_response)
    return sum(len(one.head) + len(one.content) for one in messages if one is not None)


def _detail(result: Result, cause: str, fits: bool) -> dict[str, Any]:
    has_messages = fits and result.request is not None
    detail: dict[str, Any] = {
        "note": result.note,
        "cause": cause,
        "differences": [
            {
                "kind": one.kind,
                "place": one.place,
                "expected": one.expected,
                "actual": one.actual,
                "reason": one.reason,
            }
            for one in result.differences
        ],
        "accepted": [
            {
                "kind": one.kind,
                "part": one.part,
                "name": one.name,
                "recorded": one.recorded,
                "live": one.live,
                "why": one.why,
            }
            for one in result.accepted
        ],
        "messages": has_messages,
    }
    if has_messages:
        detail["request"] = _message(result.request)
        detail["response"] = _message(result.response)
        detail["live_request"] = 0 if result.live_request is None else _message(result.live_request)
        unanswered = result.state in (State.UNFIT, State.NOT_RUN) or any(
            one.kind == "response" for one in result.differences
        )
        live = _message(result.live_response)
        detail["live_response"] = live if live is not None or unanswered else 0
    return detail


def _message(kept: Kept | None) -> dict[str, Any] | None:
    if kept is None:
        return None
    return {
        "line": kept.start_line,
        "fields": kept.fields,
        "trailers": kept.trailer_fields,
        "content": _content(kept),
    }


def _content(kept: Kept) -> dict[str, Any] | None:
    if not kept.length:
        return None
    data = kept.plain()
    text = _text(data, kept.whole)
    if text is not None:
        return {"text": text, "length": kept.length, "cut": not kept.whole}
    piece = data[:_MAX_BINARY_BYTES]
    cut = not kept.whole or len(piece) < len(data)
    return {"base64": base64.b64encode(piece).decode(), "length": kept.length, "cut": cut}


def _text(data: bytes, whole: bool) -> str | None:
    """`data` as text where it is any; a piece may end in the middle of a character."""
    for end in range(len(data), max(len(data) - (1 if whole else 4), -1), -1):
        try:
            text = data[:end].decode()
        except UnicodeDecodeError:
            continue
        return None if "\0" in text else text
    return None
