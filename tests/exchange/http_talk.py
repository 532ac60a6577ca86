"""A conversation read from bytes: both directions through the readers, one tape of what came."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from wiretape.exchange.http1 import (
    WAIT,
    Message,
    Reader,
    RequestReader,
    ResponseReader,
    Sections,
    Wait,
)
from wiretape.exchange.stream import ByteQueue, Hole, Run
from wiretape.exchange.v1 import exchange_pb2 as pb

LOST = int(pb.Gap.LOST)
MAX_CONTENT = 1 << 20
BEGIN_NS = 1_700_000_000 * 10**9
"""Time of the first byte of each stream; every byte takes a nanosecond."""
AnyMessage = pb.HttpRequest | pb.HttpResponse


@dataclass(frozen=True)
class Missing:
    """A hole between two pieces of a stream."""

    length: int


Stream = Sequence[bytes | Missing]


class _Noting(deque[Message]):
    """Notes everything that was ever appended."""

    def __init__(self, notes: list[Message]) -> None:
        super().__init__()
        self._notes = notes

    def append(self, message: Message) -> None:
        super().append(message)
        self._notes.append(message)


class Talk:
    """A Conversation that pairs strictly in order; `messages` stand as they were finished."""

    def __init__(
        self, synchronized: bool = True, max_content: int = MAX_CONTENT, fresh: bool = True
    ) -> None:
        """`fresh`: with dictionaries of its own, so that nothing is known from before."""
        self.begun: list[Message] = []
        self.pending: deque[Message] = _Noting(self.begun)
        sections = Sections() if fresh else _SHARED
        self.queues = ByteQueue(), ByteQueue()
        self.requests = RequestReader(self.queues[0], self, sections, max_content, synchronized)
        self.responses = ResponseReader(self.queues[1], self, sections, max_content, synchronized)
        self.messages: list[tuple[int, AnyMessage, list[str]]] = []
        """Side, message, codes of its violations."""
        self._packet = 0

    # -- feeding

    def add(self, side: int, piece: bytes | Missing, segment: int = 0) -> None:
        """`segment`: bytes of the segments that `piece` came in; 0 for a single one."""
        queue = self.queues[side]
        if isinstance(piece, Missing):
            queue.add_hole(Hole(piece.length, LOST, queue.end, self._packet))
        elif piece:
            start = queue.end
            size = segment or len(piece)
            lengths = [min(size, len(piece) - at) for at in range(0, len(piece), size)]
            at_ns = [BEGIN_NS + start + at for at in range(0, len(piece), size)]
            queue.add(Run(start, piece, lengths, at_ns, (), [0] * len(lengths)))

    def pump(self) -> None:
        moved = True
        while moved:
            moved = self.requests.advance()
            moved = self.responses.advance() or moved

    def close(self, side: int) -> None:
        self.queues[side].close(0)

    def finish(self) -> None:
        """Both sides ended: what is left is read, and the requests are kept."""
        self.close(0)
        self.close(1)
        self.pump()
        self.requests.go_on()
        self.pump()
        for message in self.begun:
            self._keep(0, message)

    # -- what was read

    @property
    def both(self) -> tuple[Reader, Reader]:
        return self.requests, self.responses

    def of(self, side: int) -> list[AnyMessage]:
        return [message for of_side, message, _ in self.messages if of_side == side]

    def violations(self, side: int) -> list[list[str]]:
        return [codes for of_side, _, codes in self.messages if of_side == side]

    def accounted(self, side: int) -> int:
        """Bytes that the reader says it had, wherever it put them."""
        reader, queue = self.both[side], self.queues[side]
        unread = queue.end - queue.offset
        return reader.message_bytes + reader.undecoded_bytes + reader.hole_bytes + unread

    def _keep(self, side: int, message: Message) -> None:
        parts, size = message.encoded
        encoded = b"".join(parts)
        assert len(encoded) == size, "parts do not add up to their size"
        read: AnyMessage = (
            pb.HttpResponse.FromString(encoded) if side else pb.HttpRequest.FromString(encoded)
        )
        assert read.SerializeToString() == encoded, "not what the generated classes write"
        codes = [pb.Violation.FromString(violation).code for violation in message.violations]
        self.messages.append((side, read, codes))

    # -- the readers' side (http1.Conversation)

    def request_finished(self, request: Message) -> None:
        pass

    def request_of(self, response_start: int, raw_ack: int) -> Message | Wait | None:
        if self.pending:
            return self.pending[0]
        return None if self.requests.finished else WAIT

    def acknowledged(self) -> tuple[int, int]:
        return self.queues[0].end, 0

    def response_finished(self, response: Message, request: Message | None) -> None:
        final = response.status >= 200 or response.status in (0, 101)
        if final and request is not None:
            self.pending.popleft()
            if request.takes_over:
                self._take_over(request, response)
        self._keep(1, response)

    def _take_over(self, request: Message, response: Message) -> None:
        if response.status == 101:
            self.requests.become_opaque("upgraded")
            self.responses.become_opaque("upgraded")
        elif request.method == b"CONNECT" and 200 <= response.status < 300:
            self.requests.start_over()
            self.responses.start_over()
        else:
            self.requests.go_on()


_SHARED = Sections()


def read(
    asked: bytes | Stream,
    answered: bytes | Stream,
    *,
    synchronized: bool = True,
    max_content: int = MAX_CONTENT,
    segment: int = 0,
    fresh: bool = True,
) -> Talk:
    """Both streams, each given whole, then ended."""
    talk = Talk(synchronized, max_content, fresh)
    for side, stream in enumerate((asked, answered)):
        for piece in [stream] if isinstance(stream, bytes) else stream:
            talk.add(side, piece, segment)
    talk.finish()
    return talk


def read_in_pieces(
    asked: Iterable[bytes], answered: Iterable[bytes], segment: int = 0, fresh: bool = True
) -> Talk:
    """The pieces in turn, one of each side, the readers advanced after every one."""
    talk = Talk(fresh=fresh)
    sides: list[Iterator[bytes]] = [iter(asked), iter(answered)]
    while sides:
        for side, pieces in enumerate(list(sides)):
            piece = next(pieces, None)
            if piece is not None:
                talk.add(side, piece, segment)
                talk.pump()
        if all(length_left(pieces) == 0 for pieces in sides):
            break
    talk.finish()
    return talk


def length_left(pieces: Iterator[bytes]) -> int:
    """How many pieces a list iterator has yet to give."""
    left: int = pieces.__length_hint__()  # type: ignore[attr-defined]
    return left


def without_times(messages: Iterable[AnyMessage]) -> list[AnyMessage]:
    copies = []
    for message in messages:
        copy = type(message)()
        copy.CopyFrom(message)  # type: ignore[arg-type]
        copy.ClearField("first_byte_at_ns")
        copy.ClearField("last_byte_at_ns")
        copies.append(copy)
    return copies
