"""Tables of dates as people and file names spell them, days after they were recorded."""

import pytest

from wiretape.replayer.values import Correlation, Judgement, Span

S, MS, DAY = 10**9, 10**6, 86_400
RECORDED_S = 1_700_000_000  # Tuesday, 2023-11-14 22:13:20
NEXT, LATER = RECORDED_S + 9 * DAY + 3_600, 1_800_000_000  # Thursday, 23:13:20; Friday, 2027-01-15


def judge(live_s: int) -> Judgement:
    known = Correlation()
    known.begin(RECORDED_S * S, live_s * S)
    return Judgement(known, Span(RECORDED_S * S, 20 * MS, live_s * S, 30 * MS))


# One row: what was recorded, what it is nine days and an hour later, what it is in 2027.
MOVED = [
    ("20231114", "20231123", "20270115"),
    ("INV-20231114-0007", "INV-20231123-0007", "INV-20270115-0007"),
    ("INV-231114-0007", "INV-231123-0007", "INV-270115-0007"),
    ("ORD20231114000123", "ORD20231123000123", "ORD20270115000123"),
    ("20231114T221320Z", "20231123T231320Z", "20270115T080000Z"),
    ("20231114221320", "20231123231321", "20270115080000"),
    ("20231114-2213.log", "20231123-2313.log", "20270115-0800.log"),
    ("backup_20231114_221320.tgz", "backup_20231123_231320.tgz", "backup_20270115_080000.tgz"),
    ("20231114221320123", "20231123231320001", "20270115080000999"),
    ("report-2023-11-14.pdf", "report-2023-11-23.pdf", "report-2027-01-15.pdf"),
    ("/2023/11/14/a.csv", "/2023/11/23/a.csv", "/2027/01/15/a.csv"),
    ("14.11.2023", "23.11.2023", "15.01.2027"),
    ("11/14/2023", "11/23/2023", "01/15/2027"),
    ("14/11/2023 22:13", "23/11/2023 23:13", "15/01/2027 08:00"),
    (
        "[14/Nov/2023:22:13:20 +0000] x",
        "[23/Nov/2023:23:13:20 +0000] x",
        "[15/Jan/2027:08:00:01 +0000] x",
    ),
    ("Nov 14, 2023", "Nov 23, 2023", "Jan 15, 2027"),
    (
        "November 14, 2023 at 10:13 PM",
        "November 23, 2023 at 11:13 PM",
        "January 15, 2027 at 8:00 AM",
    ),
    ("on 14 November 2023", "on 23 November 2023", "on 15 January 2027"),
    ("Tuesday, 14th Nov 2023", "Thursday, 23rd Nov 2023", "Friday, 15th Jan 2027"),
    ("14 Nov 2023 22:13:20 +0000", "23 Nov 2023 23:13:20 +0000", "15 Jan 2027 08:00:00 +0000"),
    ("Tue Nov 14 22:13:20 2023", "Thu Nov 23 23:13:20 2023", "Fri Jan 15 08:00:00 2027"),
    (
        "Tue Nov 14 2023 22:13:20 GMT+0000 (UTC)",
        "Thu Nov 23 2023 23:13:20 GMT+0000 (UTC)",
        "Fri Jan 15 2027 08:00:00 GMT+0000 (UTC)",
    ),
    ("week 2023-W46", "week 2023-W47", "week 2027-W02"),
    ("2023-318", "2023-327", "2027-015"),
    ("Tuesday", "Thursday", "Friday"),
    ("closed on Tue", "closed on Thu", "closed on Fri"),
    ("month 2023-11", "month 2023-11", "month 2027-01"),
    ("statement-2023-11.pdf", "statement-2023-11.pdf", "statement-2027-01.pdf"),
    ("November 2023", "November 2023", "January 2027"),
    ("INV-2023-11-0007", "INV-2023-11-0007", "INV-2027-01-0007"),
    ("INV-202311-07", "INV-202311-07", "INV-202701-07"),
    ("Q4 2023", "Q4 2023", "Q1 2027"),
    (
        "© 2023 kwqVwZCSmAVgRyzRhopzfGcn",
        "© 2023 Q2vj6Ek05Vds5R35g5yzGKHd",
        "© 2027 Q2vj6Ek05Vds5R35g5yzGKHd",
    ),
    ("© 2023 Shop", "© 2023 Shop", "© 2027 Shop"),
    ("INV-2023-0017", "INV-2023-0017", "INV-2027-0017"),
    ("at 22:13:20", "at 23:13:21", "at 08:00:00"),
    ("10:13 PM", "11:13 PM", "8:00 AM"),
    # What looks like a date is part of a token, on one side.
    (
        "14/Nov/2023:22:13:20 +0000 acc_61538f46f482d6a9",
        "23/Nov/2023:23:13:20 +0000 acc_810324a85b38fba7",
        "15/Jan/2027:08:00:00 +0000 acc_20230714b38fba75",
    ),
    (
        "INV-20231114-0017 for 96dd03f1-95d7-4d08-a569-3b6685e41c22",
        "INV-20231123-0017 for 535655d2-2068-4581-ae2d-d6f4e6fded7c",
        "INV-20270115-0017 for 8f2655d2-2031-4581-a569-d6f4e6fded7c",
    ),
    (
        "PDbSmd3EgxdEF_13Kn6SjmVQ_20231114_221320.csv",
        "h161VdX11KwxTa-czXpVLAia_20231123_231320.csv",
        "onS8D7OZsRgoLO5tXuOSQwPY_20270115_080000.csv",
    ),
    # A date of the future moves as its exchange does.
    ("due 20231214", "due 20231223", "due 20270214"),
    ("due December 2023", "due December 2023", "due February 2027"),
]  # fmt: skip


@pytest.mark.parametrize(("recorded", "next_week", "later"), MOVED)
def test_dates_move_as_time_does(recorded: str, next_week: str, later: str) -> None:
    for live_s, live in ((NEXT, next_week), (LATER, later)):
        judgement = judge(live_s)
        assert judgement.same_text(recorded, live), (live, judgement.reason())
        assert {accepted.kind for accepted in judgement.accepted} <= {"time", "unique"}


@pytest.mark.parametrize(
    ("recorded", "live"),
    [
        ("20231114", "20270114"),
        ("20231114", "20270116"),
        ("20231114", "2027-01-15"),
        ("INV-20231114-0007", "INV-20270115-0008"),
        ("INV-20231114-0007", "ORD-20270115-0007"),
        ("20231114221320", "20270115100000"),
        ("20231114221320", "20270115"),
        ("14/11/2023", "01/15/2027"),
        ("14.11.2023", "15/01/2027"),
        ("14/Nov/2023:22:13:20 +0000", "15/Jan/2027:09:00:00 +0000"),
        ("14/Nov/2023:22:13:20 +0000", "15/Jan/2027:08:00:00 +0100"),
        ("Nov 14, 2023", "January 15, 2027"),
        ("Nov 14, 2023", "Jan 16, 2027"),
        ("Tue Nov 14 22:13:20 2023", "Thu Jan 15 08:00:00 2027"),
        ("week 2023-W46", "week 2027-W03"),
        ("2023-318", "2027-016"),
        ("Tuesday", "Saturday"),
        ("month 2023-11", "month 2027-02"),
        ("November 2023", "February 2027"),
        ("PDbSmd3EgxdEF_13Kn6SjmVQ_20231114", "h161VdX11KwxTa-czXpVLAia_20270116"),
        ("20231114221320-TDphh17wpBzoqkbH0G0t", "20270115100000-fU4fb_flmLqYvLYNjL8q"),
        ("INV-2023-11-0007", "INV-2027-01-0008"),
        ("INV-202311-07", "INV-202702-07"),
        ("Q4 2023", "Q2 2027"),
        ("© 2023 Shop", "© 2026 Shop"),
        ("INV-2023-0017", "INV-2027-0018"),
        ("at 22:13:20", "at 09:00:00"),
        ("10:13 PM", "8:00 PM"),
        ("10:13 PM", "08:00"),
        ("due 20231214", "due 20270115"),
        ("due December 2023", "due January 2027"),
    ],
)
def test_other_dates(recorded: str, live: str) -> None:
    judgement = judge(LATER)
    assert not judgement.same_text(recorded, live)
    assert not judgement.accepted


@pytest.mark.parametrize(("live", "same"), [(20270115, True), (20270116, False), (2027011, False)])
def test_dates_as_numbers(live: int, same: bool) -> None:
    assert judge(LATER).same_number(20231114, live, "json", "$.day") is same
