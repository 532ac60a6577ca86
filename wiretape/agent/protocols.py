"""What a connection speaks, and which response answers which request.

Requests and responses pair in order (RFC 9112 §9.3.2). Where something was lost, acknowledgment
numbers tell what order cannot: a response acknowledges the request it answers, and a request
acknowledges the responses its sender had. What they leave open stays unpaired.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain, islice, pairwise
from typing import Protocol

from wiretape.agent.plain import Head, read_plain_exchanges
from wiretape.exchange.encode import Answered
from wiretape.exchange.http1 import (
    WAIT,
    Message,
    RequestReader,
    ResponseReader,
    Sections,
    Wait,
    grammar,
)
from wiretape.exchange.stream import NO_ACK, ByteQueue

MESSAGE_COST = 512
"""What keeping track of a message takes, beside its encoded bytes."""


class Recorder(Protocol):
    """Takes finished exchanges of one connection, in the order of their ordinals."""

    conflicted: bool
    """Bytes came again with other values, which an exchange to come has to say."""

    @property
    def served(self) -> bool:
        """Whether a service takes part."""

    def exchange(
        self,
        packet: int,
        request: Message | None,
        interim: Sequence[Message],
        response: Message | None,
    ) -> None: ...

    def answered(self, exchanges: Sequence[Answered], heads: Sequence[Head]) -> None:
        """Whole exchanges of a request and a response with nothing beside them; with the heads of
        the requests, where a service is served."""


class Side(Protocol):
    """One direction as the other one's acknowledgments see it."""

    started: bool
    next: int
    next_seq: int

    def offset_of(self, seq: int) -> int:
        """Stream offset of a sequence number."""


class HttpConversation:
    """Both directions of one HTTP/1 connection."""

    def __init__(
        self,
        requests: ByteQueue,
        responses: ByteQueue,
        sides: tuple[Side, Side],
        recorder: Recorder,
        sections: Sections,
        max_content_bytes: int,
        synchronized: bool,
    ) -> None:
        """`sides` are client's and server's; `synchronized`: the queues begin where the connection
        did."""
        self.requests = RequestReader(requests, self, sections, max_content_bytes, synchronized)
        self.responses = ResponseReader(responses, self, sections, max_content_bytes, synchronized)
        self._client, self._server = sides
        self._recorder = recorder
        self._sections = sections
        self.pending: deque[Message] = deque()
        self._interim: list[Message] = []
        self._early: tuple[Message, list[Message], Message] | None = None
        """A request still being sent, with the final response that it already has."""
        self._answered_end = 0
        """Offset in the response direction after the last response."""
        self._sure = True
        """The next response answers pending[0], but for what may be lost before either."""
        self._paired_end = 0
        """Offset in the response direction after the last response that was paired."""
        self._pipelines = False
        """The client was seen to send a request while another was not answered."""
        self._floor = 0
        """No exchange is finished before this packet: the one before it was, or something that was
        waited for."""

    def pump(self) -> None:
        """Advances both readers until neither moves."""
        requests, responses = self.requests, self.responses
        while True:
            if not self.pending:
                self._read_plain()
                if self._drained:
                    return
            # A request is read when a response needs it: after it all may be plain again.
            moved = not self.pending and requests.step()
            if not responses.step() and not moved and not requests.step():
                return

    @property
    def _drained(self) -> bool:
        """Everything that came was read, and no message has begun."""
        asked, answers = self.requests.queue, self.responses.queue
        return (
            asked.base + asked.pos == asked.end
            and answers.base + answers.pos == answers.end
            and self.requests.at_head
            and self.responses.at_head
        )

    def _read_plain(self) -> None:
        """Reads on as long as plain exchanges follow each other, and there is nothing to decide.

        It gives what the readers would, several times faster: most traffic is like this.
        """
        asking, answering, client = self.requests, self.responses, self._client
        asked, answers = asking.queue, answering.queue
        if not (self._sure and client.started and asking.at_head and answering.at_head):
            return
        if self._early is not None or self._interim or self._recorder.conflicted:
            return
        if answering.lost_end >= self._answered_end or answers.unacknowledging:
            return
        asked.pull_all()
        if asked.pos >= len(asked.data) or asked.offset == asking.lost_end:
            return
        answers.pull_all()
        begun, answers_begun = asked.pos, answers.pos
        heads: list[Head] | None = [] if self._recorder.served else None
        exchanges = read_plain_exchanges(
            self._sections,
            asked,
            answers,
            (client.next, client.next_seq),
            self._floor,
            asked.given_up_before if asked.holes_taken else None,
            heads,
        )
        if exchanges:
            if heads and asking.resumed:
                heads = [(first, max(end, asking.resumed), size) for first, end, size in heads]
            self._recorder.answered(exchanges, heads or ())
            self._floor = exchanges[-1][0]
            asking.message_bytes += asked.pos - begun
            answering.message_bytes += answers.pos - answers_begun
            self._answered_end = self._paired_end = answers.offset

    @property
    def held_bytes(self) -> int:
        """Memory that messages take which are not recorded yet."""
        waiting = [*self.pending, *self._interim]
        if self._early is not None:
            waiting += [*self._early[1], self._early[2]]
        return (
            self.requests.held_bytes
            + self.responses.held_bytes
            + sum(MESSAGE_COST + message.size for message in waiting)
        )

    @property
    def lost_since(self) -> int:
        """The packet since which the requests are not understood; -1 where they are."""
        return self.requests.lost_since

    def unrecorded(self, known: int) -> Iterator[tuple[Message, bytes]]:
        """Requests that are not recorded, but for the first `known`, each with its encoded head."""
        early = [self._early[0]] if self._early is not None else []
        for request in islice(chain(early, self.pending), known, None):
            yield request, request.encoded[0][0] if request.finished else self.requests.head

    def evict_contents(self) -> int:
        """Cuts the contents in progress short; returns how many bytes went."""
        return self.requests.evict_content() + self.responses.evict_content()

    def close(self, packet: int) -> None:
        """Both queues are closed: what is pending has no more to come."""
        self._floor = max(self._floor, packet)
        self.pump()
        if self._drained and not (self.pending or self._interim or self._early):
            return
        while True:
            self.requests.go_on()
            if not self.requests.advance() and not self.responses.advance():
                break
            self.pump()
        if self._early is not None:
            self._finish_early()
        interim, self._interim = self._interim, []
        if interim and not self.pending:
            self._record(None, interim, None)
        while self.pending:
            self._record(self.pending.popleft(), interim, None)
            interim = []

    def release(self) -> None:
        """The connection is closed and accounted for."""
        self.requests.release()
        self.responses.release()

    # -- the readers' side (http1.Conversation)

    def request_finished(self, request: Message) -> None:
        if self._early is not None and self._early[0] is request:
            response = self._early[2]
            self._finish_early()
            if request.takes_over:
                self.responses.go_on()
                self._take_over(request, response)

    def request_of(self, response_start: int, raw_ack: int) -> Message | Wait | None:
        if self._early is not None:
            return WAIT  # exchanges are recorded in the order of their responses
        if raw_ack == NO_ACK:
            # No receiver takes such a segment (RFC 9293 §3.10.7.4), and nothing tells its place.
            self._sure = False
            return None
        ack = self._offset(self._client, raw_ack)
        if ack < 0 <= raw_ack and self._client.started:
            ack = 0  # of what was seen of the requests, its sender had nothing
        requests, pending = self.requests, self.pending
        if self.responses.lost_end >= self._answered_end:
            self._sure = False
        unsure = not self._sure or (bool(pending) and pending[0].after_loss)
        if (unsure or not pending) and ack > requests.position:
            if not requests.finished:
                return WAIT
            # It has waited for bytes that never came, up to the end.
            self._floor = max(self._floor, requests.queue.closed_packet)
        if unsure:
            return self._request_after_loss(response_start, ack)
        if not pending:
            return None
        return None if 0 <= ack <= pending[0].start else pending[0]

    @staticmethod
    def _offset(side: Side, raw_ack: int) -> int:
        """Offset that was acknowledged; -1 where it is not known."""
        return side.offset_of(raw_ack) if raw_ack >= 0 and side.started else -1

    def response_finished(self, response: Message, request: Message | None) -> None:
        self._answered_end = response.end
        requests = self.requests.queue
        if requests.holes_taken:
            # It may have waited for the hole that it acknowledges to be given up.
            acknowledged = self._offset(self._client, response.raw_ack)
            response.packet = max(response.packet, requests.given_up_before(acknowledged))
        final = not response.interim
        if final and request is not None:
            self._paired_end = response.end
            if self.pending[0] is not request:
                self._retire_until(request, response.packet)
        if response.gapped:
            self._floor = max(self._floor, response.packet)
        if not final:
            self._interim.append(response)
            return
        interim, self._interim = self._interim, []
        if request is None:
            self._record(None, interim, response)
            return
        self.pending.popleft()
        if request.takes_over:
            if request.finished:
                self._take_over(request, response)
            else:
                # What follows depends on where the request ends, which is not known yet.
                self.responses.hold()
        if request.finished:
            self._record(request, interim, response)
        else:
            self._early = request, interim, response

    def _take_over(self, request: Message, response: Message) -> None:
        """CONNECT and Upgrade succeed or leave the connection as it was (RFC 9110 §7.8, §9.3.6)."""
        if response.status == 101:
            self.requests.become_opaque("upgraded")
            self.responses.become_opaque("upgraded")
            return
        self.requests.resumed = response.packet
        if request.method == b"CONNECT" and 200 <= response.status < 300:
            self.requests.start_over()
            self.responses.start_over()
        else:
            self.requests.go_on()

    # -- loss

    def _request_after_loss(self, response_start: int, ack: int) -> Message | None:
        """The request that a response answers where messages before either may be lost.

        A client that waits for each response acknowledges, with a request, all responses before:
        the answer begins exactly there. Of a client that pipelines nothing tells how many of its
        requests were answered in between.
        """
        sent = [r for r in self.pending if ack < 0 or r.start < ack]
        had = [self._offset(self._server, request.raw_ack) for request in sent]
        if any(one == other for one, other in pairwise(had)):
            self._pipelines = True
        if self._pipelines or had.count(response_start) != 1:
            return None
        place = had.index(response_start)
        if sent[place].after_loss and response_start == self._paired_end:
            return None  # a request lost before it was not answered yet: this may be its answer
        if not all(request.finished for request in sent[:place]):
            return None
        self._sure = True
        return sent[place]

    def _retire_until(self, answered: Message, packet: int) -> None:
        """Records the requests whose responses were lost before that to `answered` was seen."""
        while self.pending[0] is not answered:
            request = self.pending.popleft()
            self._recorder.exchange(max(packet, request.packet, self._floor), request, (), None)

    def _finish_early(self) -> None:
        assert self._early is not None, "no early response"
        request, interim, response = self._early
        self._early = None
        if request.finished:
            self._record(request, interim, response)

    def _record(
        self, request: Message | None, interim: Sequence[Message], response: Message | None
    ) -> None:
        packet = self._floor
        if request is not None and request.packet > packet:
            packet = request.packet
        if response is not None and response.packet > packet:
            packet = response.packet
        self._floor = packet
        self._recorder.exchange(packet, request, interim, response)


class ClientFinder:
    """Finds the client of a connection whose beginning was not seen.

    The first segment that opens a request or a response tells. What stands before it is passed
    over, as a reader that looks for its first message does.
    """

    def __init__(self, queues: tuple[ByteQueue, ByteQueue]) -> None:
        self._queues = queues
        self.undecoded_bytes = [0, 0]
        self.hole_bytes = [0, 0]
        self.packet = -1
        """The one that showed the client."""

    def find(self) -> int | None:
        """The direction that the client sends; None while nothing tells."""
        found = [one for index in (0, 1) if (one := self._search(index)) is not None]
        if not found:
            return None
        self.packet, client = min(found)
        return client

    def _search(self, index: int) -> tuple[int, int] | None:
        """Packet and client, by what one direction shows."""
        queue = self._queues[index]
        while True:
            while queue.pos < len(queue.data):
                segment = queue.segment(queue.offset)
                request = grammar.may_start_request(queue.data, queue.pos)
                response = grammar.may_start_response(queue.data, queue.pos)
                if request or response:
                    return queue.packets[segment], index if request else 1 - index
                if None in (request, response):
                    if queue.pull():
                        continue
                    if queue.hole is None and not queue.closed:
                        return None
                stop = queue.ends[segment] - queue.base
                self.undecoded_bytes[index] += stop - queue.pos
                queue.pos = stop
            if queue.pull():
                continue
            if queue.hole is None:
                return None
            self.hole_bytes[index] += queue.take_hole(queue.hole.length).length

    def passed(self, index: int) -> bool:
        """Whether anything stood before what a reader of this direction will see first."""
        return bool(self.undecoded_bytes[index] or self.hole_bytes[index])


def speaks_first_as_peer(queues: tuple[ByteQueue, ByteQueue], client: int) -> bool:
    """Whether the first segment with data shows that the side that sent SYN is the server.

    So it is after a split handshake, or where a listener calls back.
    """
    first: tuple[int, int] | None = None
    for index, queue in enumerate(queues):
        if queue.pos >= len(queue.data):
            queue.pull()
        if queue.packets and (first is None or queue.packets[0] < first[0]):
            first = queue.packets[0], index
    if first is None:
        return False
    queue = queues[first[1]]
    data = queue.data[: queue.ends[0] - queue.base]
    if first[1] == client:
        return bool(grammar.may_start_response(data, 0))
    return bool(grammar.may_start_request(data, 0))
