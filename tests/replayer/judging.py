"""One pair of messages to be judged, and differences in few words."""

from tapes import Fields, request_of, response_of

from wiretape.exchange.v1.exchange_pb2 import HttpExchange
from wiretape.replayer.compare import Difference, compare_responses
from wiretape.replayer.compare.view import View
from wiretape.replayer.rules import Rules
from wiretape.replayer.rules_file import parse_rules
from wiretape.replayer.values import Correlation, Judgement, Place, Span

S = 10**9
PLACE = Place("GET /orders/*", "response", "", "")
# Random identifiers: the first of each pair recorded, the second live.
U1, U2 = "9d18e059-ea22-4a34-b185-206b1ed9eef8", "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
U3, U4 = "c3f0a2d4-7b61-4e0c-8a55-0f9e6d2b1c38", "2f8e4c6a-1d37-4b90-9c2e-5a7b8d0e3f64"
U5, U6 = "e7a1b3c5-2d4f-4681-b9a0-c8d6e4f20135", "40b2d9f7-6e5c-4a13-8f7d-91c3a5e7b2d0"
U7, U8 = "f4d2c6b8-0a9e-4735-a1f3-6b5d7c9e8042", "84c7e2a9-3f16-4d5b-b0e8-d1a3f5c79b26"


def judge(rules: str = "") -> Judgement:
    """A judgement of a pair of messages at PLACE, 100,000,000 s apart."""
    read = parse_rules(rules, "rules.toml") if rules else Rules()
    span = Span(1_700_000_000 * S, 0, 1_800_000_000 * S, 0)
    return Judgement(Correlation(), span, PLACE, rules=read)


def view(rules: str = "") -> View:
    return View(judge(rules))


def places(differences: list[Difference]) -> list[str]:
    return [f"{d.kind} {d.place}" for d in differences]


def compared(
    recorded: bytes,
    live: bytes,
    kind: str,
    rules: str = "",
    live_kind: str = "",
    fields: Fields | None = None,
) -> list[Difference]:
    """What differs between two responses with contents of one type."""
    exchange = HttpExchange(
        request=request_of("GET", "/orders/17", fields=fields),
        response=response_of(200, recorded, {"Content-Type": kind}),
    )
    answer = response_of(200, live, {"Content-Type": live_kind or kind})
    return compare_responses(exchange, answer, [], judge(rules))
