"""Which exchange caused which call, told as short scripts (served_traffic.py)."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from served_traffic import SERVICE, UPSTREAM, Scene, causes, merged, name_of, said
from tcp_traffic import (
    MAX_CONTENT,
    Result,
    Segment,
    batch_of,
    joined,
    run,
    run_all_ways,
)

from wiretape.agent.cause import MAX_LATE, Callers
from wiretape.agent.pipeline import Pipeline
from wiretape.agent.sources.pcap_file import open_capture
from wiretape.agent.tcp.sample import Sample
from wiretape.exchange.endpoints import parse_service
from wiretape.exchange.records import EXCHANGES
from wiretape.exchange.v1 import exchange_pb2 as pb

SHOP = Path(__file__).resolve().parents[2] / "fixtures" / "pcaps" / "shop"
SERVICES = (parse_service("10.0.0.2:80"),)

ONE, OTHER = "4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c"
SPAN, NEXT = "00f067aa0ba902b7", "b7ad6b7169203331"


def parent(trace: str, span: str = SPAN) -> str:
    return f"Traceparent: 00-{trace}-{span}-01\r\n"


def ways(scene: Scene) -> str:
    return said(run_all_ways(scene.segments, SERVICES))


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("A? x? x! A!", "x=A:time"),
        ("A? x? x! y? y! A!", "x=A:time y=A:time"),
        ("A? x? y? x! y! A!", "x=A:time y=A:time"),
        ("A? x? A! x!", "x=A:time"),
        ("A? A! x? x!", "x="),
        ("x? x! A? A!", "x="),
        ("x? A? x! A!", "x="),
        ("A? B? x? x! A! B!", "x="),
        ("A? A! B? x? x! B!", "x=B:time"),
        ("A? x? x! B? y? y! A! z? z! B!", "x=A:time y= z=B:time"),
        ("A? x? B? x! A! B!", "x=A:time"),
        ("A? x? x!", "x=A:time"),
        ("A? x?", "x=A:time"),
        ("A? x? x! A. y? y!", "x=A:time y="),
    ],
)
def test_what_is_open(script: str, found: str) -> None:
    assert ways(Scene().play(script)) == found


@pytest.mark.parametrize(
    ("script", "found"),
    [
        # Nobody acts on half a head; nor is it in the way of what others do.
        ("A1 x? x! A2 A!", "x="),
        ("A? B1 x? x! B2 B! A!", "x=A:time"),
        # On a head alone one may.
        ("A( x? x! A) A!", "x=A:time"),
        ("A( B? x? x! A) A! B!", "x="),
        # All the while in which the call's head was sent.
        ("A? x1 x2 x! A!", "x=A:time"),
        ("x1 A? x2 x! A!", "x="),
        ("A? x1 B? x2 x! A! B!", "x=A:time"),
        ("A? B? x1 B! x2 x! A!", "x="),
        ("A? B? x1 A! x2 x! B!", "x="),
        ("A? x( x) x! A!", "x=A:time"),
        # It was answered early, and still is not over.
        ("A( A! x? x! A) B? y? y! B!", "x=A:time y=B:time"),
    ],
)
def test_what_is_there_in_part(script: str, found: str) -> None:
    assert ways(Scene().play(script)) == found


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("A? x? x! A! B? y? y! B!", "x=A:time y=B:time"),
        ("A? A! B? x? x! B! C? C!", "x=B:time"),
        # Pipelined: the second may be worked on already.
        ("A? B? x? x! A! y? y! B!", "x= y=B:time"),
        ("A? B? C? A! x? x! B! y? y! C!", "x= y=C:time"),
    ],
)
def test_connections_that_are_kept(script: str, found: str) -> None:
    assert ways(Scene(on={"B": "A", "C": "A", "y": "x"}).play(script)) == found


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("A- B? x? x! B!", "x="),
        ("A? A! A- B? x? x! B!", "x="),
        ("A- A. B? x? x! B!", "x=B:time"),
        ("A? Au A- B? x? x! B!", "x="),
        ("A? Au A- A. B? x? x! B!", "x=B:time"),
    ],
)
def test_what_is_not_understood_may_be_the_cause(script: str, found: str) -> None:
    upgrade = {"A": "Upgrade: z\r\n"} if "u" in script else {}
    assert ways(Scene(upgrade).play(script)) == found


# -- fields


@pytest.mark.parametrize(
    ("asked", "asks", "evidence"),
    [
        (parent(ONE), parent(ONE, NEXT), "field:traceparent"),
        (parent(ONE), f"TRACEPARENT:  01-{ONE}-{NEXT}-00-more \r\n", "field:traceparent"),
        (parent(ONE), parent(OTHER), None),
        (parent("0" * 32), parent("0" * 32), None),
        (f"traceparent: ff-{ONE}-{SPAN}-01\r\n", f"traceparent: ff-{ONE}-{SPAN}-01\r\n", None),
        (f"b3: {ONE}-{SPAN}-1\r\n", f"b3: {ONE}-{NEXT}-1-{SPAN}\r\n", "field:b3"),
        (f"b3: {ONE}-{SPAN}\r\n", f"X-B3-TraceId: {ONE.upper()}\r\n", "field:x-b3-traceid"),
        ("b3: 0\r\n", "b3: 0\r\n", None),
        (f"X-B3-TraceId: {SPAN}\r\n", f"X-B3-TraceId: {SPAN}\r\n", "field:x-b3-traceid"),
        ("X-Request-ID: r-1\r\n", "x-request-id: r-1\r\n", "field:x-request-id"),
        ("X-Request-ID: r-1\r\n", "x-request-id: R-1\r\n", None),
        ("X-Request-ID: r-1\r\n", "X-Correlation-ID: r-1\r\n", None),
        ("X-Correlation-ID: c\r\n", "X-Correlation-ID: c\r\n", "field:x-correlation-id"),
        ("Request-Id: |a.b.\r\n", "Request-Id: |a.b.\r\n", "field:request-id"),
        (
            "X-Amzn-Trace-Id: Self=1-x;Root=1-67891233-abcdef\r\n",
            "X-Amzn-Trace-Id: Root=1-67891233-abcdef;Parent=53995c3f42cd8ad8;Sampled=1\r\n",
            "field:x-amzn-trace-id",
        ),
        (
            f"uber-trace-id: 00{ONE[:16]}:1:0:1\r\n",
            f"Uber-Trace-Id: {ONE[:16]}%3A2%3A1%3A1\r\n",
            "field:uber-trace-id",
        ),
        (
            f"X-Cloud-Trace-Context: {ONE}/1;o=1\r\n",
            f"X-Cloud-Trace-Context: {ONE}/2\r\n",
            "field:x-cloud-trace-context",
        ),
        ("X-Request-ID: \r\n", "X-Request-ID: \r\n", None),
        (f"X-Request-ID: {'r' * 300}\r\n", f"X-Request-ID: {'r' * 300}\r\n", None),
        # What looks like an encoded field is content of another.
        ("X: \x0b\x0ctraceparent\r\n", parent(ONE), None),
    ],
)
def test_fields_that_tell(asked: str, asks: str, evidence: str | None) -> None:
    scene = Scene({"A": asked, "x": asks}).play("A? B? x? x! A! B!")
    assert ways(scene) == (f"x=A:{evidence}" if evidence else "x=")


@pytest.mark.parametrize(
    ("script", "fields", "found"),
    [
        ("A? B? x? x! A! B!", "A=t1 B=t2 x=t2", "x=B:field:traceparent"),
        ("A? B? x? x! A! B!", "A=t1 B=t1 x=t1", "x="),
        # A caller that asks twice within one trace, and tells both apart.
        ("A? B? x? x! A! B!", "A=t1r1 B=t1r2 x=t1r2", "x=B:field:x-request-id"),
        ("A? A! B? x? x! B!", "A=t1 B=t1 x=t1", "x=B:field:traceparent"),
        # Fields that contradict each other, and one that contradicts time.
        ("A? B? x? x! A! B!", "A=t1r1 B=t2r2 x=t1r2", "x="),
        ("A? x? x! A!", "A=t1 x=t2", "x="),
        # Traces begin somewhere, and each call may have an identifier of its own.
        ("A? x? x! A!", "x=t1", "x=A:time"),
        ("A? x? x! A!", "A=r1 x=r2", "x=A:time"),
        ("A? x? x! A!", "A=t1r1 x=t1r2", "x=A:field:traceparent"),
        # Work that goes on after the answer, while something else is open.
        ("A? A! x? x!", "A=t1 x=t1", "x="),
        ("A? A! B? x? x! B!", "A=t1 x=t1", "x="),
        ("A? A! B? x? x! B!", "A=r1 B=t2 x=r1", "x="),
        # Work cannot begin before it is asked for.
        ("x? A? x! A!", "A=t1 x=t1", "x="),
        ("x1 A? x2 x! A!", "A=t1 x=t1", "x="),
        ("A( B? x? x! A) A! B!", "A=t1 x=t1", "x=A:field:traceparent"),
    ],
)
def test_fields_among_others(script: str, fields: str, found: str) -> None:
    lines = {"t1": parent(ONE), "t2": parent(OTHER), "r1": "X-Request-ID: 1\r\n"}
    lines["r2"] = "X-Request-ID: 2\r\n"
    told = {
        name: "".join(line for key, line in lines.items() if key in value)
        for name, _, value in (word.partition("=") for word in fields.split())
    }
    assert ways(Scene(told).play(script)) == found


def test_pipelined_requests_are_told_apart_by_their_fields() -> None:
    """The cause's identifier has its place on the connection in it, before it is recorded."""
    told = {"A": parent(ONE), "B": parent(OTHER), "x": parent(OTHER, NEXT)}
    scene = Scene(told, on={"B": "A", "C": "A"}).play("C? C! A? B? x? x! A! B!")
    assert ways(scene) == "x=B:field:traceparent"


def test_what_is_over_is_not_remembered_for_ever() -> None:
    told = {"A": parent(ONE), "x": parent(ONE)}
    scene = Scene(told, on={"B": "C"})
    scene.play("A? A!" + " B? B!" * (MAX_LATE + 1) + " C? x? x! C!")
    splits = ((997,), (0,))
    assert said(run_all_ways(scene.segments, SERVICES, splits)) == "x=C:time"


# -- whose


def test_services_are_told_apart_by_their_addresses() -> None:
    here, there = Scene(), Scene(service=("10.0.0.3", 80))
    here.play("A? A!").play("A? x? x! A!")
    there.play("B? B!").play("B? y? y! B!")
    result = run_all_ways(merged([here, there]), (parse_service(":80"),))
    assert said(result) == "x=A:time y=B:time"


def test_exchanges_of_nobody_have_no_cause() -> None:
    scene = Scene().play("A? x? x! A!")
    assert causes(run_all_ways(scene.segments)) == {}
    assert causes(run_all_ways(scene.segments, (parse_service("10.0.0.7:80"),))) == {}


def test_what_the_service_asks_of_itself_counts_as_asked() -> None:
    own = Scene(service=SERVICE).play("A? x? x! A!")
    inner = replace_target(own.segments, UPSTREAM, SERVICE)
    assert causes(run_all_ways(inner, SERVICES)) == {}


def replace_target(
    segments: Sequence[Segment], old: tuple[str, int], new: tuple[str, int]
) -> list[Segment]:
    def other(end: tuple[str, int]) -> tuple[str, int]:
        return new if end == old else end

    return [replace(s, source=other(s.source), target=other(s.target)) for s in segments]


@pytest.mark.parametrize(
    ("sampled", "dropped", "found"), [(1.0, 0, "x=A:time"), (0.99999, 0, "x=")]
)
def test_what_is_not_all_seen_proves_nothing(sampled: float, dropped: int, found: str) -> None:
    pipeline = Pipeline("packets", MAX_CONTENT, SERVICES, sample=Sample(sampled))
    scene = Scene().play("A? x? x! A!")
    records = pipeline.feed(batch_of(scene.segments)) + pipeline.close()
    assert said(result_of(pipeline, records)) == found


def test_what_the_kernel_dropped_may_be_the_cause() -> None:
    scene = Scene({"B": parent(ONE), "y": parent(ONE)}).play("A? x? x! y? y! A! B? z? z! B!")
    for split, found in ((8, "x= y="), (0, "x=A:time y=A:time")):
        pipeline = Pipeline("packets", MAX_CONTENT, SERVICES)
        begun = next(n for n, s in enumerate(scene.segments) if b"/A" in s.payload) + 1
        records = pipeline.feed(batch_of(scene.segments[:begun]))
        records += pipeline.feed(batch_of(scene.segments[begun:], begun), split)
        records += pipeline.close()
        assert said(result_of(pipeline, records)) == f"{found} z=B:time"


def result_of(pipeline: Pipeline, records: list) -> Result:  # type: ignore[type-arg]
    parts = [(packet, channel, joined(parts, size)) for packet, channel, parts, size, _ in records]
    return Result(parts, pipeline.ledger)


# -- threads


@pytest.mark.parametrize(
    ("script", "threads", "found"),
    [
        ("A? B? x? x! A! B!", "A=1 B=2 x=2", "x=B:thread"),
        ("A? x? x! A!", "A=1 x=1", "x=A:thread"),
        ("A? x? x! A!", "A=1 x=2", "x=A:time"),
        ("A? B? x? x! A! B!", "A=1 B=1 x=1", "x="),
        ("A? B? x? x! A! B!", "A=1 B=1 x=2", "x="),
        ("A? A! B? x? x! B!", "A=1 B=1 x=1", "x=B:thread"),
    ],
)
def test_threads(script: str, threads: str, found: str) -> None:
    of = {name: int(thread) for name, _, thread in (w.partition("=") for w in threads.split())}
    scene = Scene().play(script)
    assert {said(called(scene, of, size)) for size in (1, 2, 5, 1000)} == {found}


def test_fields_and_threads() -> None:
    told = {"A": parent(ONE), "B": parent(ONE), "C": parent(OTHER), "x": parent(ONE)}
    scene = Scene(told).play("A? B? C? x? x! A! B! C!")
    assert said(called(scene, {"A": 1, "B": 2, "C": 3, "x": 2}, 1000)) == "x=B:thread"
    assert said(called(scene, {"A": 1, "B": 2, "C": 3, "x": 3}, 1000)) == "x="


def called(scene: Scene, threads: dict[str, int], size: int) -> Result:
    """The scene as a host sees it that knows which thread each call belongs to."""
    pipeline = Pipeline("ebpf", MAX_CONTENT, SERVICES)
    records = []
    for first in range(0, len(scene.segments), size):
        part = scene.segments[first : first + size]
        names = [s.payload[5:6].decode() if s.payload[:3] == b"GET" else "" for s in part]
        callers = np.array([77 << 32 | threads.get(name, 99) for name in names], np.int64)
        segments = pipeline._decoder.decode(batch_of(part, first)).segments
        records += pipeline.feed_segments(replace(segments, callers=callers), len(part), {}, 0)
    return result_of(pipeline, records + pipeline.close())


def test_callers_are_remembered_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wiretape.agent.cause.MAX_CALLERS", 10)
    callers = Callers()
    for first in range(0, 40, 4):
        callers.add(first, np.arange(first, first + 4) + 100)
    assert [callers.of(packet) for packet in (39, 36, 35, 32)] == [139, 136, 135, 132]
    assert [callers.of(packet) for packet in (0, 31, 40, 1000)] == [0, 0, 0, 0]


# -- the truth


def test_shop() -> None:
    """One customer after the other: the service's access logs tell what belonged to what."""
    results = []
    for size in (4096, 30_000, 1 << 24):
        pipeline = Pipeline("pcap", MAX_CONTENT, (parse_service(":8080"),))
        records = []
        with open_capture(str(SHOP / "shop.pcap"), size) as capture:
            for batch in capture.batches():
                records += pipeline.feed(batch)
        results.append(result_of(pipeline, records + pipeline.close()))
    assert results[0].encoded == results[1].encoded == results[2].encoded
    exchanges = {each.id: each for each in results[0].exchanges}
    calls = [each for each in exchanges.values() if each.role == pb.ROLE_OUTBOUND]
    assert Counter(each.cause_evidence for each in calls) == {"time": 45}
    asked: dict[str, list[pb.Exchange]] = {}
    for call in calls:
        cause = exchanges[call.cause_id]
        assert cause.role == pb.ROLE_INBOUND
        assert call.http.request.target.startswith(_CALLED[cause.http.request.method])
        asked.setdefault(call.cause_id, []).append(call)
    expected = json.loads((SHOP / "expected.json").read_text())
    logged = sum(len(c["requests"]) for c in expected["connections"] if c["role"] == "outbound")
    assert logged == sum(map(len, asked.values()))
    for ident, its in asked.items():
        cause = exchanges[ident].http
        path = cause.request.target.split(b"/")
        targets = [each.http.request.target for each in its]
        if path[1] == b"products":
            assert targets == [b"/stock/" + path[2]]
        elif cause.request.method == "POST" and len(path) == 2:
            skus = [
                item["sku"].encode() for item in json.loads(cause.request.content.data)["items"]
            ]
            stock = [target for target in targets if target.startswith(b"/stock/")]
            assert stock == [b"/stock/" + sku for sku in skus][: len(stock)]
            assert cause.response.status in (201, 402, 409)
            assert (b"/reservations" in targets) == (cause.response.status != 409)


_CALLED = {"GET": (b"/stock/", b"/charges/"), "POST": (b"/stock/", b"/res", b"/charges")}


def test_records_of_calls_are_whole() -> None:
    scene = Scene().play("A? x? x! A!")
    result = run(scene.segments, services=SERVICES)
    (call,) = (e for e in result.exchanges if name_of(e) == "x")
    (encoded,) = (d for _, c, d in result.records if c == EXCHANGES and b"/x" in d)
    assert len(encoded) == len(call.SerializeToString())
