"""A later request carries what stood in a response: when its absence is a difference."""

import pytest
from tapes import Tape, request_of, response_of

from wiretape.exchange.v1.exchange_pb2 import HttpResponse
from wiretape.replayer.carried import plan
from wiretape.replayer.io.client import Answer
from wiretape.replayer.judge import Attempt
from wiretape.replayer.rules import Rules
from wiretape.replayer.values import Correlation
from wiretape.replayer.verdict import Result, State

# Random bytes in base64, of which a part between + and / looks like a token of its own.
SIGNED = "q8+wkCs7MhFfDLZeK9/Zt4Rb1Hn6Vc0Xy5Lp3Gd8+Qa="
LIVE = "Jt5Wb2Xk9+Rm4Zc7Vd1Hs/6Nf3Gp8Qy0La5Te+Uw2Ie="
PART = "wkCs7MhFfDLZeK9"


def told(text: str) -> HttpResponse:
    return response_of(200, {"url": f"http://shop.example/f?sig={text}"})


@pytest.mark.parametrize(
    ("live", "state"),
    [
        # Another signature has other parts.
        (told(LIVE), State.SAME),
        # Without one it is a difference.
        (response_of(200, {"url": "http://shop.example/f?sig="}), State.DIFFERS),
    ],
)
def test_a_part_of_what_was_accepted_is_not_missing(live: HttpResponse, state: State) -> None:
    tape = Tape()
    first = tape.inbound(request_of("GET", "/link"), told(SIGNED))
    tape.inbound(request_of("GET", f"/f?sig=AAAA/{PART}/AAAA"), response_of(403))
    attempt = Attempt(0, first, Correlation(), plan(tape.exchanges), Rules())
    result = Result(0, "1", "GET", "/link", 0)
    at_ns = first.http.request.first_byte_at_ns
    attempt.judge(Answer(at_ns, at_ns, response=live), result)
    assert result.state is state, result.differences
