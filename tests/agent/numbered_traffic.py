"""Requests and responses that carry a number, so that it shows which ones were paired."""

from tcp_traffic import Peers, Segment

from wiretape.exchange.v1 import exchange_pb2 as pb


def request(number: int, content: bytes = b"") -> bytes:
    method = b"POST" if content else b"GET"
    length = b"Content-Length: %d\r\n" % len(content) if content else b""
    return b"%b /%d HTTP/1.1\r\nHost: a\r\n%b\r\n%b" % (method, number, length, content)


def response(number: int, content: bytes = b"ok") -> bytes:
    return b"HTTP/1.1 200 OK\r\nX-Id: %d\r\nContent-Length: %d\r\n\r\n%b" % (
        number, len(content), content,
    )  # fmt: skip


def keep_alive(peers: Peers, count: int = 4, size: int = 1460) -> list[Segment]:
    for number in range(count):
        peers.ask(request(number), size)
        peers.answer(response(number), size)
        peers.segment(0)
    return peers.sent


def paired(exchanges: list[pb.Exchange]) -> list[tuple[str, str]]:
    """What each request asked for, and the id in the response; empty where there is none."""
    pairs = []
    for exchange in exchanges:
        ids = [f.value.decode() for f in exchange.http.response.fields if f.name == b"X-Id"]
        pairs.append((exchange.http.request.target.decode()[1:], "".join(ids)))
    return pairs
