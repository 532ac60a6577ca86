"""A live response against the recorded one.

Left out, because they have no meaning beyond one connection: the version, the reason phrase
(RFC 9110 §15), the hop-by-hop fields, framing, and 100 (Continue), which a server may leave out.

A server may choose another content coding among those that the request accepts, or none
(RFC 9110 §12.5.3): then Content-Encoding, Accept-Encoding within Vary, and what an entity tag says
of the coding are no differences. The content is compared without coding all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from wiretape.exchange.content import field_value
from wiretape.exchange.v1.exchange_pb2 import HttpExchange, HttpRequest, HttpResponse
from wiretape.replayer.compare.content import compare_contents, sent, unsaid_coding
from wiretape.replayer.compare.difference import Difference
from wiretape.replayer.compare.field_values import elements, parameters
from wiretape.replayer.compare.fields import HOP_BY_HOP, Groups, compare_groups, grouped
from wiretape.replayer.compare.view import View
from wiretape.replayer.values.judgement import Judgement

_CONTINUE = 100
_CODING = "content-encoding"
_LENGTH = "content-length"
# Servers that code a content mark its entity tag, for the bytes are others.
_CODED_TAG = re.compile(r'[-;:]+(?:gzip|deflate|br|zstd)"$')


def compare_responses(
    recorded: HttpExchange,
    live: HttpResponse,
    live_interim: Sequence[HttpResponse],
    judgement: Judgement,
) -> list[Difference]:
    """All differences, the status first."""
    view = View(judgement)
    expected = recorded.response
    found: list[Difference] = []
    if expected.status != live.status:
        found.append(
            Difference("status", "status", str(expected.status), str(live.status), "another status")
        )
    found += _compare_interim(recorded.interim, live_interim, view)
    groups, others = grouped(expected.fields, HOP_BY_HOP), grouped(live.fields, HOP_BY_HOP)
    contents = sent(expected.content, groups), sent(live.content, others)
    if groups.get(_CODING) != others.get(_CODING) and accepts(
        recorded.request, ", ".join(others.get(_CODING, ()))
    ):
        _leave_out_negotiation(groups)
        _leave_out_negotiation(others)
    elif unsaid_coding(*contents):
        groups.pop(_CODING, None)  # the content's difference names it
    found += compare_groups(groups, others, view)
    if recorded.request.method == "HEAD" or expected.status == 304:
        found += _compare_unsent_length(expected, live, view)
    found += compare_contents(*contents, view)
    if expected.trailers or live.trailers:
        trailers, others = (
            grouped(expected.trailers, HOP_BY_HOP),
            grouped(live.trailers, HOP_BY_HOP),
        )
        found += compare_groups(trailers, others, view, "trailer")
    return found


def accepts(request: HttpRequest, codings: str) -> bool:
    """Whether a request that names any coding accepts `codings`, "" being none.

    A request without Accept-Encoding would accept all (RFC 9110 §12.5.3), but negotiates nothing.
    """
    named = field_value(request.fields, b"accept-encoding").decode("latin-1").lower()
    if not named:
        return False
    weights = {
        coding.removeprefix("x-"): dict(found).get("q") or "1"
        for coding, found in map(parameters, elements(named))
    }
    refused = {coding for coding, weight in weights.items() if not weight.strip("0.")}
    for coding in elements(codings.lower()) or ["identity"]:
        coding = coding.removeprefix("x-")
        if coding in refused or (coding not in weights and "*" in refused):
            return False
        if coding not in weights and "*" not in weights and coding != "identity":
            return False
    return True


def _leave_out_negotiation(groups: Groups) -> None:
    groups.pop(_CODING, None)
    vary = elements(", ".join(groups.pop("vary", ())))
    kept = [name for name in vary if name.lower() != "accept-encoding"]
    if kept:
        groups["vary"] = kept
    if "etag" in groups:
        groups["etag"] = [_CODED_TAG.sub('"', tag.removeprefix("W/")) for tag in groups["etag"]]


def _compare_interim(
    recorded: Sequence[HttpResponse], live: Sequence[HttpResponse], view: View
) -> list[Difference]:
    if not recorded and not live:
        return []
    expected = [interim for interim in recorded if interim.status != _CONTINUE]
    actual = [interim for interim in live if interim.status != _CONTINUE]
    statuses = [[interim.status for interim in side] for side in (expected, actual)]
    if statuses[0] != statuses[1]:
        before, now = (" ".join(map(str, side)) or None for side in statuses)
        return [Difference("interim", "interim", before, now, "other interim responses")]
    found: list[Difference] = []
    for interim, other in zip(expected, actual, strict=True):
        groups, others = grouped(interim.fields, HOP_BY_HOP), grouped(other.fields, HOP_BY_HOP)
        found += compare_groups(groups, others, view)
    return found


def _compare_unsent_length(
    expected: HttpResponse, actual: HttpResponse, view: View
) -> list[Difference]:
    """No content says it, so the field must: what a GET would have returned (RFC 9110 §8.6).

    A side that would send chunks has no length to tell, and a server may leave the field out. Of a
    coded content the length says how well it was compressed.
    """
    if any(field_value(side.fields, _CODING.encode()) for side in (expected, actual)):
        return []
    before, now = (
        field_value(side.fields, _LENGTH.encode()).decode("latin-1") for side in (expected, actual)
    )
    if not before or not now or view.same_text(before, now, "field", _LENGTH):
        return []
    reason = "the length of the content differs"
    return [view.difference("field", _LENGTH, _LENGTH, before, now, reason)]


def unsent_length(found: Iterable[Difference]) -> Difference | None:
    """The difference between lengths that are told and not sent."""
    return next((each for each in found if each.kind == "field" and each.place == _LENGTH), None)
