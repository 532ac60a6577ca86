"""What all connections hold together is bounded; what is cut says so."""

from tcp_traffic import MS, Peers, Result, Segment, batch_of, run_all_ways

from wiretape.agent.pipeline import Pipeline
from wiretape.agent.tcp.connection import FORGET_NS, OPEN_COST
from wiretape.agent.tcp.memory import PACKET_WEIGHT, Traffic
from wiretape.exchange.v1 import exchange_pb2 as pb

CHECK = 20_000
SPLITS = ((1,), (7,), (100,), (0,))


def short_of_memory(held: int) -> Traffic:
    return Traffic(1000, CHECK, held)


def uploads(count: int, size: int, whole: bool = True) -> list[Segment]:
    """So many at the same time; each client sends 1000 bytes in turn."""
    clients = [Peers(client=("10.0.0.1", 40000 + n)) for n in range(count)]
    for peers in clients:
        peers.open()
        peers.ask(b"PUT / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size)
    for _ in range(size // 1000):
        for peers in clients:
            peers.ask(b"x" * 1000)
    for peers in clients[: len(clients) if whole else 0]:
        peers.answer(b"HTTP/1.1 204 No Content\r\n\r\n")
    handshakes = [s for peers in clients for s in peers.sent[:4]]
    rest = [peers.sent[4:] for peers in clients]
    turns = [s for turn in zip(*rest, strict=True) for s in turn]
    return [
        Segment(**{**vars(s), "at_ns": clients[0].sent[0].at_ns + n * MS})
        for n, s in enumerate([*handshakes, *turns])
    ]


def gaps(result: Result) -> list[list[tuple[int, int, int]]]:
    return [
        [(g.offset, g.length, g.reason) for g in e.http.request.content.gaps]
        for e in result.exchanges
    ]


def test_contents_in_progress_are_cut() -> None:
    """The least recently active ones lose what came so far, and keep what comes after."""
    segments = uploads(4, 30_000)
    result = run_all_ways(segments, splits=SPLITS, traffic=lambda: short_of_memory(90_000))
    cut = [found for found in gaps(result) if found]
    assert len(result.exchanges) == 4
    assert 0 < len(cut) < 4
    for (gap,) in cut:
        assert gap[0] == 0
        assert 0 < gap[1] < 30_000
        assert gap[2] == pb.Gap.EVICTED
    contents = [e.http.request.content for e in result.exchanges]
    assert all(len(c.data) + sum(g.length for g in c.gaps) == 30_000 for c in contents)
    assert all(c.length == 30_000 for c in contents)
    assert [c.complete for c in contents].count(False) == len(cut)
    assert result.ledger.evicted_bytes == sum(gap[1] for (gap,) in cut)
    assert result.ledger.evictions >= len(cut)
    assert result.ledger.with_gaps == len(cut)


def test_enough_memory_cuts_nothing() -> None:
    result = run_all_ways(
        uploads(4, 30_000), splits=SPLITS, traffic=lambda: short_of_memory(4 * 30_000 * 3)
    )
    assert gaps(result) == [[]] * 4
    assert result.ledger.evictions == 0


def test_requests_that_nobody_answers_do_not_pile_up() -> None:
    """One direction alone was captured: they are recorded without a response."""
    peers = Peers()
    for number in range(400):
        peers.ask(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
    held = 40_000
    result = run_all_ways(peers.sent, splits=SPLITS, traffic=lambda: short_of_memory(held))
    targets = [int(e.http.request.target[1:]) for e in result.exchanges]
    assert targets == list(range(400))
    assert result.ledger.request_only == 400
    assert result.ledger.evictions == len(result.ends) - 1 > 0
    assert result.ends[0].how == pb.ConnectionEnd.EVICTED


def test_connections_that_only_begin_do_not_pile_up() -> None:
    """The oldest are closed first."""
    segments = [Peers(client=("10.0.0.1", 1024 + n)).segment(0, 2) for n in range(300)]
    allowed = 100 * OPEN_COST
    result = run_all_ways(segments, splits=SPLITS, traffic=lambda: short_of_memory(allowed))
    assert result.ledger.connections == 300
    most_between = CHECK // PACKET_WEIGHT + 1
    assert result.ledger.evictions >= 300 - 100 - most_between


def test_a_tunnel_nobody_answers_does_not_pile_up() -> None:
    peers = Peers()
    peers.open()
    peers.ask(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n")
    peers.ask(b"z" * 60_000)
    result = run_all_ways(peers.sent, splits=SPLITS, traffic=lambda: short_of_memory(30_000))
    assert result.ledger.request_only == 1
    assert result.ledger.evictions > 0
    assert result.ledger.undecoded_bytes == 60_000


def test_timers_do_not_keep_connections_that_are_over() -> None:
    """Each is set for when the connection would have been idle, an hour later."""
    pipeline = Pipeline("packets", 1 << 20)
    for turn in range(40):
        clients = [Peers(client=(f"10.1.{turn}.{n % 250 + 1}", 2000 + n)) for n in range(500)]
        for peers in clients:
            peers.at_ns += turn * FORGET_NS
            peers.open()
            peers.ask(b"GET / HTTP/1.1\r\n\r\n")
        for part in (slice(0, 3), slice(3, None)):  # none lies in one batch
            if part.start:
                for peers in clients:
                    peers.answer(b"HTTP/1.1 204 No Content\r\n\r\n")
                    peers.close()
            segments = [segment for peers in clients for segment in peers.sent[part]]
            pipeline.feed(batch_of(segments, pipeline.packets))
    table = pipeline._table
    assert pipeline.ledger.exchanges == 40 * 500
    assert len(table._connections) <= 1000
    assert len(table._due) < 8000
