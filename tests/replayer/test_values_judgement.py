import pytest
from tapes import Tape, request_of, response_of

from wiretape.replayer.values import Correlation, Evidence, Judgement, Span, read_instant, shape

S = 10**9
RECORDED_AT, LIVE_AT = 1_700_000_000 * S, 1_800_000_000 * S
SPAN = Span(RECORDED_AT, 0, LIVE_AT, 0)
U1, U2 = "9d18e059-ea22-4a34-b185-206b1ed9eef8", "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
U3 = "3b241101-e2bb-4255-8caf-4136c566a962"
L1, L2 = "0f72aa6c-cb16-4e13-b979-28ef0b973b73", "c56a4180-65aa-42ec-a945-5fd21dec0538"


def judge(correlation: Correlation | None = None, span: Span = SPAN) -> Judgement:
    return Judgement(correlation or Correlation(), span)


@pytest.mark.parametrize(
    ("recorded", "live"),
    [
        ("same", "same"),
        (U1, L1),
        (U1.upper(), L1.upper()),
        (f"/orders/{U1}/items", f"/orders/{L1}/items"),
        (f"order-{U1}", f"order-{L1}"),
        (f"ORD-{U1}", f"ORD-{L1}"),
        ("01ARZ3NDEKTSV4RRFFQ69G5FAV", "01BX5ZZKBKACTAV9WEVGEMMVRZ"),
        ("0ujtsYcgvSTl8PAuAdqWYSMnLOv", "0ujzPyRiIAffKhBux4PvQdDqMHY"),
        ("507f1f77bcf86cd799439011", "65f3a9b0d14e2c8877aa5512"),
        ("cus_NffrFeUfNV2Hib", "cus_9s6XKzkNRiz8i3"),
        ("sid=4fzkKq7vQ9rXe2_nT0Lw8A; Path=/", "sid=Zu3-Hx81cDpVbS6yGm5JtQ; Path=/"),
        ("d41d8cd98f00b204e9800998ecf8427e", "0cc175b9c0f1b6a831c399e269772661"),
        ("d41d8cd98f00b204", "1234567890123456"),
        ("4fzkKq7vQ9rXe2nT0Lw8AB", "Zu3-Hx81cDpVbS_yGm5JtQ"),
        ("q8Xz+7Lk2/Vw9RtYb3MnPg==", "Hs4kTz9QvB1xW6yUe0CjDa=="),
        ("q8Xz07Lk21Vw9RtYb3MnPg==", "Hs4+Tz9/vB1xW6yUe0CjDa=="),
        ("/8Xz07Lk21Vw9RtYb3MnPg==", "Hs4+Tz9/vB1xW6yUe0CjDa=="),
        ("/EdcW85alnygt4E4", "eTJ5xEW78EbkD0BE"),
        ("ccy/bW2T9IbjaLcx", "3IG1cYo+x6ARXtQc"),
        ("5/NnO7YEZqrrUw/tbO7mxt7M", "iuF1TsL69no/bNbLEF6SBI+t"),
        ("key: ccy/bW2T9IbjaLcx.", "key: 3IG1cYo/x6ARXtQc."),
        ("'nonce-yrw/biYFmJhBS5KoChBh8A=='", "'nonce-TJYq9qqd9laxoiIHO6U5fQ=='"),
        (
            "script-src 'nonce-q8Xz+7Lk2/Vw9RtYb3MnPg=='",
            "script-src 'nonce-/s4kTz9QvB1xW6yUe0CjDa=='",
        ),
        (
            "script-src 'nonce-q8Xz+7Lk2/Vw9RtYb3MnPgxy'",
            "script-src 'nonce-Hs4kTz9QvB1xW6yUe0CjDa+z'",
        ),
        (
            f'<p id="{U1}"><i value="q8Xz07Lk2/Vw9RtYb3MnPg==">',
            f'<p id="{L1}"><i value="Hs4/Tz9QvB+xW6yUe0CjDa==">',
        ),
        (
            "s%3A4fzkKq7vQ9rXe2-nT0Lw8A.%2F8Xz%2B7Lk21Vw9RtYb3MnPgq8Xz%2B7Lk21Vw9RtYb3MnP",
            "s%3AZu3-Hx81cDpVbS_yGm5JtQ.Hs4kTz9QvB1xW%2F6yUe0CjDHs4kTz9QvB1xW%2F6yUe0Cj",
        ),
        ("q8Xz+7Lk21Vw9RtY--b3Mn/Pgq8Xz07Lk2==", "Hs4kTz9Qv/B1xW6y--Ue0CjDaHs4+Tz9Qv=="),
        ("sig1=:q8Xz07Lk2/Vw9RtYb3MnPg==:", "sig1=:Hs4kTz9QvB1xW6/yUe0CjD==:"),
        ('<i value="q8Xz&#43;7Lk21Vw9RtYb3MnPg==">', '<i value="Hs4kTz9QvB1xW6/yUe0CjD==">'),
        ("v1,q8Xz+7Lk2/Vw9RtYb3MnPg==", "v1,Hs4kTz9QvB1xW6yUe0/jDa=="),
        ("/f?exp=1700000060&sig=q8Xz%2B7Lk2%3D", "/f?exp=1800000060&sig=Hs4kTz9%2FQ%3D"),
        ("-l7gemJLXeRsWF7i", "wzdonoUbpq2emU4L"),
        ("vPehLBYYVYBtiI_m", "HEgHxLaUFVvuVUu2"),
        ("DoQGnMyNuk4g3JtAA1I8NgfmHTzz3IID", "3_u4oDHQJyORAh9F5RdTOlh8RP6BgQ1M"),
        ("/notes/vPehLBYYVYBtiI_m", "/notes/HEgHxLaUFVvuVUu2"),
        ("k3j5h2g9d8s7a6", "m1n2b3v4c5x6z7"),
        ("ch_3MmlLrLkdIwHu7ix0snN0B15", "ch_1AbcDeFgHiJkLmN2oPqRsTu3"),
        ("lpat_AQ9i6p-0K2b", "gvq-54au-XFz9oTv"),
        ("lpat_AQ9i6p-0K2b", "gvq_54auXXFz9oTv"),
        ("XkcmLUZpXUkzhjv_", "q8vXzR2mKp0TnYw4"),
        ("sNslKAHtdxnixuRY", "q8vXzR2mKp0TnYw4"),
        (
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        ("2023-11-14T22:13:20Z", "2027-01-15T08:00:00Z"),
        ("2023-11-14T22:13:20.123+00:00", "2027-01-15T08:00:01.001+00:00"),
        ("2023-11-14 22:13:20", "2027-01-15 08:00:00"),
        ("2023-11-14T23:13:20+01:00", "2027-01-15T09:00:00+01:00"),
        ("2023-11-14T23:13:20Z", "2027-01-15T09:00:00Z"),
        ("2023-11-14", "2027-01-15"),
        ("Tue, 14 Nov 2023 22:13:20 GMT", "Fri, 15 Jan 2027 08:00:00 GMT"),
        ("at 1700000000, done", "at 1800000001, done"),
        ("1700000000123", "1800000000001"),
        ("1700000000.25", "1800000000.5"),
        ("2023-11-14T22:13:20.1234567Z", "2027-01-15T08:00:00.123456789Z"),
    ],
)
def test_accepted(recorded: str, live: str) -> None:
    assert judge().same_text(recorded, live)


@pytest.mark.parametrize(
    ("recorded", "live"),
    [
        ("red", "blue"),
        (f"s%3Aada.{'q8Xz07L' * 6}k", f"s%3Abob.{'Hs4kTz9' * 6}k"),
        (f"s%3Aada.{'q8Xz07L' * 6}k", f"s%3Aada.{'Hs4kTz9' * 5}k"),
        (
            "script-src 'nonce-q8Xz+7Lk2/Vw9RtYb3MnPg=='",
            "script-src 'nonce-AAAAAAAAAAAAAAAAAAAAAA=='",
        ),
        (
            "script-src 'nonce-q8Xz+7Lk2/Vw9RtYb3MnPg=='",
            "style-src 'nonce-/s4kTz9QvB1xW6yUe0CjDa=='",
        ),
        ("'q8Xz+7Lk2/Vw9RtYb3MnPg=='", "'Hs4kTz9QvB1xW6yUe0CjDaxx'"),
        ('<a href="/ab/4fzkKq7vQ9rXe2nT0Lw8A==">', '<a href="/cd/Zu3Hx81cDpVbS6yGm5JtQ==">'),
        ("/f?exp=1700000060&sig=q8Xz%2B7Lk2%3D", "/f?exp=1800000060&sig=Hs4kTz9"),
        ("/u/EdcW85alnygt4", "/v/TJ5xEW78EbkD0"),
        ("u/EdcW85alnygt4", "v/TJ5xEW78EbkD0"),
        ("files/EdcW85alnygt4", "TJ5x/EW78EbkD0aBcDe"),
        ("17", "18"),
        ("order-000001", "order-000002"),
        ("customer-record-000000001", "customer-record-000000002"),
        ("12345678901234567", "98765432109876543"),
        (U1, U1.replace("4a34", "1a34")),
        (U1, L1.upper()),
        (U1, L1.replace("-", "")),
        (U1, "not-a-uuid"),
        ("00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"),
        (f"/orders/{U1}", f"/baskets/{L1}"),
        ("iPhone15ProMax", "GalaxyS24Ultra"),
        ("iPhone-15-ProMax", "Galaxy-S24-Ultra"),
        ("SKU-Blue-42x", "SKU-Grey-17y"),
        ("Tea-Cups-Blue-2", "Mug-Pots-Grey-7"),
        ("Error404NotFound", "Error500Internal"),
        ("summer2024sale", "winter2025deal"),
        ("tshirt2024red", "hoodie2025blu"),
        ("johnsmith1985", "janedoe198765"),
        ("ch_3MmlLrLkdIwHu7ix0snN0B15", "pi_1AbcDeFgHiJkLmN2oPqRsTu3"),
        ("KeyboardHighValue", "KeyboardBackValue"),
        ("SubscriptionUpdated", "SubscriptionExpired"),
        ("getHTTPProxyConfig", "getHTTPSProxyValue"),
        ("EVP_aes_192_cfb8", "EVP_rc5_128_cfb1"),
        ("Basic dXNlcjpwYXNzd29yZA==", "Basic dXNlcjpwYXNzc3dvcmQ="),
        ("Basic dXNlcjpwYXNz", "Basic cm9vdDp3b3Jk"),
        ("4fzkKq7vQ9rXe2nT0Lw8A", "AAAAAAAAAAAAAAAAAAAAA"),
        ("4fzkKq7vQ9rXe2nT0Lw8A", "undefinedconstantnamed"),
        ("d41d8cd98f00b204e9800998ecf8427e", "00000000000000000000000000000000"),
        ("d41d8cd98f00b204e9800998ecf8427e", "d41d8cd98f00b204e9800998ecf8427f"),
        ("insufficient_funds_error", "card_was_declined_by_them"),
        ("InsufficientFundsError", "CardWasDeclinedByBankX"),
        ("Order-Confirmation-2024", "Order-Confirmation-2025"),
        ("transaction-unavailable", "transaction-unsupported"),
        ("2023-11-14T22:13:20Z", "2027-01-15T09:00:00Z"),
        ("2023-11-14T22:13:20Z", "2027-01-15T08:00:00.000Z"),
        ("2023-11-14T22:13:20Z", "2027-01-15T08:00:00+00:00"),
        ("2023-11-14T22:13:20Z", "2027-01-15 08:00:00Z"),
        ("2023-11-14T22:13:20.123Z", "2027-01-15T08:00:00.123456Z"),
        ("2023-11-14T22:13:20Z", "2027-01-15T08:00:04Z"),
        ("1700000000", "1800000000000"),
        ("1700000000", "1700000001"),
        ("2023-13-14", "2027-01-15"),
    ],
)
def test_refused(recorded: str, live: str) -> None:
    assert not judge().same_text(recorded, live)


@pytest.mark.parametrize(
    ("live", "same"),
    [
        ("usr_54au-XFz9oTvq", True),
        ("cus_54au-XFz9oTvq", False),
        ("ord-54au-XFz9oTvq", False),
        ("Zk3d54au-XFz9oTvq", False),
    ],
)
def test_a_kind_that_the_recording_knows(live: str, same: bool) -> None:
    """Several tokens of one kind are no chance; one alone may be."""
    answer = {"user": "usr_AQ9i6p-0K2bYx", "others": ["usr_9s6XKzkNRiz8i", "cus_3MmlLrLkdIwHu"]}
    tape = Tape()
    tape.inbound(request_of("GET", "/users"), response_of(200, answer))
    known = Correlation(Evidence.of(tape.exchanges))
    assert judge(known).same_text("usr_AQ9i6p-0K2bYx", live) == same


def test_a_path_is_not_renamed_as_a_whole() -> None:
    """It has the characters of base64."""
    for path in ("/v1/{}", "api/v1/{}", "/d/{}==", "https://x.org/f/{}/g", "<a href='/d/{}'>"):
        known = Correlation()
        first = judge(known)
        assert first.same_text("4fzkKq7vQ9rXe2nT0Lw8A4", "Zu3Hx81cDpVbS6yGm5JtQ4")
        first.commit()
        recorded = path.format("4fzkKq7vQ9rXe2nT0Lw8A4")
        assert judge(known).same_text(recorded, path.format("Zu3Hx81cDpVbS6yGm5JtQ4"))
        assert not judge(known).same_text(recorded, path.format("q8Xz07Lk21Vw9RtYb3MnPg"))


def test_renaming_is_one_to_one() -> None:
    known = Correlation()
    first = judge(known)
    assert first.same_text(f"{U1} {U2} {U1}", f"{L1} {L2} {L1}")
    assert not judge(known).same_text(f"{U1} {U1}", f"{L1} {L2}"), "one recorded, two live"
    assert not judge(known).same_text(f"{U1} {U2}", f"{L1} {L1}"), "two recorded, one live"
    first.commit()
    assert judge(known).same_text(U1, L1)
    assert not judge(known).same_text(U1, L2)
    assert not judge(known).same_text(U3, L2)


def test_nothing_counts_before_commit() -> None:
    known = Correlation()
    assert judge(known).same_text(U1, L1)
    assert judge(known).same_text(U1, L2)


def recorded_shop() -> tuple[Correlation, list[int]]:
    """The client names U1, the build makes U2 and U3; and when each exchange began."""
    tape = Tape()
    exchanges = [
        tape.inbound(request_of("GET", f"/orders/{U1}"), response_of(200, {"id": U1})),
        tape.inbound(request_of("POST", "/orders", b"{}"), response_of(201, {"id": U2})),
        tape.inbound(request_of("POST", "/orders", b"{}"), response_of(201, {"id": U3})),
    ]
    begun = [exchange.http.request.first_byte_at_ns for exchange in exchanges]
    return Correlation(Evidence.of(exchanges)), begun


def test_what_was_given_to_the_build_is_not_renamed() -> None:
    known, begun = recorded_shop()
    known.begin(begun[0], LIVE_AT)
    judgement = judge(known)
    assert not judgement.same_text(U1, L1)
    assert judgement.reason() == f"{U1} was given to the build"


def test_what_stood_for_itself_is_not_renamed() -> None:
    known, begun = recorded_shop()
    known.begin(begun[1], LIVE_AT)
    assert judge(known).same_text(U2, L2), "it is new there"
    known.begin(begun[2], LIVE_AT)
    judgement = judge(known)
    assert not judgement.same_text(U2, L2)
    assert judgement.reason() == f"{U2} stood for itself before"
    assert judgement.same_text(U3, L2)


def test_another_value_of_the_recording_is_a_difference() -> None:
    known, begun = recorded_shop()
    known.begin(begun[1], LIVE_AT)
    judgement = judge(known)
    assert not judgement.same_text(f"{U2},{U3}", f"{U3},{U2}")
    assert judgement.reason() == "that is another value of the recording"


def test_values_are_carried_into_later_messages() -> None:
    known = Correlation()
    first = judge(known)
    token = ("cus_NffrFeUfNV2Hib", "cus_9s6XKzkNRiz8i3")
    assert first.same_text(f"/orders/{U1}", f"/orders/{L1}")
    assert first.same_text(*token)
    first.commit()
    sent = f'GET /orders/{U1}/x HTTP/1.1\r\n\r\n{{"id": "order-{U1}", "to": "{token[0]}"}}'
    live = sent.replace(U1, L1).replace(*token)
    assert known.to_live(sent.encode()) == live.encode()
    assert known.to_recorded(live.encode()) == sent.encode()


def test_a_time_of_the_past_is_measured_from_its_own_exchange() -> None:
    known = Correlation()
    known.begin(RECORDED_AT - 60 * S, LIVE_AT - 1 * S)
    created, live = "2023-11-14T22:12:20Z", "2027-01-15T07:59:59Z"
    assert judge(known).same_text(created, live)
    assert not judge(known).same_text(created, "2027-01-15T07:58:59Z".replace("58:59", "50:00"))


def test_an_instant_comes_again_as_its_pair() -> None:
    known = Correlation()
    first = judge(known)
    assert first.same_text("2023-11-14T23:13:20Z", "2027-01-15T09:00:00Z")
    first.commit()
    later = judge(known, Span(RECORDED_AT + 600 * S, 0, LIVE_AT + 1 * S, 0))
    assert later.same_text("2023-11-14T23:13:20Z", "2027-01-15T09:00:00Z")
    assert not later.same_text("2023-11-14T23:13:20Z", "2027-01-15T09:30:00Z")


@pytest.mark.parametrize("text", ["", "2023", "2023-02-30", "17000000001", "17000000001.5", "abc"])
def test_no_instant(text: str) -> None:
    assert read_instant(text) is None


def test_numbers_are_times_only_near_their_exchange() -> None:
    assert judge().same_number(1_700_000_000, 1_800_000_001)
    assert not judge().same_number(1_700_000_000, 1_700_000_001)
    assert not judge().same_number(5_000_000_000, 5_100_000_000)
    assert not judge().same_number(17, 18)


def test_shape() -> None:
    assert shape(f"/orders/{U1}/x") == shape(f"/orders/{L1}/x") == "/orders/*/x"
    assert shape("/orders/17") != shape("/orders/18")
