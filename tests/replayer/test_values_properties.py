"""Renaming against a model of it: one-to-one, in both directions, over a whole run."""

import random
import string

from hypothesis import given, settings
from hypothesis import strategies as st
from tapes import Tape, request_of, response_of

from wiretape.replayer.values import Correlation, Evidence, Judgement, Place, Span

SPAN = Span(0, 0, 0, 0)
RECORDED = [f"9d18e059-ea22-4a34-b185-206b1ed9ee{n:02x}" for n in range(6)]
LIVE = [f"0f72aa6c-cb16-4e13-b979-28ef0b973b{n:02x}" for n in range(6)]
PAIRS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12)


class Bijection:
    """The model: a pair is accepted where neither side stands for another already."""

    def __init__(self) -> None:
        self.live_of: dict[int, int] = {}
        self.recorded_of: dict[int, int] = {}

    def accepts(self, recorded: int, live: int) -> bool:
        same = (
            self.live_of.get(recorded, live) == live
            and self.recorded_of.get(live, recorded) == recorded
        )
        if same:
            self.live_of[recorded] = live
            self.recorded_of[live] = recorded
        return same


@given(PAIRS, st.booleans())
def test_tokens_are_renamed_one_to_one(pairs: list[tuple[int, int]], whole: bool) -> None:
    known, model = Correlation(), Bijection()
    judgement = Judgement(known, SPAN)
    for recorded, live in pairs:
        texts = RECORDED[recorded], LIVE[live]
        assert judgement.same_text(*texts) == model.accepts(recorded, live)
        if not whole:
            judgement.commit()
            judgement = Judgement(known, SPAN)
    judgement.commit()
    assert known.live_of == {RECORDED[r]: LIVE[v] for r, v in model.live_of.items()}
    assert known.recorded_of == {v: r for r, v in known.live_of.items()}
    told = " ".join(known.live_of).encode()
    assert known.to_recorded(known.to_live(told)) == told


@given(PAIRS, PAIRS, PAIRS)
def test_a_fork_counts_where_it_is_kept(
    before: list[tuple[int, int]], lost: list[tuple[int, int]], kept: list[tuple[int, int]]
) -> None:
    model = Bijection()
    judgement = Judgement(Correlation(), SPAN)
    for recorded, live in before:
        assert judgement.same_text(RECORDED[recorded], LIVE[live]) == model.accepts(recorded, live)
    thrown = judgement.fork()
    for recorded, live in lost:
        thrown.same_text(RECORDED[recorded], LIVE[live])
    fork = judgement.fork()
    for recorded, live in kept:
        assert fork.same_text(RECORDED[recorded], LIVE[live]) == model.accepts(recorded, live)
    fork.commit()
    for recorded in range(6):
        for live in range(6):
            accepted = judgement.fork().same_text(RECORDED[recorded], LIVE[live])
            assert accepted == (
                model.live_of.get(recorded, live) == live
                and model.recorded_of.get(live, recorded) == recorded
            )


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=8, unique=True),
    st.lists(st.integers(41, 90), min_size=8, max_size=8),
)
@settings(max_examples=200)
def test_counters_rise_and_are_one_to_one(numbers: list[int], live: list[int]) -> None:
    """Every new one is accepted just where it is above all that were accepted before."""
    numbers.sort()
    tape = Tape()
    exchanges = [
        tape.inbound(request_of("POST", "/orders"), response_of(201, {"id": number}))
        for number in numbers
    ]
    known = Correlation(Evidence.of(exchanges))
    place = Place("POST /orders", "response", "", "")
    accepted: dict[int, int] = {}
    failed = False
    for exchange, number, other in zip(exchanges, numbers, live, strict=False):
        at_ns = exchange.http.request.first_byte_at_ns
        known.begin(at_ns, 0)
        judgement = Judgement(known, Span(at_ns, 0, 0, 0), place)
        same = judgement.same_number(number, other, "json", "$.id")
        if same:
            judgement.commit()
        # What was refused is taken for itself afterwards: the run has failed already.
        if not failed:
            assert same == (other > max(accepted.values(), default=0))
        failed = failed or not same
        if same:
            accepted[number] = other
        for told, heard in accepted.items():
            assert Judgement(known, SPAN, place).same_text(
                f"/orders/{told}", f"/orders/{heard}", "field", "location"
            )


def test_fair_tokens_pass() -> None:
    """Of one seed, so that it says the same every time: hardly any fair token is refused."""
    fair = random.Random(1)
    alphabets = {
        "hex": (string.hexdigits[:16], 16),
        "base-36": (string.ascii_lowercase + string.digits, 16),
        "base-62": (string.ascii_letters + string.digits, 14),
        "base64url": (string.ascii_letters + string.digits + "-_", 16),
    }
    for name, (alphabet, length) in alphabets.items():
        refused = 0
        for _ in range(5000):
            recorded, live = ("".join(fair.choices(alphabet, k=length)) for _ in range(2))
            judgement = Judgement(Correlation(), SPAN)
            refused += not judgement.same_text(f"x {recorded}", f"x {live}")
        assert refused <= 100, f"{refused} of 5000 {name}"


def test_live_tokens_hardly_ever_decide() -> None:
    """What a run of the same build gives another time must not turn the verdict."""
    fair = random.Random(2)
    alphabets = [
        (string.hexdigits[:16], "4bf92f3577b34da6"),
        (string.ascii_lowercase + string.digits, "k3j5h2g9d8s7a6f4"),
        (string.ascii_letters + string.digits, "NffrFeUfNV2Hib"),
        (string.ascii_letters + string.digits + "-_", "4fzkKq7vQ9rXe2nT0Lw8AB"),
        (string.ascii_letters + string.digits + "-_", "-l7gemJLXeRsWF7i"),
    ]
    for alphabet, recorded in alphabets:
        refused = []
        for _ in range(5000):
            live = "".join(fair.choices(alphabet, k=len(recorded)))
            if not Judgement(Correlation(), SPAN).same_text(recorded, live):
                refused.append(live)
        assert len(refused) <= 1, refused[:10]
