"""Traffic of one service: what it is asked, and what it asks meanwhile, as a script tells it.

A script is words that happen one after the other. A capital letter is an exchange that the service
is asked, a small one a call of its own; each has a connection of its own, unless it is told that it
shares that of another. `A?` asks, `A!` answers; `A1` and `A2` are both halves of a request's head,
`A(` a request but for its content, `A)` its content; `A-` what is no HTTP; `A.` closes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tcp_traffic import BEGIN_NS, MS, Address, Peers, Result, Segment

from wiretape.exchange.v1 import exchange_pb2 as pb

SERVICE: Address = ("10.0.0.2", 80)
UPSTREAM: Address = ("10.0.0.9", 90)
CONTENT = b"content"


@dataclass
class Scene:
    """What happens, packet by packet, at one service."""

    fields: Mapping[str, str] = field(default_factory=dict)
    """Field lines of requests, by letter."""
    on: Mapping[str, str] = field(default_factory=dict)
    """Whose connection an exchange shares."""
    service: Address = SERVICE
    at_ns: int = BEGIN_NS
    segments: list[Segment] = field(default_factory=list)
    _peers: dict[str, Peers] = field(default_factory=dict)

    def play(self, script: str) -> "Scene":
        words = script.split()
        for word in dict.fromkeys(self.on.get(word[0], word[0]) for word in words):
            self.connect(word)
        for word in words:
            self.do(word[0], word[1])
        return self

    def connect(self, name: str) -> None:
        if name in self._peers:
            return
        port = 40000 + len(self._peers) + self.service[1]
        if name.isupper():
            peers = Peers(("10.0.0.1", port), self.service)
        else:
            peers = Peers((self.service[0], port), UPSTREAM)
        self._peers[name] = peers
        self._sent(peers, peers.open)

    def do(self, name: str, what: str, size: int = 1460) -> None:
        peers = self._peers[self.on.get(name, name)]
        lines = self.fields.get(name, "").encode()
        uploads = b"Content-Length: %d\r\n" % len(CONTENT)
        head = b"GET /%b HTTP/1.1\r\nHost: a\r\n%b" % (name.encode(), lines)
        half = len(head) // 2
        said = {
            "?": head + b"\r\n",
            "1": head[:half],
            "2": head[half:] + b"\r\n",
            "(": head + uploads + b"\r\n",
            ")": CONTENT,
            "-": b"\x16\x03\x01no HTTP at all\r\n\r\n",
            "!": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + name.encode() * 2,
            "u": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: z\r\n\r\n",
        }
        if what == ".":
            self._sent(peers, peers.close)
        else:
            self._sent(peers, peers.say, int(what in "!u"), said[what], size)

    def _sent(self, peers: Peers, say: object, *arguments: object) -> None:
        peers.at_ns = self.at_ns
        assert callable(say)
        self.segments += say(*arguments)
        self.at_ns = peers.at_ns + MS


def name_of(exchange: pb.Exchange) -> str:
    return exchange.http.request.target.decode().strip("/")


def causes(result: Result) -> dict[str, tuple[str, str]]:
    """Of each call the name of its cause, and the evidence; checks that the cause is there."""
    names = {e.id: name_of(e) for e in result.exchanges if e.role == pb.ROLE_INBOUND}
    found = {}
    for exchange in result.exchanges:
        assert bool(exchange.cause_id) == bool(exchange.cause_evidence)
        if exchange.role == pb.ROLE_OUTBOUND:
            cause = names[exchange.cause_id] if exchange.cause_id else ""
            found[name_of(exchange)] = cause, exchange.cause_evidence
        else:
            assert not exchange.cause_id
    return found


def said(result: Result) -> str:
    """The same in short: `x=A:time y=`."""
    words = []
    for name, (cause, evidence) in sorted(causes(result).items()):
        words.append(f"{name}={cause}:{evidence}" if cause else f"{name}=")
    return " ".join(words)


def merged(scenes: Sequence[Scene]) -> list[Segment]:
    return sorted((s for scene in scenes for s in scene.segments), key=lambda s: s.at_ns)
