"""A message as its reader hands it on: encoded, with what pairing needs of it."""

from wiretape.exchange import encode
from wiretape.exchange.http1.framing import SOURCES


class Message:
    """A request or response; `parts` is set when its end was read.

    Offsets are those of its own direction; `ack` is how much of the other direction its sender had
    received when it sent the first byte, -1 where the source has no acknowledgments.
    """

    __slots__ = (
        "ack",
        "end",
        "expects_continue",
        "first_at_ns",
        "gapped",
        "last_at_ns",
        "method",
        "packet",
        "parts",
        "size",
        "start",
        "status",
        "takes_over",
        "version",
        "violations",
    )

    def __init__(self, start: int, first_at_ns: int, ack: int) -> None:
        self.start = start
        self.end = start
        self.first_at_ns = first_at_ns
        self.last_at_ns = first_at_ns
        self.ack = ack
        self.packet = 0
        self.method = b""
        self.status = 0
        self.version = b""
        self.takes_over = False
        """A CONNECT or an Upgrade: what follows it depends on the reply."""
        self.expects_continue = False
        self.parts: list[bytes] | None = None
        self.size = 0
        self.gapped = False
        self.violations: list[bytes] = []

    @property
    def finished(self) -> bool:
        return self.parts is not None

    @property
    def encoded(self) -> tuple[list[bytes], int]:
        assert self.parts is not None, "message is still being read"
        return self.parts, self.size

    def violates(self, code: str, detail: str, side: int) -> None:
        self.violations.append(encode.violation(code, SOURCES[code], detail, side))
