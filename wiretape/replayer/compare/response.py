"""A live response against the recorded one.

Left out, because they have no meaning beyond one connection: the version, the reason phrase
(RFC 9110 §15), the hop-by-hop fields, framing, and 100 (Continue), which a server may leave out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wiretape.exchange.content import field_value
from wiretape.exchange.v1.exchange_pb2 import HttpExchange, HttpResponse
from wiretape.replayer.compare.content import compare_contents
from wiretape.replayer.compare.difference import Difference
from wiretape.replayer.compare.fields import compare_fields
from wiretape.replayer.correlate import Judgement

_CONTINUE = 100


def compare_responses(
    recorded: HttpExchange,
    live: HttpResponse,
    live_interim: Sequence[HttpResponse],
    judgement: Judgement,
) -> list[Difference]:
    """All differences, the status first."""
    expected = recorded.response
    found: list[Difference] = []
    if expected.status != live.status:
        found.append(
            Difference("status", "status", str(expected.status), str(live.status), "another status")
        )
    found += _compare_interim(recorded.interim, live_interim, judgement)
    found += compare_fields(expected.fields, live.fields, judgement)
    if recorded.request.method == "HEAD" or expected.status == 304:
        found += _compare_unsent_length(expected, live)
    found += compare_contents(expected, live, judgement)
    found += compare_fields(expected.trailers, live.trailers, judgement, "trailer")
    return found


def _compare_interim(
    recorded: Iterable[HttpResponse], live: Iterable[HttpResponse], judgement: Judgement
) -> list[Difference]:
    expected = [interim for interim in recorded if interim.status != _CONTINUE]
    actual = [interim for interim in live if interim.status != _CONTINUE]
    statuses = [[interim.status for interim in side] for side in (expected, actual)]
    if statuses[0] != statuses[1]:
        before, now = (" ".join(map(str, side)) or None for side in statuses)
        return [Difference("interim", "interim", before, now, "other interim responses")]
    found: list[Difference] = []
    for interim, other in zip(expected, actual, strict=True):
        found += compare_fields(interim.fields, other.fields, judgement)
    return found


def _compare_unsent_length(expected: HttpResponse, actual: HttpResponse) -> list[Difference]:
    """No content says it, so the field must: what a GET would have returned (RFC 9110 §8.6).

    A side that would send chunks has no length to tell, and a server may leave the field out.
    """
    before, now = (
        field_value(side.fields, b"content-length").decode("latin-1") for side in (expected, actual)
    )
    if not before or not now or before == now:
        return []
    return [Difference("field", "content-length", before, now, "the length of the content differs")]
