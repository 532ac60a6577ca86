"""The options of one `replay run`, parsed and checked as far as that needs no recording."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wiretape.exchange import endpoints, quantities
from wiretape.exchange.endpoints import ServiceEndpoint
from wiretape.replayer.errors import UsageError

if TYPE_CHECKING:
    from wiretape.replayer.conditions import FailIf


INTERCEPTIONS = ("auto", "netns", "cgroup", "proxy", "none")


@dataclass(frozen=True, slots=True)
class Config:
    """One run. `target`, `ready`, `env` and `command` may hold {port} and {mock:host:port}.

    `speed` divides the recorded time between requests, 0 for no waiting at all; `mock_timing` is
    what part of the recorded time an upstream's answer takes. `pass_on`: what the recording cannot
    answer is asked of the upstream itself.
    """

    recording: Path
    target: str
    service: ServiceEndpoint | None
    mock: bool
    env: tuple[tuple[str, str], ...]
    ready: str | None
    ready_timeout_ns: int
    timeout_ns: int
    command: tuple[str, ...]
    max_failures: int | None = None
    only: tuple[str, ...] = ()
    concurrency: int = 1
    speed: float = 0
    mock_timing: float = 0
    mock_time_shifts: bool = True
    pass_on: bool = False
    intercept: str = "auto"
    allow: tuple[str, ...] = ()
    fail_if: tuple[FailIf, ...] = ()
    rules: Path | None = None
    junit: Path | None = None
    json: Path | None = None
    report: Path | None = None
    for_agent: bool = False


@dataclass(frozen=True, slots=True)
class MockConfig:
    """The options of `replay mock`. `listen`: one place for all upstreams."""

    recording: Path
    service: ServiceEndpoint | None
    listen: tuple[str, int] | None
    timeout_ns: int
    mock_timing: float
    mock_time_shifts: bool
    pass_on: bool


@dataclass(frozen=True, slots=True)
class Target:
    """Where the build answers."""

    host: str
    port: int
    tls: bool = False

    @property
    def scheme(self) -> str:
        return "https" if self.tls else "http"

    def __str__(self) -> str:
        return f"{self.host}:{self.port}" if ":" not in self.host else f"[{self.host}]:{self.port}"


def parse_duration_ns(text: str, option: str) -> int:
    try:
        return quantities.parse_duration_ns(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def parse_speed(text: str) -> float:
    """`2`, `2x` or `0.5x`: so many times as fast as recorded; 0 for `max`."""
    return 0.0 if text == "max" else _parse_times(text, "--speed", "max")


def parse_mock_timing(text: str) -> float:
    """What part of the recorded time answers take: 0 for `none`, 1 for `recorded`, N for `Nx`."""
    known = {"none": 0.0, "recorded": 1.0}
    return known[text] if text in known else _parse_times(text, "--mock-timing", "none, recorded")


def _parse_times(text: str, option: str, words: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)x?", text)
    if match is None or not float(match[1]):
        raise UsageError(f"{option}: '{text}' is neither {words} nor a number such as 2x or 0.5x")
    return float(match[1])


def parse_intercept(text: str) -> str:
    """One of the modes of interception."""
    if text not in INTERCEPTIONS:
        raise UsageError(f"--intercept: '{text}' is none of {', '.join(INTERCEPTIONS)}")
    return text


def parse_allow(text: str) -> tuple[str, ...]:
    """`HOST[:PORT]` as names of upstreams; without a port, 80 and 443 are meant."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, ports = text, [80, 443]
    else:
        ports = [parse_port(port, "--allow")]
    bare = host.strip("[]")
    if not bare or any(mark in bare for mark in "/@ ") or (":" in bare and not host[0] == "["):
        raise UsageError(f"--allow: '{text}' is not HOST[:PORT] (IPv6 in brackets)")
    return tuple(endpoints.endpoint_text(bare.lower(), port) for port in ports)


def parse_choice(text: str, option: str, no: str, yes: str) -> bool:
    """Which of two words was given."""
    if text not in (no, yes):
        raise UsageError(f"{option}: '{text}' is neither {yes} nor {no}")
    return text == yes


def parse_listen(text: str) -> tuple[str, int]:
    """`HOST:PORT`; an IPv6 address in brackets."""
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise UsageError(f"--listen: '{text}' is not HOST:PORT")
    return host.strip("[]"), parse_port(port, "--listen")


def parse_format(text: str) -> bool:
    """Whether it is the form for coding agents."""
    if text not in ("text", "agent"):
        raise UsageError(f"--format: '{text}' is none of text, agent")
    return text == "agent"


def parse_port(text: str, option: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        raise UsageError(f"{option}: '{text}' is not a port (1 to 65535)")
    return int(text)


def parse_service(text: str) -> ServiceEndpoint:
    """`[HOST]:PORT`; recordings know addresses, so HOST must be one."""
    try:
        return endpoints.parse_service(text)
    except ValueError as error:
        raise UsageError(f"--service: {error}") from None


def parse_env(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"--env: '{text}' is not NAME=VALUE")
    return name, value


def parse_target(text: str, option: str = "--target") -> tuple[Target, str]:
    """An http or https URL, its placeholders already expanded; returns where, and the path with
    query."""
    match = re.fullmatch(
        r"(?i:(https?)://)(\[[0-9a-fA-F:.]+\]|[^/?#\[\]:@]+)(?::([0-9]+))?([/?].*)?", text
    )
    if match is None:
        raise UsageError(f"{option}: '{text}' is not a URL such as http://127.0.0.1:8080")
    tls = match[1].lower() == "https"
    port = parse_port(match[3], option) if match[3] else 443 if tls else 80
    return Target(match[2].strip("[]"), port, tls), match[4] or "/"
