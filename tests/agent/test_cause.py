"""Which exchange caused which call, told as short scripts (served_traffic.py)."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from served_traffic import SERVICE, UPSTREAM, Scene, causes, merged, name_of, said
from tcp_traffic import (
    MAX_CONTENT,
    MS,
    Result,
    Segment,
    at_times,
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


@dataclass
class Work:
    """A scene, and what caused what in it."""

    scene: Scene
    truth: dict[str, str]
    alone: set[str]
    """Calls that were made while one exchange was open."""


@st.composite
def works(draw: st.DrawFn) -> Work:
    """A service that works on several requests at once, each of which makes it ask others."""
    inbound, outbound = "ABCDEFGH", "abcdefghijklmnop"
    shared = draw(st.integers(1, 4))
    on = {name: inbound[n % shared] for n, name in enumerate(inbound)}
    pool: list[str] = []
    on_pool: dict[str, str] = {}
    fields: dict[str, str] = {}
    style = draw(st.sampled_from(["none", "trace", "request", "some", "restarts"]))
    scene = Scene(fields, {})
    truth: dict[str, str] = {}
    alone: set[str] = set()
    open_now: list[str] = []
    calls: dict[str, str] = {}
    left_in, left_out = list(inbound), list(outbound)
    size = draw(st.sampled_from([11, 40, 1460]))

    def mark(name: str, number: int, span: str) -> str:
        kind = style if style != "some" else draw(st.sampled_from(["none", "trace", "request"]))
        if kind == "trace":
            return parent(f"{number + 1:032x}", span)
        if kind == "request":
            return f"X-Request-ID: {number}\r\n"
        if kind == "restarts":
            return parent(f"{ord(name) << 9:032x}", span) if name.islower() else ""
        return ""

    for _ in range(draw(st.integers(1, 40))):
        doing = draw(st.sampled_from(["ask", "call", "call", "reply", "answer"]))
        if doing == "ask" and left_in:
            name = left_in.pop(0)
            line = on[name]
            fields[name] = mark(name, ord(name), SPAN)
            scene.connect(line)
            scene.on = {**scene.on, name: line}
            scene.do(name, "?", size)
            open_now.append(name)
        elif doing == "call" and open_now and left_out:
            name, cause = left_out.pop(0), draw(st.sampled_from(open_now))
            if not pool or draw(st.booleans()):
                scene.connect(name)
                on_pool[name] = name
            else:
                on_pool[name] = pool.pop()
            fields[name] = mark(name, ord(cause), NEXT)
            scene.on = {**scene.on, name: on_pool[name]}
            scene.do(name, "?", size)
            truth[name] = cause
            calls[name] = cause
            if len(open_now) == 1:
                alone.add(name)
        elif doing == "reply" and calls:
            name = draw(st.sampled_from(sorted(calls)))
            del calls[name]
            scene.do(name, "!", size)
            pool.append(on_pool[name])
        elif doing == "answer":
            # In the order of requests on each connection, and not before its calls are done.
            heads = {on[name]: name for name in reversed(open_now)}
            ready = sorted(name for name in heads.values() if name not in calls.values())
            if ready:
                name = draw(st.sampled_from(ready))
                scene.do(name, "!", size)
                open_now.remove(name)
    return Work(scene, truth, alone)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(works())
def test_what_is_claimed_is_true(work: Work) -> None:
    found = causes(run_all_ways(work.scene.segments, SERVICES, ((1,), (3, 1, 5), (0,))))
    assert set(found) == set(work.truth)
    for name, (cause, _) in found.items():
        assert cause in ("", work.truth[name])
        assert cause or name not in work.alone


words = st.builds(
    lambda name, what: " ".join(name + each for each in what),
    st.sampled_from("ABCDxyz"),
    st.sampled_from([*"?!?!?!-u.", "12", "()"]),
)
faults = st.lists(
    st.tuples(st.sampled_from(["lose", "twice", "late", "cut"]), st.integers(0, 80)), max_size=5
)
lines = ["", "", parent(ONE), parent(OTHER), "X-Request-ID: 1\r\n", "Upgrade: z\r\n"]


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(words, max_size=30),
    st.fixed_dictionaries({name: st.sampled_from(lines) for name in "ABCDxyz"}),
    st.sampled_from([{}, {"B": "A"}, {"B": "A", "C": "A", "y": "x"}]),
    faults,
    st.sampled_from([MS, 40 * MS, 40_000 * MS]),
)
def test_whatever_happens_it_is_the_same_in_all_ways(
    script: list[str],
    told: dict[str, str],
    on: dict[str, str],
    faults: list[tuple[str, int]],
    step_ns: int,
) -> None:
    segments = Scene(told, on).play(" ".join(script)).segments
    for kind, at in faults:
        if at >= len(segments):
            continue
        if kind == "late":
            segments.insert(at + 3, segments.pop(at))
        elif kind == "twice":
            segments.insert(at, segments[at])
        elif kind == "cut":
            del segments[:at]
        else:
            del segments[at]
    run_all_ways(at_times(segments, step=step_ns), SERVICES, ((1,), (2,), (7,), (0,)))


def test_records_of_calls_are_whole() -> None:
    scene = Scene().play("A? x? x! A!")
    result = run(scene.segments, services=SERVICES)
    (call,) = (e for e in result.exchanges if name_of(e) == "x")
    (encoded,) = (d for _, c, d in result.records if c == EXCHANGES and b"/x" in d)
    assert len(encoded) == len(call.SerializeToString())
