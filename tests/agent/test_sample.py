"""Where not all connections are taken, those that are, are whole."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from tcp_traffic import BEGIN_NS, MS, Peers, Result, Segment, batch_of, joined

from wiretape.agent.pipeline import Pipeline
from wiretape.agent.tcp.sample import Sample
from wiretape.exchange.records import Record
from wiretape.exchange.v1 import exchange_pb2 as pb

CONNECTIONS = 200
TURNS = 6


def conversations(count: int = CONNECTIONS, opened: bool = True) -> list[list[Segment]]:
    """Turn by turn: each client asks and is answered once in each; opening is the first turn."""
    clients = [
        Peers(client=(f"10.1.{n % 7}.{n % 200 + 1}", 30000 + n), numbers=[n * 977, n * 7919])
        for n in range(count)
    ]
    turns = []
    if opened:
        turns.append([segment for peers in clients for segment in peers.open()])
    for turn in range(TURNS):
        segments = []
        for number, peers in enumerate(clients):
            segments += peers.ask(b"GET /%d/%d HTTP/1.1\r\nHost: a\r\n\r\n" % (number, turn))
            segments += peers.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
        turns.append(segments)
    at_ns = BEGIN_NS
    timed = []
    for segments in turns:
        timed.append([replace(s, at_ns=at_ns + n * MS) for n, s in enumerate(segments)])
        at_ns += len(segments) * MS
    return timed


class Fed:
    """A pipeline that is fed turns."""

    def __init__(self, sample: Sample) -> None:
        self.sample = sample
        self.pipeline = Pipeline("packets", 1 << 20, sample=sample)
        self._records: list[tuple[int, int, bytes]] = []

    def take(self, records: Sequence[Record]) -> None:
        self._records += [(p, channel, joined(parts, n)) for p, channel, parts, n, _ in records]

    def feed(self, *turns: list[Segment]) -> None:
        for segments in turns:
            self.take(self.pipeline.feed(batch_of(segments, self.pipeline.packets)))

    def close(self) -> Result:
        self.take(self.pipeline.close())
        assert self.pipeline.ledger.faults() == []
        return Result(self._records, self.pipeline.ledger)


def turns_by_client(result: Result) -> dict[int, list[int]]:
    """Which turns were recorded, by the number of the client."""
    found: dict[int, list[int]] = {}
    for exchange in result.exchanges:
        assert exchange.http.response.status == 200
        _, client, turn = exchange.http.request.target.split(b"/")
        found.setdefault(int(client), []).append(int(turn))
    return found


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_part_of_all_connections_is_taken_whole(part: float) -> None:
    turns = conversations()
    everything, some = Fed(Sample()), Fed(Sample(part))
    everything.feed(*turns)
    some.feed(*turns)
    whole, sampled = everything.close(), some.close()
    found = turns_by_client(sampled)
    assert all(turns == list(range(TURNS)) for turns in found.values())
    assert part * 0.5 < len(found) / CONNECTIONS < min(part * 1.5, 0.99)
    chosen = {e.connection.id for e in sampled.exchanges}
    same = [e for e in whole.exchanges if e.connection.id in chosen]
    assert sampled.exchanges == same
    left_out = len(whole.exchanges) - len(same)
    assert left_out > 0
    assert sampled.ledger.packets == whole.ledger.packets
    assert set(sampled.ledger.packets_skipped) == {"not_sampled"}


def test_the_same_connections_are_taken_every_time_and_both_ways() -> None:
    segments = batch_of([s for turn in conversations() for s in turn])
    taken = []
    for _ in range(2):
        pipeline = Pipeline("packets", 1 << 20, sample=Sample(0.3))
        pipeline.feed(segments)
        taken.append(pipeline.ledger.packets_skipped["not_sampled"])
    assert taken[0] == taken[1]


def test_all_that_is_asked_for_costs_no_choice() -> None:
    sample = Sample()
    pipeline = Pipeline("packets", 1 << 20, sample=sample)
    segments, _, _ = pipeline._decoder.decode(batch_of(conversations(3)[0]))
    assert sample.choose(segments) is None


def test_what_is_shed_ends_and_is_taken_up_again_later() -> None:
    turns = conversations()
    fed = Fed(Sample())
    fed.feed(*turns[:3])
    fed.take(fed.pipeline.shed())
    shed = fed.pipeline.ledger.connections_shed
    assert fed.sample.narrowed
    fed.feed(*turns[3:5])
    fed.sample.widen()
    assert not fed.sample.narrowed
    fed.feed(*turns[5:])
    result = fed.close()
    found = turns_by_client(result)
    kept = [client for client, seen in found.items() if seen == list(range(TURNS))]
    apart = [client for client, seen in found.items() if seen == [0, 1, 4, 5]]
    assert len(kept) + len(apart) == CONNECTIONS
    assert len(apart) == shed
    assert 0.3 < shed / CONNECTIONS < 0.7
    hows = [end.how for end in result.ends]
    assert hows.count(pb.ConnectionEnd.EVICTED) == shed
    assert hows.count(pb.ConnectionEnd.OPEN) == CONNECTIONS
    assert result.ledger.packets_skipped == {"overload": shed * 2 * 2}
    midstream = {e.connection.id for e in result.exchanges if e.connection.midstream}
    assert len(midstream) == shed


def test_something_is_taken_however_much_there_is() -> None:
    sample = Sample(0.5)
    for _ in range(100):
        sample.narrow()
    assert sample.part == pytest.approx(0.5 / 64)
    for _ in range(100):
        sample.widen()
    assert sample.part == 0.5


def test_kernel_drops_mark_the_connections_that_were_open() -> None:
    early, late, last = (Peers(client=("10.0.0.1", port)) for port in (1000, 2000, 3000))
    pipeline = Pipeline("packets", 1 << 20)
    records: list[Record] = []

    def feed(peers: Peers, dropped: int = 0) -> None:
        peers.ask(b"GET / HTTP/1.1\r\n\r\n")
        peers.answer(b"HTTP/1.1 204 No Content\r\n\r\n")
        records.extend(pipeline.feed(batch_of(peers.sent, pipeline.packets), dropped))
        peers.sent.clear()

    early.open()
    feed(early)
    late.open()
    feed(late, dropped=7)  # some of them may have come while it was opening
    early.close()
    late.close()
    feed(early)
    feed(late)
    last.open()
    feed(last)
    records += pipeline.close()
    result = Result([(p, c, joined(parts, n)) for p, c, parts, n, _ in records], pipeline.ledger)
    drops = {end.id: end.kernel_drops for end in result.ends}
    ports = {e.connection.id: e.connection.client.port for e in result.exchanges}
    assert {ports[ident]: n for ident, n in drops.items()} == {1000: 7, 2000: 7, 3000: 0}
    assert result.ledger.kernel_drops == 7
    assert result.ledger.connections_during_drops == 2


@pytest.mark.parametrize("fast", [False, True])
def test_drops_mark_a_connection_that_lies_in_one_batch(fast: bool) -> None:
    peers = Peers()
    peers.open()
    peers.ask(b"GET / HTTP/1.1\r\n\r\n")
    peers.answer(b"HTTP/1.1 204 No Content\r\n\r\n")
    peers.close()
    pipeline = Pipeline("packets", 1 << 20, fast=fast)
    pipeline.feed(batch_of(peers.sent), 3)
    assert pipeline.ledger.connections_during_drops == 1
