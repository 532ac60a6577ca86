"""What a mock writes: the recorded answer in today's terms, a recorded fault, or that of a miss."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

from wiretape.exchange.content import ContentError, field_value
from wiretape.exchange.http1 import write_response
from wiretape.exchange.http1.writer import framed_content, response_head
from wiretape.exchange.v1.exchange_pb2 import (
    ConnectionEnd,
    HttpRequest,
    HttpResponse,
)
from wiretape.replayer.carried import Carried
from wiretape.replayer.compare.content import media_type, plain
from wiretape.replayer.mocks.calls import Call
from wiretape.replayer.mocks.findings import Miss
from wiretape.replayer.mocks.mock_time import is_signed, shifted
from wiretape.replayer.mocks.names import call_text, closes
from wiretape.replayer.values import Correlation

MISS_STATUS = 599
_NOT_SENT = frozenset([100, 101])
_TEXTUAL = ("json", "xml", "javascript", "x-www-form-urlencoded", "csv", "graphql")
# An upstream that ends a connection mostly does so at once.
_STALL_NS = 200 * 10**6
# How much longer than recorded an upstream that gave no answer gives none.
_PATIENCE_NS = 10**9
# How many answers are known as they were written, and how much each may hold.
_MAX_KNOWN, _MAX_KNOWN_BYTES = 1024, 32768


@dataclass(frozen=True, slots=True)
class Answer:
    """What the listener writes, and whether it ends the connection then.

    Nothing to write repeats an upstream that ended the connection without an answer. `wait_ns`
    passes before it is written, `hold_ns` between that and the end; `reset` ends it by RST. `miss`
    says that it was not recorded.
    """

    wire: bytes
    close: bool
    wait_ns: int = 0
    hold_ns: int = 0
    reset: bool = False
    miss: Miss | None = None


class _Today:
    """Puts what was recorded in live values and times, and notes what that depended on."""

    def __init__(
        self, correlation: Correlation, recorded_at_ns: int, at_ns: int, shifts: bool
    ) -> None:
        self._correlation = correlation
        self._recorded_at_ns = recorded_at_ns
        self._shift_ns = at_ns - recorded_at_ns
        self._shifts = shifts
        self.texts: list[bytes] = []
        self.times: dict[int, int] = {}
        self.has_renamed = False

    def write(self, data: bytes, signed: bool) -> bytes:
        live = self._correlation.to_live(data)
        self.texts.append(data)
        self.has_renamed |= live != data
        if self._shifts and not signed:
            known = self._correlation.instants
            live = shifted(live, self._recorded_at_ns, self._shift_ns, known, self.times)
        return live


class _Known(NamedTuple):
    """An answer as it was written: it is the same again as long as nothing in `texts` has another
    name live, and `times` are paired as they were."""

    answer: Answer
    texts: tuple[bytes, ...]
    times: tuple[tuple[int, int], ...]

    def holds(self, correlation: Correlation) -> bool:
        instants, to_live = correlation.instants, correlation.to_live
        for recorded_ns, live_ns in self.times:
            if instants.get(recorded_ns) != live_ns:
                return False
        return all(to_live(text) == text for text in self.texts)


class Answers:
    """Writes recorded answers. `pace`: what part of the recorded time they take, 0 for none."""

    def __init__(
        self, correlation: Correlation, carried: Carried, shift: bool = True, pace: float = 0
    ) -> None:
        self._correlation = correlation
        self._carried = carried
        self._shifts = shift
        self._pace = pace
        self._known: dict[int, _Known] = {}

    def recorded(self, call: Call, request: HttpRequest, at_ns: int) -> Answer:
        """The answer of `call` to the live `request`, which came at `at_ns`."""
        self._carried.called(call.number, request)
        known = self._known.get(call.number)
        if known is not None and known.holds(self._correlation):
            answer = known.answer
        else:
            answer = self._written(call, at_ns)
        return replace(answer, close=True) if not answer.close and closes(request) else answer

    def _written(self, call: Call, at_ns: int) -> Answer:
        recorded = call.exchange.http
        asked_ns = recorded.request.last_byte_at_ns
        if call.unanswered:
            hold_ns = self._hold_ns(call.end, asked_ns)
            return Answer(b"", True, 0, hold_ns, _is_reset(call.end))
        interim = b"".join(write_response(m) for m in recorded.interim if m.status not in _NOT_SENT)
        began_ns = recorded.request.first_byte_at_ns
        today = _Today(self._correlation, began_ns, at_ns, self._shifts)
        wire = interim + self._live(call, today)
        wait_ns = max(0, int((recorded.response.first_byte_at_ns - asked_ns) * self._pace))
        if recorded.response.content.complete:
            answer = Answer(wire, closes(recorded.response), wait_ns)
        else:
            hold_ns = self._hold_ns(call.end, recorded.response.last_byte_at_ns)
            answer = Answer(wire, True, wait_ns, hold_ns, _is_reset(call.end))
        self._learn(call.number, answer, today)
        return answer

    def _learn(self, number: int, answer: Answer, today: _Today) -> None:
        self._known.pop(number, None)
        if today.has_renamed or len(answer.wire) + sum(map(len, today.texts)) > _MAX_KNOWN_BYTES:
            return
        self._known[number] = _Known(answer, tuple(today.texts), tuple(today.times.items()))
        if len(self._known) > _MAX_KNOWN:
            del self._known[next(iter(self._known))]

    def _live(self, call: Call, today: _Today) -> bytes:
        """The response with live values and times; codings are undone where that changes it."""
        recorded = call.exchange.http.response
        if recorded.status in _NOT_SENT:
            return b""
        response = self._carried.answer(call.number, recorded, self._correlation)
        today.has_renamed |= response is not recorded
        head, content = response_head(response), response.content
        signed = is_signed(head)
        coded = field_value(response.fields, b"content-encoding")
        data = live = content.data
        if data and is_textual(response) and (content.complete or not coded):
            with suppress(ContentError):
                data = plain(response)
                live = today.write(data, signed)
        if live != data:
            response = _with_content(response, live, len(live) - len(content.data))
            head, content = response_head(response), response.content
        return today.write(head, signed) + framed_content(content, response.trailers)

    def _hold_ns(self, end: ConnectionEnd | None, since_ns: int) -> int:
        """How long nothing more comes before the connection ends.

        Where the service gave up, our end must come after its own patience, so that it gives up
        again.
        """
        if end is None:
            return 0
        if end.client_closed_at_ns:
            return max(0, end.client_closed_at_ns - since_ns) + _PATIENCE_NS
        after_ns = end.closed_at_ns - since_ns
        if after_ns < _STALL_NS:
            return 0
        # Of a reset it is not known whose it was.
        return after_ns + (_PATIENCE_NS if _is_reset(end) else 0)


def _with_content(response: HttpResponse, data: bytes, longer: int) -> HttpResponse:
    """The same response with uncoded `data` as its content, framed as it was; of a content that
    ended early, what is missing stays missing."""
    copy = HttpResponse()
    copy.CopyFrom(response)
    copy.content.data = data
    if longer or field_value(response.fields, b"content-encoding"):
        copy.head = b""
        del copy.content.chunk_lengths[:], copy.fields[:]
        for field in response.fields:
            name = field.name.lower()
            if name == b"content-length":
                copy.fields.add(name=field.name, value=b"%d" % (response.content.length + longer))
            elif name != b"content-encoding":
                copy.fields.append(field)
    return copy


def is_textual(response: HttpResponse) -> bool:
    """Whether the content can hold ids and times that are to be read as text."""
    kind = media_type(response)
    return not kind or kind.startswith("text/") or kind.endswith(_TEXTUAL)


def _is_reset(end: ConnectionEnd | None) -> bool:
    return end is not None and end.how == ConnectionEnd.RESET


def miss_answer(miss: Miss, request: HttpRequest) -> Answer:
    """Status 599, and in the content what was recorded instead."""
    said = {
        "error": f"wiretape: no recorded answer to {call_text(request)} of {miss.name}",
        "reason": miss.reason,
        "nearest": call_text(miss.nearest.request) if miss.nearest else None,
        "differences": [
            {"place": d.place, "expected": d.expected, "actual": d.actual} for d in miss.differences
        ],
    }
    content = json.dumps(said, indent=2).encode() + b"\n"
    head = (
        f"HTTP/1.1 {MISS_STATUS} Not Recorded\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    ).encode()
    wire = head if request.method == "HEAD" else head + content
    return Answer(wire, closes(request), miss=miss)
