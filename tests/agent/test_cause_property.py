"""Causes of random traffic: what is claimed is true, and read in all ways the same."""

from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from served_traffic import Scene, causes
from tcp_traffic import (
    MS,
    at_times,
    run_all_ways,
)
from test_cause import NEXT, ONE, OTHER, SERVICES, SPAN, parent


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
