"""One exchange: its request made ready to be sent, and what came back judged."""

from __future__ import annotations

import re
from time import time_ns

from wiretape.exchange.http1 import write_request, write_response
from wiretape.exchange.v1.exchange_pb2 import Content, Exchange
from wiretape.replayer.carried import Carried, Lacking
from wiretape.replayer.compare import Difference, compare_responses
from wiretape.replayer.compare.request import origin_form
from wiretape.replayer.compare.view import View
from wiretape.replayer.io.client import Answer, read_response
from wiretape.replayer.rules import Rules
from wiretape.replayer.values import Correlation, Judgement, Place, Span, endpoint_of
from wiretape.replayer.verdict import Lacking as Lacked
from wiretape.replayer.verdict import Result, State

# Nearly every answer has one, and nearly every answer differs in it alone.
_DATE = re.compile(rb"(?i)\r\ndate: ?([^\r\n]{29})\r\n")


class Attempt:
    """One step of one run: `wire` is what to send, `awaited` what may come without being read."""

    def __init__(
        self,
        position: int,
        exchange: Exchange,
        correlation: Correlation,
        carried: Carried,
        rules: Rules,
    ) -> None:
        self.position = position
        self._exchange = exchange
        self._correlation = correlation
        self._carried = carried
        self._rules = rules
        http = exchange.http
        self._sent = carried.request(position, http.request, correlation)[0]
        self.wire = write_request(self._sent)
        correlation.begin(http.request.first_byte_at_ns, time_ns())
        # A response without interim ones and with an end of its own can be compared as bytes.
        self.awaited: bytes | None = None
        self.date = (0, 0)
        if not http.interim and http.response.content.framing != Content.CLOSE:
            self.awaited = correlation.to_live(write_response(http.response))
            head_end = self.awaited.find(b"\r\n\r\n") + 2
            if found := _DATE.search(self.awaited, 0, head_end):
                self.date = found.span(1)

    def judge(self, answer: Answer, result: Result) -> None:
        """Put into `result` what became of it."""
        self._judge(answer, result)
        self._correlation.end(self._exchange.http.request.first_byte_at_ns)

    def _judge(self, answer: Answer, result: Result) -> None:
        result.live_at_ns = answer.sent_at_ns
        result.live_ns = answer.done_at_ns - answer.sent_at_ns
        if answer.date is not None:
            self._judge_date(answer, answer.date, result)
        if answer.equal and self.awaited is not None:
            self._carried.answered_as_recorded(self.position, self._correlation)
            result.state = State.SAME
            return
        result.differences = self._compare(answer, result)
        lacking = self._carried.answered(self.position, answer.response)
        # Mostly a comparison has said so already.
        result.differences = result.differences or [_not_given(one) for one in lacking]
        result.lacking = [Lacked(*one) for one in self._carried.explain(self.position)]
        result.state = State.DIFFERS if result.differences else State.SAME

    def _judge_date(self, answer: Answer, date: bytes, result: Result) -> None:
        """Nothing but the Date differs; where that is not accepted, the response is read."""
        assert self.awaited is not None
        start, end = self.date
        recorded = self.awaited[start:end].decode()
        judgement = self._judgement(answer, result)
        if View(judgement).same_text(recorded, date.decode("latin-1"), "field", "date"):
            judgement.commit()
            return
        raw = self.awaited[:start] + date + self.awaited[end:]
        answer.equal = False
        answer.response = read_response(raw, self._exchange.http.request.method)

    def _judgement(self, answer: Answer, result: Result) -> Judgement:
        request = self._exchange.http.request
        begun_ns, sent_ns = request.first_byte_at_ns, answer.sent_at_ns
        span = Span(begun_ns, result.recorded_ns, sent_ns, result.live_ns)
        endpoint = endpoint_of(request.method, origin_form(request.target)[0])
        place = Place(endpoint, "response", "", "")
        return Judgement(self._correlation, span, place, rules=self._rules)

    def _compare(self, answer: Answer, result: Result) -> list[Difference]:
        http = self._exchange.http
        if answer.response is None:
            reason = answer.problem or "no response"
            return [Difference("response", "response", str(http.response.status), None, reason)]
        judgement = self._judgement(answer, result)
        judgement.messages([http.request, http.response], [self._sent, answer.response])
        found = compare_responses(http, answer.response, answer.interim, judgement)
        judgement.commit()
        return found


def _not_given(lacking: Lacking) -> Difference:
    reason = "a later request carries what stood here"
    return Difference("content", lacking.place, lacking.value, None, reason)
