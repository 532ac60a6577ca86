"""One direction of a live connection: bytes in, whole messages out (sans-I/O).

The passive readers do the reading; a live peer sees every byte, so what remains is to know which
request a response answers.
"""

from collections import deque
from collections.abc import Callable

from wiretape.exchange.http1.message import Message
from wiretape.exchange.http1.reader import MAX_CONTENT, Reader, Sections, Wait
from wiretape.exchange.http1.requests import RequestReader
from wiretape.exchange.http1.responses import ResponseReader
from wiretape.exchange.stream import ByteQueue, Run
from wiretape.exchange.v1 import exchange_pb2 as pb

AnyMessage = pb.HttpRequest | pb.HttpResponse

_SECTIONS = Sections()


class MessageParser:
    """Feeds on one direction's bytes; make it with `requests()` or `responses()`."""

    def __init__(self, make: Callable[..., Reader], read: Callable[[bytes], AnyMessage]) -> None:
        self._queue = ByteQueue()
        self._reader = make(self._queue, self, _SECTIONS, MAX_CONTENT, True)
        self._read = read
        self.pending: deque[Message] = deque()
        self._messages: list[AnyMessage] = []

    @classmethod
    def requests(cls) -> "MessageParser":
        return cls(RequestReader, pb.HttpRequest.FromString)

    @classmethod
    def responses(cls) -> "MessageParser":
        return cls(ResponseReader, pb.HttpResponse.FromString)

    def expect(self, method: str, version: str = "1.1") -> None:
        """Announces the next request whose response will come; once for each, in order."""
        request = Message()
        request.method, request.version = method.encode(), version.encode()
        request.takes_over = method == "CONNECT"
        request.parts = ()
        self.pending.append(request)

    def receive_data(self, data: bytes, at_ns: int) -> list[AnyMessage]:
        """The messages that `data` completed, interim responses included."""
        if not data:
            return []
        self._queue.add(Run(self._queue.end, data, (len(data),), (at_ns,), (), (0,)))
        return self._advance()

    def receive_eof(self, at_ns: int) -> list[AnyMessage]:
        """Ends the stream: a close-delimited content is complete, any other is not."""
        self._queue.close(0)
        return self._advance()

    @property
    def in_message(self) -> bool:
        """A message has begun and has not ended."""
        return self._reader.in_message

    @property
    def failed(self) -> str | None:
        """Why what came is not HTTP/1, or None."""
        return next(iter(self._reader.undecoded), None)

    def _advance(self) -> list[AnyMessage]:
        self._reader.advance()
        if isinstance(self._reader, RequestReader):
            while self.pending and self.pending[0].finished:
                self._take(self.pending.popleft())
        done, self._messages = self._messages, []
        return done

    # -- the reader's conversation

    def request_finished(self, request: Message) -> None:
        if isinstance(self._reader, RequestReader):
            self._reader.go_on()

    def request_of(self, response_start: int, raw_ack: int) -> Message | Wait | None:
        return self.pending[0] if self.pending else None

    def acknowledged(self) -> tuple[int, int]:
        return 0, 0

    def response_finished(self, response: Message, request: Message | None) -> None:
        if not response.interim:
            if request is not None:
                self.pending.popleft()
            if response.status == 101:
                self._reader.become_opaque("upgraded")
        self._take(response)

    def _take(self, message: Message) -> None:
        parts, _ = message.encoded
        self._messages.append(self._read(b"".join(parts)))
