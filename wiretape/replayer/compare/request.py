"""An upstream call that the build makes against a recorded one.

Compared are the path, the query as a multiset, the content, and every field that belongs to the
message. Left out is what depends on the client's library, its connection or its tracing; a `match`
rule puts a field back.
"""

from __future__ import annotations

import re

from wiretape.exchange.v1.exchange_pb2 import HttpRequest
from wiretape.replayer.compare.content import canonical_content, compare_contents, sent
from wiretape.replayer.compare.cookies import cookie_pairs
from wiretape.replayer.compare.difference import Difference
from wiretape.replayer.compare.field_values import normal_value
from wiretape.replayer.compare.fields import HOP_BY_HOP, compare_groups, grouped
from wiretape.replayer.compare.order import pair
from wiretape.replayer.compare.view import View
from wiretape.replayer.rules import NO_RULES, RulesHere
from wiretape.replayer.values.judgement import Judgement

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
        "sentry-trace",
        "tracestate",
        "traceparent",
        "uber-trace-id",
        "user-agent",
        "via",
        "x-amzn-trace-id",
        "x-b3-flags",
        "x-b3-parentspanid",
        "x-b3-sampled",
        "x-b3-spanid",
        "x-b3-traceid",
        "x-cloud-trace-context",
        "x-datadog-origin",
        "x-datadog-parent-id",
        "x-datadog-sampling-priority",
        "x-datadog-tags",
        "x-datadog-trace-id",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
    ]
)
_ABSOLUTE_FORM = re.compile(rb"(?i:https?)://[^/?]*")
_ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")

Key = tuple[str, str, tuple[str, ...], tuple[tuple[str, str], ...], bytes]


def origin_form(target: bytes) -> tuple[str, list[str]]:
    """Path and query parts of a request target, absolute-form included (RFC 9112 §3.2).

    What is percent-encoded without need is not, and hex digits are upper-case (RFC 3986 §6.2.2).
    """
    match = _ABSOLUTE_FORM.match(target)
    text = (target[match.end() :] if match else target).decode("latin-1")
    if "%" in text:
        text = _ENCODED.sub(_normal_octet, text)
    path, _, query = text.partition("?")
    return path or "/", query.split("&") if query else []


def _normal_octet(match: re.Match[str]) -> str:
    character = chr(int(match[1], 16))
    return character if character in _UNRESERVED else match[0].upper()


def exact_key(request: HttpRequest, rules: RulesHere = NO_RULES) -> Key:
    """Equal for two calls that mean the same without any renaming or rule.

    `rules` are those of its endpoint: they may say that further fields count.
    """
    path, query = origin_form(request.target)
    fields = grouped(request.fields, NOT_MATCHED - rules.matched)
    return (
        request.method,
        path,
        tuple(sorted(query)),
        tuple(sorted((name, _field_key(name, values)) for name, values in fields.items())),
        canonical_content(sent(request.content, fields)),
    )


def _field_key(name: str, values: list[str]) -> str:
    return repr(cookie_pairs(values)) if name == "cookie" else normal_value(name, values)


def compare_requests(
    recorded: HttpRequest, live: HttpRequest, judgement: Judgement
) -> list[Difference]:
    """All differences but the method's, which is given to be the same; the path first."""
    judgement.messages([recorded], [live])
    view = View(judgement)
    path, query = origin_form(recorded.target)
    live_path, live_query = origin_form(live.target)
    found: list[Difference] = []
    if not view.same_text(path, live_path, "path", "path"):
        reason = f"another path: {view.why}" if view.why else "another path"
        found.append(view.difference("path", "path", "path", path, live_path, reason))
    found += _compare_queries(query, live_query, view)
    left_out = NOT_MATCHED - view.rules.matched
    fields, others = grouped(recorded.fields, left_out), grouped(live.fields, left_out)
    contents = sent(recorded.content, fields), sent(live.content, others)
    found += compare_groups(fields, others, view)
    return found + compare_contents(*contents, view)


def _compare_queries(recorded: list[str], live: list[str], view: View) -> list[Difference]:
    if recorded == live:
        return []
    left = list(live)
    unmatched: list[str] = []
    for part in recorded:
        if part in left:
            left.remove(part)
        else:
            unmatched.append(part)

    def same(index: int, other: int) -> bool:
        (name, _, value), (key, _, text) = (
            unmatched[index].partition("="),
            left[other].partition("="),
        )
        return name == key and view.same_text(value, text, "query", name)

    _, first, second = pair(len(unmatched), len(left), same)
    others = [left[index] for index in second]
    found: list[Difference] = []
    for part in (unmatched[index] for index in first):
        name, _, value = part.partition("=")
        if view.ignores("query", name):
            continue
        actual = next((other for other in others if other.partition("=")[0] == name), None)
        shown = None
        if actual is not None:
            others.remove(actual)
            shown = actual.partition("=")[2]
        reason = "another query parameter" if actual else "the parameter is missing"
        found.append(view.difference("query", name, name, value, shown, reason))
    for part in others:
        name, _, value = part.partition("=")
        if not view.ignores("query", name):
            reason = "the parameter was not recorded"
            found.append(view.difference("query", name, name, None, value, reason))
    return found
