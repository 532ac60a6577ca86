import pytest

from wiretape.exchange.endpoints import ServiceEndpoint as Service
from wiretape.replayer.config import (
    Target,
    parse_duration_ns,
    parse_env,
    parse_service,
    parse_target,
)
from wiretape.replayer.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected_ns"),
    [
        ("30s", 30 * 10**9),
        ("500ms", 5 * 10**8),
        ("2m", 120 * 10**9),
        ("1h", 3600 * 10**9),
        ("1.5s", 1_500_000_000),
        ("7", 7 * 10**9),
    ],
)
def test_a_duration(text: str, expected_ns: int) -> None:
    assert parse_duration_ns(text, "--timeout") == expected_ns


@pytest.mark.parametrize("text", ["", "s", "-1s", "0", "1 s", "1w", "1e3s"])
def test_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match="--timeout"):
        parse_duration_ns(text, "--timeout")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":80", Service("", 80)),
        ("10.0.0.2:8080", Service("10.0.0.2", 8080)),
        ("[::1]:8080", Service("::1", 8080)),
        ("[2001:DB8:0:0::1]:80", Service("2001:db8::1", 80)),
    ],
)
def test_a_service(text: str, expected: Service) -> None:
    assert parse_service(text) == expected


@pytest.mark.parametrize("text", ["", "80", ":", ":x", ":0", ":65536", "shop:80", "1.2.3:80"])
def test_no_service(text: str) -> None:
    with pytest.raises(UsageError, match="--service"):
        parse_service(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://127.0.0.1:8080", (Target("127.0.0.1", 8080), "/")),
        ("http://localhost", (Target("localhost", 80), "/")),
        ("HTTP://[::1]:8080/", (Target("::1", 8080), "/")),
        ("https://localhost", (Target("localhost", 443, tls=True), "/")),
        ("https://127.0.0.1:8443", (Target("127.0.0.1", 8443, tls=True), "/")),
        ("http://a:1/health?x=1", (Target("a", 1), "/health?x=1")),
    ],
)
def test_a_target(text: str, expected: tuple[Target, str]) -> None:
    assert parse_target(text) == expected


@pytest.mark.parametrize("text", ["", "a:1", "ftp://a", "https://", "http://a:x", "http://a:0"])
def test_no_target(text: str) -> None:
    with pytest.raises(UsageError, match="--target"):
        parse_target(text)


def test_env() -> None:
    assert parse_env("A=b=c") == ("A", "b=c")
    assert parse_env("A=") == ("A", "")
    for text in ("A", "=b", ""):
        with pytest.raises(UsageError, match="--env"):
            parse_env(text)
