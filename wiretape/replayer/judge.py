"""One exchange: its request made ready to be sent, and what came back judged."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from time import time_ns
from typing import NamedTuple

from wiretape.exchange.content import ContentError
from wiretape.exchange.http1 import write_request, write_response
from wiretape.exchange.v1.exchange_pb2 import Content, Exchange, HttpRequest, HttpResponse
from wiretape.replayer.accepted import Acceptance, acceptances
from wiretape.replayer.carried import Carried, Lacking
from wiretape.replayer.compare import Difference, compare_responses
from wiretape.replayer.compare.awaited import Awaited
from wiretape.replayer.compare.content import plain
from wiretape.replayer.compare.request import origin_form
from wiretape.replayer.compare.response import unsent_length
from wiretape.replayer.compare.view import View
from wiretape.replayer.io.client import Answer
from wiretape.replayer.kept import read_response
from wiretape.replayer.rules import Rules
from wiretape.replayer.values import NOWHERE, Correlation, Judgement, Place, Span, endpoint_of
from wiretape.replayer.verdict import Lacking as Lacked
from wiretape.replayer.verdict import Result, State


class Untold(NamedTuple):
    """A length of a content that was not sent, and that differs."""

    position: int
    target: bytes
    difference: Difference

    def is_known(self, correlation: Correlation) -> bool:
        """Whether a GET was answered with the same content, of just these lengths."""
        expected, actual = self.difference.expected or "", self.difference.actual or ""
        return correlation.lengths.knows(self.target, expected, actual)

    def left(self, found: Sequence[Difference]) -> list[Difference]:
        """The other differences."""
        return [each for each in found if each != self.difference]

    @property
    def acceptance(self) -> Acceptance:
        place = self.difference.at or NOWHERE
        values = self.difference.expected or "", self.difference.actual or ""
        why = "as long as the same content that GET was answered with"
        return Acceptance("derived", place.endpoint, place.part, place.name, *values, why)


class Attempt:
    """One step of one run: `wire` is what to send.

    `untold` is set where a length differs that a later GET may yet confirm.
    """

    def __init__(
        self,
        position: int,
        exchange: Exchange,
        correlation: Correlation,
        carried: Carried,
        rules: Rules,
    ) -> None:
        self.position = position
        self.accepted: list[Acceptance] = []
        self.untold: Untold | None = None
        self._exchange = exchange
        self._correlation = correlation
        self._carried = carried
        self._rules = rules
        http = exchange.http
        self._sent = carried.request(position, http.request, correlation)[0]
        self.wire = write_request(self._sent)
        # Before it is sent: what the build makes in it is made later.
        self._ready_ns = time_ns()

    def begin(self) -> None:
        """It is this one's turn."""
        http = self._exchange.http
        begun_ns = http.request.first_byte_at_ns
        lasted_ns = http.response.last_byte_at_ns - begun_ns
        self._correlation.begin(begun_ns, self._ready_ns, lasted_ns)

    def awaited(self) -> Awaited | None:
        """What may come without being read."""
        http = self._exchange.http
        # Without interim ones, and with an end of its own, it can be compared as bytes.
        if http.interim or http.response.content.framing == Content.CLOSE:
            return None
        return Awaited(write_response(http.response))

    def can_wait(self, answer: Answer) -> bool:
        """Whether what follows can begin before this answer is judged: it is short, and no later
        message is known to carry anything of it."""
        return answer.near is not None and not self._carried.takes(self.position)

    def judge(self, answer: Answer, result: Result) -> None:
        """Put into `result` what became of it."""
        result.live_at_ns = answer.sent_at_ns
        result.live_ns = answer.done_at_ns - answer.sent_at_ns
        if answer.equal:
            self._carried.answered_as_recorded(self.position, self._correlation)
            result.state = State.SAME
        elif not self._is_nearly(answer, result):
            self._judge_messages(answer, result)
        self._correlation.end(self._exchange.http.request.first_byte_at_ns)

    def keep(self, answer: Answer, result: Result) -> None:
        """Let `result` have the messages, for reports."""
        http = self._exchange.http
        sent = self._sent if self._sent is not http.request else None
        result.keep(http, sent, self._live(answer))

    def _is_nearly(self, answer: Answer, result: Result) -> bool:
        """Whether all that differs is generated, as far as can be told without reading it."""
        if answer.near is None or self._is_asked_for():
            return False
        judgement = self._judgement(answer, result)
        self._tell_messages(judgement, answer)
        if not answer.near.is_accepted(View(judgement)):
            return False
        self._accept(judgement)
        result.state = State.SAME
        return True

    def _is_asked_for(self) -> bool:
        """Whether later requests need something of this response."""
        target = self._exchange.http.request.target
        return self._carried.takes(self.position) or target in self._correlation.evidence.told

    def _judge_messages(self, answer: Answer, result: Result) -> None:
        live = self._live(answer)
        result.differences = self._compare(live, answer, result)
        lacking = self._carried.answered(self.position, live, self._exchange.http.response.status)
        # Mostly a comparison has said so already.
        result.differences = result.differences or [
            _not_given(one) for one in lacking if not self._is_within_accepted(one)
        ]
        result.lacking = [Lacked(*one) for one in self._carried.explain(self.position)]
        result.state = State.DIFFERS if result.differences else State.SAME
        if result.differences and live is not None:
            unknown = self._carried.uncreated(self.position, live.status)
            result.uncreated = unknown.value if unknown is not None else ""

    def _live(self, answer: Answer) -> HttpResponse | None:
        """The response; one that was not read before is."""
        if answer.response is None and answer.whole:
            http, near = self._exchange.http, answer.near
            raw = near.raw if near is not None else write_response(http.response)
            answer.response = read_response(raw, http.request.method)
        return answer.response

    def _judgement(self, answer: Answer, result: Result) -> Judgement:
        request = self._exchange.http.request
        begun_ns, sent_ns = request.first_byte_at_ns, answer.sent_at_ns
        span = Span(begun_ns, result.recorded_ns, sent_ns, result.live_ns)
        endpoint = endpoint_of(request.method, origin_form(request.target)[0])
        place = Place(endpoint, "response", "", "")
        return Judgement(self._correlation, span, place, rules=self._rules)

    def _tell_messages(self, judgement: Judgement, answer: Answer) -> None:
        http, sent = self._exchange.http, self._sent

        def live() -> list[HttpRequest | HttpResponse]:
            response = self._live(answer)
            return [sent, response] if response is not None else [sent]

        judgement.messages([http.request, http.response], live)

    def _compare(
        self, live: HttpResponse | None, answer: Answer, result: Result
    ) -> list[Difference]:
        http = self._exchange.http
        if live is None:
            reason = answer.problem or "no response"
            return [Difference("response", "response", str(http.response.status), None, reason)]
        judgement = self._judgement(answer, result)
        self._tell_messages(judgement, answer)
        found = compare_responses(http, live, answer.interim, judgement)
        self._accept(judgement)
        return self._without_known_length(found, live)

    def _without_known_length(
        self, found: list[Difference], live: HttpResponse
    ) -> list[Difference]:
        """What is left where the GETs of this run confirm a length; learns from this one."""
        http, known = self._exchange.http, self._correlation
        target = http.request.target
        if target not in known.evidence.told:
            return found
        if http.request.method == "GET" and http.response.status == 200 and not found:
            with suppress(ContentError):
                known.lengths.add(target, len(plain(http.response)), len(plain(live)))
        elif (length := unsent_length(found)) is not None:
            self.untold = Untold(self.position, target, length)
            if self.untold.is_known(known):
                self.accepted.append(self.untold.acceptance)
                found = self.untold.left(found)
                self.untold = None
        return found

    def _accept(self, judgement: Judgement) -> None:
        judgement.commit()
        self.accepted += acceptances(judgement)

    def _is_within_accepted(self, lacking: Lacking) -> bool:
        """Whether it was a part, by chance, of a value for which another one was accepted."""
        value = lacking.value
        return any(value in one.recorded and value != one.recorded for one in self.accepted)


def _not_given(lacking: Lacking) -> Difference:
    reason = "a later request carries what stood here"
    return Difference("content", lacking.place, lacking.value, None, reason)


def overlong() -> Difference:
    """A response that went on after its end."""
    reason = "the client's next request on its connection would meet them"
    return Difference("content", "content", None, "more bytes after its end", reason)
