"""Dates as people write them, and when frameworks signed a value: what passes, what does not."""

import json
import zlib
from base64 import urlsafe_b64encode

import pytest

from wiretape.replayer.values import Correlation, Judgement, Span

S, MS = 10**9, 10**6
RECORDED_S, LIVE_S = 1_700_000_000, 1_800_000_000  # 2023-11-14 22:13:20, 2027-01-15 08:00:00
SPAN = Span(RECORDED_S * S, 20 * MS, LIVE_S * S, 30 * MS)


def judge(span: Span = SPAN) -> Judgement:
    return Judgement(Correlation(), span)


@pytest.mark.parametrize(
    ("recorded", "live"),
    [
        ("Nov. 14, 2023, 10:13 p.m.", "Jan. 15, 2027, 8:00 a.m."),
        ("Nov. 14, 2023, 10:13 p.m.", "Jan. 15, 2027, 8 a.m."),
        ("<td>Nov. 14, 2023, 10:13 p.m.</td>", "<td>Jan. 15, 2027, 8 a.m.</td>"),
        ("Nov 14, 2023", "Jan 15, 2027"),
        ("November 14th, 2023", "January 15th, 2027"),
        ("Tuesday, November 14, 2023", "Friday, January 15, 2027"),
        ("Tue, Nov 14, 2023", "Fri, Jan 15, 2027"),
        ("due 14 Nov 2023 22:13 UTC.", "due 15 Jan 2027 08:00 UTC."),
        ("14-Nov-2023 22:13", "15-Jan-2027 08:00"),
        ("14. November 2023", "15. January 2027"),
        ("Tue Nov 14 22:13:20 2023", "Fri Jan 15 08:00:01 2027"),
        ("Tue Nov 14 22:13:20 UTC 2023", "Fri Jan 15 08:00:01 UTC 2027"),
        (
            "Tue Nov 14 2023 23:13:20 GMT+0100 (Central European Standard Time)",
            "Fri Jan 15 2027 09:00:00 GMT+0100 (Central European Standard Time)",
        ),
        ("11/14/2023, 10:13:20 PM", "1/15/2027, 8:00:01 AM"),
        ("14/11/2023, 22:13:20", "15/01/2027, 08:00:00"),
        ("14.11.2023 22:13", "15.1.2027 08:00"),
        ("2023/11/14 22:13:20", "2027/01/15 08:00:00"),
        (
            "Ana wrote on 2023/11/14 22:13: yes\n\nhttp://a/7",
            "Ana wrote on 2027/01/15 08:00: yes\n\nhttp://a/7",
        ),
        ("2023-11-14 10:13 PM", "2027-01-15 8:00 AM"),
        ("2023-11-14 10:13:20 pm", "2027-01-15 08:00:01 am"),
        ("report-20231114.csv", "report-20270115.csv"),
        ("INV-20231114-0007", "INV-20270115-0007"),
        ("backup_20231114_221320.tar", "backup_20270115_080001.tar"),
        ("20231114221320", "20270115080000"),
        ("a; filename=sales-2023-11-14.csv", "a; filename=sales-2027-01-15.csv"),
        ("/log/2023-11-14_sales.csv", "/log/2027-01-15_sales.csv"),
        ("db_2023-11-14_22-13-20.sql", "db_2027-01-15_08-00-00.sql"),
        ("2023-11-14-221320.log", "2027-01-15-080000.log"),
        ("snap-2023-11-14T22:13:20Z", "snap-2027-01-15T08:00:01Z"),
        ("INV-2023-11-14-0007", "INV-2027-01-15-0007"),
    ],
)
def test_written_dates(recorded: str, live: str) -> None:
    judgement = judge()
    assert judgement.same_text(recorded, live), judgement.reason()
    assert {accepted.kind for accepted in judgement.accepted} == {"time"}


@pytest.mark.parametrize(
    ("recorded", "live"),
    [
        # Another time of the day, day, month or year.
        ("Nov. 14, 2023, 10:13 p.m.", "Jan. 15, 2027, 9 a.m."),
        ("Nov. 14, 2023, 10:13 p.m.", "Jan. 15, 2027, 8 p.m."),
        ("Nov 14, 2023", "Jan 17, 2027"),
        ("Nov 14, 2023", "Feb 15, 2027"),
        ("report-20231114.csv", "report-20270214.csv"),
        ("report-20231114.csv", "report-20270199.csv"),
        ("20231114221320", "20270115090000"),
        ("on 2023/11/14 22:13: yes", "on 2027/01/15 09:00: yes"),
        ("2023-11-14 10:13 PM", "2027-01-15 8:00 PM"),
        ("11/14/2023", "15/1/2027"),
        ("12/11/2023", "2027/12/01"),
        ("sales-2023-11-14.csv", "sales-2027-01-18.csv"),
        ("db_2023-11-14_22-13-20.sql", "db_2027-01-15_09-00-00.sql"),
        ("INV-2023-11-14-0007", "INV-2027-01-15-0008"),
        # Another form.
        ("sales-2023-11-14.csv", "sales-20270115.csv"),
        ("db_2023-11-14_22-13-20.sql", "db_2027-01-15_08.00.00.sql"),
        ("Nov. 14, 2023, 10:13 p.m.", "Jan 15, 2027, 8 a.m."),
        ("Nov. 14, 2023, 10:13 p.m.", "January 15, 2027, 8 a.m."),
        ("Nov. 14, 2023, 10:13 p.m.", "Jan. 15, 2027, 08:00"),
        ("Nov 14, 2023", "15 Jan 2027"),
        ("November 14, 2023", "Jan 15, 2027"),
        ("1/02/2023", "01/15/2027"),
        ("Tuesday, November 14, 2023", "Fri, January 15, 2027"),
        # No such day, or another day of the week than it was.
        ("Tuesday, November 14, 2023", "Tuesday, January 15, 2027"),
        ("Feb 28, 2023", "Feb 30, 2027"),
        # Numbers of things.
        ("order 20231114", "order 20231115"),
        ("order 11223344", "order 11223345"),
        ("version 10.11.2023", "version 10.11.2024"),
        ("20231114-12345", "20270115-54321"),
    ],
)
def test_other_dates(recorded: str, live: str) -> None:
    judgement = judge()
    assert not judgement.same_text(recorded, live)
    assert not judgement.accepted


@pytest.mark.parametrize(
    ("recorded", "live", "same"),
    [
        ("© 2023 Shop", "© 2027 Shop", True),
        ("INV-2023-0017", "INV-2027-0017", True),
        ("INV-202311-0017", "INV-202701-0017", True),
        ("2311-00017", "2701-00017", True),
        ("© 2023 Shop", "© 2026 Shop", False),
        ("© 2022 Shop", "© 2026 Shop", True),  # the year before on both sides
        ("© 2022 Shop", "© 2027 Shop", False),
        ("INV-2023-0017", "INV-2027-0018", False),
        ("INV-202311-0017", "INV-202702-0017", False),
        ("INV-2023-0017", "INV-202701-0017", False),
        ("2310-00017", "2701-00017", False),
    ],
)
def test_years_and_months(recorded: str, live: str, same: bool) -> None:
    assert judge().same_text(recorded, live) is same


def test_where_a_day_may_be_a_month_one_reading_fits() -> None:
    # 2023-03-05 10:00 and 2027-01-02 10:00.
    span = Span(1_678_010_400 * S, MS, 1_798_884_000 * S, MS)
    assert judge(span).same_text("05/03/2023", "02/01/2027"), "the day first"
    assert judge(span).same_text("03/05/2023", "01/02/2027"), "the month first"
    assert not judge(span).same_text("05/03/2023", "01/02/2027")


@pytest.mark.parametrize(
    ("live", "same"),
    [
        ("March 3, 2027, noon", True),
        ("March 3, 2027, 12:00 p.m.", True),
        ("March 3, 2027, midnight", False),
        ("March 3, 2027, 12 a.m.", False),
        ("Mar. 3, 2027, noon", True),
        ("Mar 3, 2027, noon", False),
        ("April 3, 2027, noon", False),
    ],
)
def test_dates_as_newspapers_have_them(live: str, same: bool) -> None:
    # 2027-03-03 12:00:10.
    span = Span(RECORDED_S * S, 20 * MS, 1_804_075_210 * S, 20 * MS)
    assert judge(span).same_text("Nov. 14, 2023, 10:13 p.m.", live) is same


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def packed(value: object) -> str:
    return "." + b64(zlib.compress(json.dumps(value).encode()))


def base62(number: int) -> str:
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    return (base62(number // 62) if number >= 62 else "") + digits[number % 62]


def base36(number: int) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    return (base36(number // 36) if number >= 36 else "") + digits[number % 36]


SIGNED, OTHER = b64(bytes(range(7, 39))), b64(bytes(range(177, 209)))


def stamped(value: str, at_s: int, signature: str, form: str) -> str:
    if form == "django":
        return f"{value}:{base62(at_s)}:{signature}"
    return f"{value}.{b64(at_s.to_bytes(4, 'big'))}.{signature[:-16]}"


JSON = b64(b'{"user":7}')
HEX, OTHER_HEX = "3f9c0a7b51e2d846" * 2, "a0b7c45e9d21f386" * 2


@pytest.mark.parametrize("form", ["django", "itsdangerous"])
@pytest.mark.parametrize(
    "value", [JSON, packed({"user": 7, "of": "x" * 99}), "ana@example.org", "4", b64(b'"ana"')]
)
@pytest.mark.parametrize("around", ["{}", "see http://x.example/t/{} now", '<a href="/t/{}">'])
def test_when_it_was_signed(form: str, value: str, around: str) -> None:
    recorded = around.format(stamped(value, RECORDED_S, SIGNED, form))

    def same(value: str, at_s: int, signature: str = OTHER) -> bool:
        return judge().same_text(recorded, around.format(stamped(value, at_s, signature, form)))

    assert same(value, LIVE_S)
    assert same(value, LIVE_S + 1)
    assert not same(value, LIVE_S + 3600)
    assert not same(value, LIVE_S - 3600)
    assert not same(value, LIVE_S, OTHER[:-4])
    assert not same(value + "x", LIVE_S)
    assert not judge().same_text(recorded, recorded.replace(":", ".").replace("..", ".") + "x")


@pytest.mark.parametrize("form", ["django", "itsdangerous"])
@pytest.mark.parametrize("around", ["{}", "<a href='/t?s={}'>"])
def test_what_is_compressed_may_be_too_short_for_it(form: str, around: str) -> None:
    def token(value: str, at_s: int) -> str:
        return around.format(stamped(value, at_s, OTHER if at_s == LIVE_S else SIGNED, form))

    plain, inflated = b64(json.dumps({"user": 7}).encode()), packed({"user": 7})
    assert judge().same_text(token(plain, RECORDED_S), token(inflated, LIVE_S))
    assert judge().same_text(token(inflated, RECORDED_S), token(plain, LIVE_S))
    assert not judge().same_text(token(plain, RECORDED_S), token(packed({"user": 8}), LIVE_S))


def test_what_is_compressed_is_judged() -> None:
    recorded, live, other = (
        packed({"user": 7, "at": at, "of": "x" * 99}) for at in (RECORDED_S, LIVE_S, LIVE_S + 900)
    )
    assert judge().same_text(recorded, live)
    assert not judge().same_text(recorded, other)
    assert not judge().same_text(recorded, packed({"user": 8, "at": LIVE_S, "of": "x" * 99}))


@pytest.mark.parametrize(
    ("at_s", "digest", "same"),
    [
        (LIVE_S, OTHER_HEX, True),
        (LIVE_S + 3600, OTHER_HEX, False),
        (LIVE_S, OTHER_HEX[:-2], False),
        (LIVE_S, "x" * 32, False),
    ],
)
def test_a_token_that_says_when_it_was_made(at_s: int, digest: str, same: bool) -> None:
    since_2001 = 978_307_200
    recorded = f"/reset/Mg/{base36(RECORDED_S - since_2001)}-{HEX}/"
    assert judge().same_text(recorded, f"/reset/Mg/{base36(at_s - since_2001)}-{digest}/") is same


def test_words_before_a_digest_are_no_time() -> None:
    assert judge().same_text(f"avatar-{HEX}", f"avatar-{OTHER_HEX}")
    assert not judge().same_text(f"avatar-{HEX}", f"banner-{OTHER_HEX}")


def test_a_nonce_is_one_in_policy_and_page() -> None:
    nonce, live, other = b64(bytes(range(9, 25))), b64(bytes(range(99, 115))), b64(b"ab8q" * 4)
    for end in ("", " https://cdn.example.org"):
        judgement = judge()
        policy = "script-src 'nonce-{}' 'self'" + end
        assert judgement.same_text(policy.format(nonce), policy.format(live))
        page = '<script nonce="{}">'
        assert judgement.same_text(page.format(nonce), page.format(live))
        assert not judgement.same_text(page.format(nonce), page.format(other))
