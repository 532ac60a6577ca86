"""Tokens of a broken build that are distinct and can be foretold, where random ones stood."""

import pytest
from tapes import request_of, response_of

from wiretape.exchange.v1.exchange_pb2 import Exchange
from wiretape.replayer.values import Correlation, Evidence, Judgement, Place, Span

S = 10**9
SPAN = Span(1_700_000_000 * S, 0, 1_800_000_000 * S, 0)
PLACE = Place("POST /orders", "response", "", "")
UUIDS = ("9d18e059-ea22-4a34-b185-206b1ed9eef8", "3b241101-e2bb-4255-8caf-4136c566a962")
HEX = ("a3f19b22c0de17f0", "5c0d4e7b91a2f638")
TOKENS = ("4fzkKq7vQ9rXe2_nT0Lw8A", "Zu3-Hx81cDpVbS6yGm5JtQ")


@pytest.mark.parametrize(
    ("recorded", "live", "same"),
    [
        (
            UUIDS,
            ("0f72aa6c-cb16-4e13-b979-28ef0b973b73", "c56a4180-65aa-42ec-a945-5fd21dec0538"),
            2,
        ),
        (
            UUIDS,
            ("00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"),
            0,
        ),
        (
            UUIDS,
            ("0f72aa6c-cb16-4e13-b979-28ef0b973b73", "0f72aa6c-cb16-4e13-b979-28ef0b973b74"),
            1,
        ),
        (
            UUIDS,
            ("0f72aa6c-cb16-1e13-b979-28ef0b973b73", "c56a4180-65aa-12ec-a945-5fd21dec0538"),
            0,
        ),
        (
            UUIDS,
            ("0f72aa6c-cb16-7e13-b979-28ef0b973b73", "c56a4180-65aa-72ec-a945-5fd21dec0538"),
            0,
        ),
        (UUIDS, ("0f72aa6ccb164e13b97928ef0b973b73", "c56a418065aa42eca9455fd21dec0538"), 0),
        # Of version 1: one host, soon after another.
        (
            ("c9f6a2b0-8335-11ee-b962-0242ac120002", "c9f6a4e0-8335-11ee-b962-0242ac120002"),
            ("3f1a2c44-b2f0-11f1-9a3b-0242ac130003", "3f1a2d70-b2f0-11f1-9a3b-0242ac130003"),
            2,
        ),
        # Of one millisecond, as some make them.
        (
            ("01HF7YAT0WPBB3M1N5YRTZ8K3A", "01HF7YAT9KQ4V2D8J6C0S1XWEG"),
            ("01KCM3D0G0W8Q2Z5R7T1Y4N6BC", "01KCM3D0G0W8Q2Z5R7T1Y4N6BD"),
            2,
        ),
        (
            ("-NjA4kZ0x7Rq2mVbT9cL", "-NjA7wB1s5Yp8nKdE3fH"),
            ("-QzR1aBcD4eF6gHiJ8kL", "-QzR1aBcD4eF6gHiJ8kM"),
            2,
        ),
        # The same bytes lie in what is handed out as one text.
        (
            ("FGluY2x1AAAAAAAAAAW3kQ9Zx", "Dnr4XpLsAAAAAAAAAAV7tR2mB"),
            ("K8vQ2wYzAAAAAAAAAAJ4hN6cP", "Tb5uE9jMAAAAAAAAAAD1gS3fX"),
            2,
        ),
        (HEX, ("7be0419d3fa8c265", "7be0419d3fa8c266"), 1),
        (HEX, ("0000000000a1b2c3", "0000000000a1b2c4"), 0),
        (HEX, ("7be0419d3fa8c265", "e19c07b4a65d32f8"), 2),
        (TOKENS, ("q8vXzR2mKp0TnYw4aBcDe1", "q8vXzR2mKp0TnYw4aBcDe2"), 1),
        (TOKENS, ("aaaaaaaaaaaaaaaaaaaaB1", "aaaaaaaaaaaaaaaaaaaaB2"), 0),
        # Whatever was recorded close to another may be so live.
        (
            ("507f1f77bcf86cd799439011", "507f1f77bcf86cd799439012"),
            ("65f3a9b0d14e2c8877aa5512", "65f3a9b0d14e2c8877aa5513"),
            2,
        ),
    ],
)
@pytest.mark.parametrize("at_once", [False, True])
def test_what_can_be_foretold(
    recorded: tuple[str, str], live: tuple[str, str], same: int, at_once: bool
) -> None:
    known = Correlation()
    accepted = 0
    judgement = Judgement(known, SPAN, PLACE)
    for text, other in zip(recorded, live, strict=True):
        accepted += judgement.same_text(text, other, "json", "$.id")
        if not at_once:
            judgement.commit()
            judgement = Judgement(known, SPAN, PLACE)
    assert accepted == same


@pytest.mark.parametrize(
    "live",
    ["Hs4kTz9QvB1xW6yUe0CjDaXz", "Hs4+Tz9QvB1xW6yUe0Cj/aXz", "Hs4k/z9QvB1xW6yUe0CjDaXz"],
)
@pytest.mark.parametrize("recorded", ["q8Xz07Lk21Vw9RtYb3MnPgAb", "q8Xz/7Lk21Vw9RtYb3MnPgAb"])
def test_a_nonce_is_one_token_whatever_came(recorded: str, live: str) -> None:
    judgement = Judgement(Correlation(), SPAN, PLACE)
    policy = "script-src 'nonce-{}'; object-src 'none'"
    assert judgement.same_text(policy.format(recorded), policy.format(live), "field", "csp")
    assert [accepted.recorded for accepted in judgement.accepted] == [recorded]
    assert judgement.same_text(f'<a nonce="{recorded}">', f'<a nonce="{live}">', "text", "line 1")
    other = f'<a nonce="{live[::-1]}">'
    assert not judgement.same_text(f'<a nonce="{recorded}">', other, "text", "line 1")


def test_a_tag_may_be_named_elsewhere() -> None:
    recorded, live = "5b4bc10243613487befc", "f0932b2b17ac66b93d4c"
    known = Correlation(Evidence.of([_tagged(recorded, 0), _tagged(recorded, 9)]))
    first = Judgement(known, SPAN, PLACE)
    assert first.same_text(f'"{recorded}"', f'"{live}"', "field", "etag")
    assert first.fork().same_text(recorded, live, "json", "$.current")
    first.commit()
    known.begin(SPAN.recorded_at_ns + 9 * S, SPAN.live_at_ns)
    later = Judgement(known, SPAN, PLACE)
    assert later.same_text(f'"{recorded}"', f'"{live}"', "json", "$.current")
    assert [accepted.kind for accepted in later.accepted] == ["derived"]
    assert not later.same_text(recorded, "0cc175b9c0f1b6a831c3", "json", "$.current")


def _tagged(tag: str, after_s: int) -> Exchange:
    exchange = Exchange()
    exchange.http.request.CopyFrom(request_of("GET", "/orders"))
    exchange.http.response.CopyFrom(response_of(200, b"{}", {"ETag": f'"{tag}"'}))
    exchange.http.request.first_byte_at_ns = SPAN.recorded_at_ns + after_s * S
    return exchange
