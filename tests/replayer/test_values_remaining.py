"""Tables of amounts that change as time passes, and of instants of the build's start."""

from decimal import Decimal

import pytest

from wiretape.replayer.values import Correlation, Judgement, Span

S, MS = 10**9, 10**6
RECORDED, LIVE = 1_700_000_003 * S, 1_800_000_027 * S
# When exchanges began: the replay is faster than the recording was.
BEGUN = ((0, 0), (30 * S, 60 * MS), (95 * S, 200 * MS))
LAST = Span(RECORDED + 95 * S, 20 * MS, LIVE + 200 * MS, 30 * MS)


def judge(span: Span = LAST, started_ns: int = LIVE - S) -> Judgement:
    known = Correlation()
    known.timeline.started_ns = started_ns
    for recorded_ns, live_ns in BEGUN:
        known.begin(RECORDED + recorded_ns, LIVE + live_ns)
    return Judgement(known, span)


def same(recorded: object, live: object, name: str, judgement: Judgement | None = None) -> bool:
    judgement = judgement or judge()
    part = "json" if name.startswith("$") else "field"
    if isinstance(recorded, str):
        assert isinstance(live, str)
        return judgement.same_text(recorded, live, part, name)
    values = [x if isinstance(x, int) else Decimal(str(x)) for x in (recorded, live)]
    return judgement.same_number(values[0], values[1], part, name)


@pytest.mark.parametrize(
    ("name", "recorded", "live"),
    [
        # Begun in its own exchange, the second one, or the first.
        ("$.expires_in", 3600, 3599),
        ("$.expires_in", 3599, 3600),
        ("$.expires_in", 3535, 3600),
        ("$.token.expiresIn", 3504, 3599),
        ("$.expires_in_ms", 59_987, 59_990),
        ("$.ttl", 205, 299),
        ("$.ttl", 234.93, 299.94),
        ("$.secondsUntilReset", 25, 90),
        ("$.time_left", "25s", "90s"),
        ("retry-after", "5", "4"),
        ("retry-after", "25", "90"),
        ("x-ratelimit-reset", "505", "600"),
        ("x-ratelimit-reset-after", "24.981", "89.869"),
        ("set-cookie: sid; max-age", "805", "900"),
        ("cache-control", "max-age=235, private", "max-age=300, private"),
        ("ratelimit", "limit=100, remaining=97, reset=25", "limit=100, remaining=97, reset=90"),
        ("ratelimit", '"default"; r=97; t=25', '"default"; r=97; t=90'),
        # Of a window of a minute by the clock: its end is whole on both sides.
        ("ratelimit-reset", "2", "33"),
        ("x-ratelimit-reset", "1700000100", "1800000060"),
        ("$.resetAt", "2023-11-14T22:15:00Z", "2027-01-15T08:01:00Z"),
        ("$.uptime", 98, 1),
        ("$.uptime", 9800.25, 1.125),
        ("$.uptime", 98.318397760391235, 0.218207550048828125),
        ("$.uptime_ms", 98_000, 1_220),
        ("$.idle_seconds", 65, 0),
        ("$.age_s", 95, 0),
    ],
)
def test_time_explains_it(name: str, recorded: object, live: object) -> None:
    judgement = judge()
    assert same(recorded, live, name, judgement), judgement.reason()
    assert [accepted.kind for accepted in judgement.accepted] == ["duration"]


@pytest.mark.parametrize(
    ("name", "recorded", "live"),
    [
        ("$.expires_in", 3600, 60),
        ("$.expires_in", 3600, 3601),
        ("$.expires_in", 3600, 3597),
        ("$.expires_in", 900, 3600),
        ("$.expires_in", 3600, 3600_000),
        ("$.expires_in", 3600, 3600.5),
        ("$.expires_in", 3601, 3666),
        ("$.expires_in", 3535, 3700),
        ("$.expires", 3600, 3599),
        ("$.lifetime", 3600, 3599),
        ("$.left", 5, 4),
        ("$.remaining", 60, 59),
        ("$.age", 60, 59),
        ("$.idle_seconds", 65, 30),
        ("$.idle_seconds", 5, 0),
        ("$.uptime", 98, 90),
        ("$.uptime", 12, 1),
        ("$.uptime", 98.318397760391235, 0.018207550048828125),
        ("$.uptime", 98.318397760391235, 0.0),
        ("$.uptime_ms", 98_000, 98_000_000),
        ("retry-after", "5", "6"),
        ("retry-after", "5", "50"),
        ("retry-after", "1", "2"),
        ("retry-after", "30", "29.5"),
        ("ratelimit-reset", "2", "31"),
        ("ratelimit-reset", "20", "33"),
        ("x-ratelimit-reset", "1700000100", "1800000040"),
        ("x-ratelimit-reset", "1700000100", "1800003600"),
        ("$.resetAt", "2023-11-14T22:15:00Z", "2027-01-15T08:02:00Z"),
        ("$.endsAt", "2023-11-14T22:15:00Z", "2027-01-15T08:01:00Z"),
        ("set-cookie: sid; max-age", "900", "3600"),
        ("cache-control", "max-age=300, private", "max-age=300, public"),
        ("cache-control", "max-age=300, private", "max-age=30, private"),
        ("cache-control", "max-age=300, s-maxage=60", "max-age=300"),
        ("ratelimit", "limit=100, remaining=97, reset=25", "limit=100, remaining=96, reset=90"),
    ],
)
def test_time_does_not_explain_it(name: str, recorded: object, live: object) -> None:
    judgement = judge()
    assert not same(recorded, live, name, judgement)
    assert not judgement.accepted


@pytest.mark.parametrize(
    ("name", "recorded", "live", "started", "expected"),
    [
        # Shortly before the first exchange a build may have made anything.
        ("$.createdAt", "2023-11-14T22:13:11Z", "2027-01-15T08:00:26Z", LIVE - S, True),
        ("$.createdAt", "2023-11-14T22:13:11Z", "2027-01-15T08:00:18Z", LIVE - S, False),
        ("$.createdAt", "2023-11-14T20:13:11Z", "2027-01-15T08:00:26Z", LIVE - S, False),
        ("$.createdAt", "2023-11-14T22:13:11Z", "2027-01-15T08:00:11Z", 0, False),
        ("$.startedAt", "2023-11-11T20:13:11Z", "2027-01-15T08:00:26Z", LIVE - S, True),
        ("$.start_time", 1_699_000_000, 1_800_000_026, LIVE - S, True),
        ("$.boot_time", 1_699_000_000, 1_790_000_000, 0, True),
        ("$.startedAt", "2023-11-11T20:13:11Z", "2027-01-15T08:00:33Z", LIVE - S, False),
        ("$.startedAt", "2023-11-14T22:13:23Z", "2027-01-15T08:00:22Z", LIVE - S, False),
        ("$.restart", "2023-11-11T20:13:11Z", "2027-01-15T08:00:26Z", LIVE - S, False),
    ],
)
def test_instants_of_the_start(
    name: str, recorded: object, live: object, started: int, expected: bool
) -> None:
    assert same(recorded, live, name, judge(started_ns=started)) is expected


@pytest.mark.parametrize(
    ("recorded", "live", "expected"),
    [
        # 15 minutes after the first exchange and the second, and shown in the last.
        ("2023-11-14T22:28:23.004Z", "2027-01-15T08:15:27.010Z", True),
        ("2023-11-14T22:28:53.004Z", "2027-01-15T08:15:27.070Z", True),
        ("2023-11-14T22:28:23Z", "2027-01-15T08:15:27Z", True),
        ("2023-11-14T22:28:23.004Z", "2027-01-15T08:30:27.010Z", False),
        ("2023-11-14T22:28:23.004Z", "2027-01-15T08:14:57.010Z", False),
        # No whole minutes after any.
        ("2023-11-14T22:28:03.004Z", "2027-01-15T08:15:27.010Z", False),
        # A whole hour after its own.
        ("2023-11-14T23:14:58.004Z", "2027-01-15T09:00:27.210Z", True),
        ("2023-11-14T23:14:58.004Z", "2027-01-15T09:01:02.210Z", False),
    ],
)
def test_instants_that_were_fixed_before(recorded: str, live: str, expected: bool) -> None:
    assert same(recorded, live, "$.expiresAt") is expected
