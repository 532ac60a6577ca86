"""A message as its reader hands it on: encoded, with what pairing needs of it."""

from wiretape.exchange import encode
from wiretape.exchange.http1.framing import SOURCES


class Message:
    """A request or response; `parts` is set when its end was read.

    Offsets are those of its own direction. The defaults stand on the class: a message of the usual
    kind sets few of them, and hundreds of thousands are made.
    """

    start: int
    end: int
    first_at_ns: int
    last_at_ns: int
    packet: int
    """The packet that made its last byte readable."""
    head_packets: tuple[int, int] | None = None
    """Of a request whose head is there whole: the packets that made its first byte and the end of
    its head readable."""
    lost_since: int = -1
    """The packet since which what came directly before it was not understood; -1 where it was."""
    raw_ack: int = -1
    """The acknowledgment number of its first segment: what its sender had received by then."""
    method: bytes = b""
    version: bytes = b""
    status: int = 0
    after_loss: bool = False
    """Directly before it bytes are missing or were not understood: messages may be lost there."""
    takes_over: bool = False
    """A CONNECT or an Upgrade: what follows it depends on the reply."""
    parts: tuple[bytes, ...] | None = None
    size: int = 0
    gapped: bool = False
    violations: tuple[bytes, ...] = ()

    @property
    def finished(self) -> bool:
        return self.parts is not None

    @property
    def interim(self) -> bool:
        """A 1xx response that a final one follows; 101 ends HTTP (RFC 9110 §15.2)."""
        return 100 <= self.status < 200 and self.status != 101

    @property
    def encoded(self) -> tuple[tuple[bytes, ...], int]:
        assert self.parts is not None, "message is still being read"
        return self.parts, self.size

    def violates(self, code: str, detail: str, side: int) -> None:
        self.violations += (encode.violation(code, SOURCES[code], detail, side),)
