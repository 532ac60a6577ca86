"""An upstream call that the build makes against a recorded one.

Compared are the path, the query as a multiset, the content, and every field that belongs to the
message. Left out is what depends on the client's library, its connection or its tracing.
"""

from __future__ import annotations

import re

from wiretape.exchange.v1.exchange_pb2 import HttpRequest
from wiretape.replayer.compare.content import canonical_content, compare_contents
from wiretape.replayer.compare.difference import Difference, shorten
from wiretape.replayer.compare.fields import HOP_BY_HOP, compare_fields, grouped, normal_value
from wiretape.replayer.correlate import Judgement

# The listener says which upstream is meant, so Host does not count.
NOT_MATCHED = HOP_BY_HOP | frozenset(
    [
        "accept-encoding",
        "b3",
        "baggage",
        "date",
        "expect",
        "forwarded",
        "host",
        "tracestate",
        "traceparent",
        "user-agent",
        "via",
        "x-b3-flags",
        "x-b3-parentspanid",
        "x-b3-sampled",
        "x-b3-spanid",
        "x-b3-traceid",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
    ]
)
_ABSOLUTE_FORM = re.compile(rb"(?i:https?)://[^/?]*")

Key = tuple[str, str, tuple[str, ...], tuple[tuple[str, str], ...], bytes]


def origin_form(target: bytes) -> tuple[str, list[str]]:
    """Path and query parts of a request target, absolute-form included (RFC 9112 §3.2)."""
    match = _ABSOLUTE_FORM.match(target)
    path, _, query = (target[match.end() :] if match else target).partition(b"?")
    return path.decode("latin-1") or "/", query.decode("latin-1").split("&") if query else []


def exact_key(request: HttpRequest) -> Key:
    """Equal for two calls that mean the same without any renaming."""
    path, query = origin_form(request.target)
    fields = grouped(request.fields, NOT_MATCHED)
    return (
        request.method,
        path,
        tuple(sorted(query)),
        tuple(sorted((name, normal_value(name, values)) for name, values in fields.items())),
        canonical_content(request),
    )


def compare_requests(
    recorded: HttpRequest, live: HttpRequest, judgement: Judgement
) -> list[Difference]:
    """All differences but the method's, which is given to be the same; the path first."""
    path, query = origin_form(recorded.target)
    live_path, live_query = origin_form(live.target)
    found: list[Difference] = []
    if not judgement.same_text(path, live_path):
        found.append(Difference("path", "path", shorten(path), shorten(live_path), "another path"))
    found += _compare_queries(query, live_query, judgement)
    found += compare_fields(recorded.fields, live.fields, judgement, left_out=NOT_MATCHED)
    return found + compare_contents(recorded, live, judgement)


def _compare_queries(
    recorded: list[str], live: list[str], judgement: Judgement
) -> list[Difference]:
    left = list(live)
    unmatched: list[str] = []
    for part in recorded:
        if part in left:
            left.remove(part)
        else:
            unmatched.append(part)
    found: list[Difference] = []
    for part in unmatched:
        name, _, value = part.partition("=")
        named = [other for other in left if other.partition("=")[0] == name]
        same = next((other for other in named if judgement.same_text(part, other)), None)
        if same is not None:
            left.remove(same)
            continue
        actual = None
        if named:
            left.remove(named[0])
            actual = shorten(named[0].partition("=")[2])
        found.append(Difference("query", name, shorten(value), actual, "another query parameter"))
    for part in left:
        name, _, value = part.partition("=")
        found.append(
            Difference("query", name, None, shorten(value), "the parameter was not recorded")
        )
    return found
