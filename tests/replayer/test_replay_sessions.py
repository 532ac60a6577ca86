import pytest

from wiretape.exchange.endpoints import ServiceEndpoint as Service
from wiretape.exchange.v1.exchange_pb2 import ROLE_INBOUND, ROLE_OUTBOUND, Exchange, Gap
from wiretape.replayer.errors import UsageError
from wiretape.replayer.schedule import plan
from wiretape.replayer.sessions import assign_roles, call_fault, inbound_fault, party_of

SHOP, STOCK, PAY = ("10.0.0.2", 8080), ("10.0.0.3", 80), ("10.0.0.4", 80)


def exchange(
    client: str, server: tuple[str, int], role: int = 0, at_ns: int = 0, end_ns: int = 0
) -> Exchange:
    made = Exchange(id=f"{at_ns:x}", role=role)  # type: ignore[arg-type]
    made.connection.client.address = client
    made.connection.server.address, made.connection.server.port = server
    http = made.http
    http.request.first_byte_at_ns = at_ns
    http.response.last_byte_at_ns = end_ns or at_ns
    http.request.content.complete = http.response.content.complete = True
    return made


def roles(exchanges: list[Exchange], service: Service | None = None) -> str:
    found = assign_roles([party_of(exchange) for exchange in exchanges], service)
    return "".join("-io"[found[party_of(exchange)]] for exchange in exchanges)


ASKED = exchange("10.0.0.1", SHOP)
ASKS_STOCK = exchange("10.0.0.2", STOCK)
ASKS_PAY = exchange("10.0.0.2", PAY)
STOCK_ASKS = exchange("10.0.0.3", PAY)
OTHERS = exchange("10.0.0.8", ("10.0.0.9", 80))
LOCAL = exchange("127.0.0.1", ("127.0.0.1", 8080))
LOCAL_6 = exchange("::1", ("::1", 8080))
LOCAL_ASKS = exchange("127.0.0.1", ("127.0.0.1", 9090))
MARKED_IN = exchange("10.0.0.1", SHOP, ROLE_INBOUND)
MARKED_OUT = exchange("10.0.0.2", PAY, ROLE_OUTBOUND)


@pytest.mark.parametrize(
    ("exchanges", "service", "expected"),
    [
        ([], None, ""),
        ([], Service("", 80), ""),
        ([ASKED, ASKS_STOCK, ASKS_PAY, OTHERS], None, "ioo-"),
        ([ASKED], Service("", 8080), "i"),
        ([ASKED, ASKS_STOCK, STOCK_ASKS], Service("10.0.0.2", 8080), "io-"),
        ([ASKED, ASKS_STOCK, STOCK_ASKS], Service("10.0.0.3", 80), "-io"),
        ([LOCAL, LOCAL_ASKS], Service("", 8080), "io"),
        ([LOCAL, LOCAL_6, LOCAL_ASKS], Service("", 8080), "iio"),
        ([MARKED_IN, MARKED_OUT, OTHERS], None, "io-"),
        ([MARKED_IN, MARKED_OUT], Service("10.0.0.2", 8080), "io"),
    ],
)
def test_roles(exchanges: list[Exchange], service: Service | None, expected: str) -> None:
    assert roles(exchanges, service) == expected


@pytest.mark.parametrize(
    ("exchanges", "service", "said"),
    [
        ([ASKED], None, "name one with --service: 10.0.0.2:8080"),
        ([ASKED, ASKS_STOCK, STOCK_ASKS], None, "10.0.0.2:8080, 10.0.0.3:80"),
        ([LOCAL, LOCAL_ASKS], None, "127.0.0.1:8080, 127.0.0.1:9090"),
        ([LOCAL], None, "name one with --service: 127.0.0.1:8080"),
        ([ASKED], Service("", 81), "--service :81: nothing recorded was answered there"),
        (
            [ASKS_STOCK, ASKS_PAY],
            Service("", 80),
            "could be any of 10.0.0.3:80, 10.0.0.4:80",
        ),
        (
            [MARKED_IN, MARKED_OUT],
            Service("10.0.0.4", 80),
            "marks another service: 10.0.0.2:8080",
        ),
    ],
)
def test_never_a_guess(exchanges: list[Exchange], service: Service | None, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        assign_roles(map(party_of, exchanges), service)
    assert said in str(raised.value)


def with_gap(half: str, part: str, reason: Gap.Reason = Gap.LOST) -> Exchange:
    made = exchange("10.0.0.1", SHOP)
    message = getattr(made.http, half)
    gap = Gap(offset=4, length=2, reason=reason)
    (message.head_gaps if part == "head" else message.content.gaps).append(gap)
    message.content.complete = part == "head"
    return made


def without(half: str) -> Exchange:
    made = exchange("10.0.0.1", SHOP)
    made.http.ClearField(half)  # type: ignore[arg-type]
    return made


def ended_early(half: str) -> Exchange:
    made = exchange("10.0.0.1", SHOP)
    getattr(made.http, half).content.complete = False
    return made


@pytest.mark.parametrize(
    ("made", "inbound", "call"),
    [
        (ASKED, None, None),
        (Exchange(), "it is not HTTP", "it is not HTTP"),
        (without("request"), "only its response was recorded", "only its response was recorded"),
        (without("response"), "its response was not recorded", None),
        (ended_early("response"), "its response ended early, after 0 bytes of content", None),
        (with_gap("request", "content"), "its request's content lacks 2 bytes at 4", "same"),
        (with_gap("response", "content"), "its response's content lacks 2 bytes at 4", "same"),
        (
            with_gap("response", "content", Gap.LIMIT),
            "its response's content lacks 2 bytes at 4; beyond --max-content",
            "same",
        ),
        (with_gap("request", "head"), "its request's header section lacks 2 bytes at 4", "same"),
        (with_gap("response", "head"), "its response's header section lacks 2 bytes at 4", "same"),
    ],
)
def test_what_is_fit_to_judge(made: Exchange, inbound: str | None, call: str | None) -> None:
    assert inbound_fault(made) == inbound
    assert call_fault(made) == (inbound if call == "same" else call)


def test_the_plan_is_by_time_then_by_id() -> None:
    inbound = [exchange("c", SHOP, at_ns=at_ns) for at_ns in (5, 3, 9)]
    for place, made in enumerate(inbound):
        made.connection.id = "ab"[place % 2]
    steps = plan(sorted(inbound, key=lambda made: int(made.id, 16)))
    assert [step.exchange.id for step in steps] == ["3", "5", "9"]
    assert [step.last_on_connection for step in steps] == [True, False, True]
