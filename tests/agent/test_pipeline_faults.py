"""Captures with faults of every kind: neither batches nor the fast lane may change anything."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numbered_traffic import keep_alive, request, response
from tcp_traffic import (
    ACK,
    BEGIN_NS,
    FIN,
    MS,
    PSH,
    RST,
    SECOND,
    SYN,
    Peers,
    Segment,
    raw_batch,
    run_all_ways,
)  # fmt: skip

from wiretape.agent.pipeline import Pipeline
from wiretape.agent.tcp.memory import Traffic

HOUR = 3600 * SECOND


@pytest.fixture(autouse=True)
def learn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every head may be read by a template from its second sighting on."""
    monkeypatch.setattr("wiretape.exchange.http1.template.SIGHTINGS", 1)


@st.composite
def faulty_captures(draw: st.DrawFn) -> list[Segment]:
    """Two or three connections, each with several exchanges, and everything that goes wrong."""
    segments: list[tuple[float, Segment]] = []
    for number in range(draw(st.integers(1, 3))):
        peers = Peers(client=("10.0.0.1", 40000 + number), at_ns=BEGIN_NS + number)
        peers.numbers = [
            draw(st.sampled_from([1000, 2**32 - 200])) + 9 * number,
            draw(st.sampled_from([5000, 2**32 - 90])) + 9 * number,
        ]
        if draw(st.booleans()):
            peers.open()
        size = draw(st.sampled_from([20, 64, 1460]))
        pipelined = draw(st.booleans())
        count = draw(st.integers(0, 3))
        contents = [b"c" * draw(st.sampled_from([0, 30, 200])) for _ in range(count)]
        if pipelined:
            for at, content in enumerate(contents):
                peers.ask(request(at, content), size)
        for at, content in enumerate(contents):
            if not pipelined:
                peers.ask(request(at, content), size)
            if draw(st.integers(0, 9)) == 0:
                peers.say(draw(st.integers(0, 1)), draw(st.binary(max_size=40)), size)
            peers.answer(response(at, content[::-1]), size)
            if draw(st.booleans()):
                peers.segment(0)
            peers.at_ns += draw(st.sampled_from([0, 0, MS, SECOND, 61 * SECOND, 2 * HOUR]))
        ending = draw(st.sampled_from(["", "fin", "rst", "half"]))
        if ending == "fin":
            peers.close(draw(st.integers(0, 1)))
        elif ending == "rst":
            peers.segment(draw(st.integers(0, 1)), RST | ACK)
        elif ending == "half":
            peers.segment(draw(st.integers(0, 1)), FIN | ACK)
        if draw(st.booleans()):
            peers.say(draw(st.integers(0, 1)), b"late bytes")
        if draw(st.booleans()):
            peers.numbers = [peers.numbers[0] + 70_000, peers.numbers[1] + 70_000]
            peers.at_ns += draw(st.sampled_from([0, SECOND, 40 * SECOND]))
            peers.open()
            keep_alive(peers, 1, size)
        segments += [(float(s.at_ns), s) for s in peers.sent]
    segments.sort(key=lambda pair: pair[0])
    faults = draw(
        st.lists(
            st.tuples(
                st.sampled_from(
                    ["lose", "twice", "swap", "snap", "overlap", "lie", "differ", "differ"]
                ),
                st.integers(0, max(len(segments) - 1, 0)),
                st.integers(1, 30),
            ),
            max_size=4,
        )
    )
    capture = [s for _, s in segments]
    for kind, at, amount in faults:
        if at >= len(capture):
            continue
        segment = capture[at]
        if kind == "lose":
            del capture[at]
        elif kind == "twice":
            capture.insert(min(at + amount, len(capture)), segment)
        elif kind == "swap":
            del capture[at]
            capture.insert(min(at + amount % 5, len(capture)), segment)
        elif kind == "snap":
            capture[at] = replace(segment, captured=min(amount, len(segment.payload)))
        elif kind == "overlap" and at + 1 < len(capture):
            longer = segment.payload + capture[at + 1].payload[:amount]
            if capture[at + 1].source == segment.source:
                capture.insert(at + 2, replace(segment, payload=longer))
        elif kind == "differ" and segment.payload:
            changed = bytes(b ^ (n % amount == 0) for n, b in enumerate(segment.payload))
            begin = amount % len(segment.payload)
            other = replace(segment, seq=segment.seq + begin, payload=changed[begin:])
            capture.insert(min(at + 1 + amount % 7, len(capture)), other)
        elif kind == "lie":
            flags = (SYN, FIN, RST, PSH | ACK, SYN | ACK, 0)[amount % 6]
            capture[at] = replace(segment, flags=flags)
    latest = 0
    for at, segment in enumerate(capture):  # a capture's clock rarely goes back
        latest = max(latest, segment.at_ns)
        capture[at] = replace(segment, at_ns=latest)
    return capture


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(faulty_captures())
def test_whatever_goes_wrong_is_the_same_for_all_batches_and_both_lanes(
    capture: list[Segment],
) -> None:
    result = run_all_ways(capture, splits=((1,), (3, 1, 5), (0,)))
    assert result.ledger.packets == len(capture)
    ids = [e.id for e in result.exchanges]
    assert len(set(ids)) == len(ids)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(faulty_captures(), st.integers(12_000, 40_000), st.integers(600, 5000))
def test_memory_that_is_short_is_the_same_for_all_batches_and_both_lanes(
    capture: list[Segment], held: int, check: int
) -> None:
    run_all_ways(
        capture, splits=((1,), (3, 1, 5), (0,)), traffic=lambda: Traffic(4000, check, held)
    )


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(faulty_captures(), st.randoms(use_true_random=False))
def test_times_may_go_back(capture: list[Segment], random: Any) -> None:
    """Captures of several queues have packets out of order by time."""
    shaken = [replace(s, at_ns=s.at_ns - random.choice([0, 0, 0, MS, SECOND])) for s in capture]
    run_all_ways(shaken, splits=((1,), (0,)))


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(faulty_captures(), st.data())
def test_damaged_packets_are_counted_and_the_same_for_all_batches(
    capture: list[Segment], data: st.DataObject
) -> None:
    """Any byte may be another one, in headers too; each packet is still accounted for."""
    frames = [s.frame for s in capture]
    for _ in range(data.draw(st.integers(0, 6)) if frames else 0):
        at = data.draw(st.integers(0, len(frames) - 1))
        place = data.draw(st.integers(0, min(len(frames[at]), 80) - 1))
        value = data.draw(st.sampled_from([0, 1, 0x40, 0x7F, 0x80, 0xFF]))
        frames[at] = frames[at][:place] + bytes((value,)) + frames[at][place + 1 :]
    times = [s.at_ns for s in capture]
    seen = []
    for size in (1, 4, max(len(frames), 1)):
        for fast in (True, False):
            pipeline = Pipeline("pcap", 1 << 20, (), fast)
            records: list[tuple[int, bytes]] = []
            for first in range(0, len(frames), size):
                part = slice(first, first + size)
                fed = pipeline.feed(raw_batch(frames[part], first, times[part]))
                records += [(r[1], b"".join(r[2])) for r in fed]
            records += [(r[1], b"".join(r[2])) for r in pipeline.close()]
            assert pipeline.ledger.faults() == []
            assert pipeline.ledger.packets == len(frames)
            seen.append(records)
    assert all(records == seen[0] for records in seen)
