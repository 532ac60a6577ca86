"""The options of one `replay run`, parsed and checked as far as that needs no recording."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from wiretape.exchange import endpoints, quantities
from wiretape.exchange.endpoints import ServiceEndpoint
from wiretape.replayer.errors import UsageError


@dataclass(frozen=True, slots=True)
class Config:
    """One run. `target`, `ready`, `env` and `command` may hold {port} and {mock:host:port}."""

    recording: Path
    target: str
    service: ServiceEndpoint | None
    mock: bool
    env: tuple[tuple[str, str], ...]
    ready: str | None
    ready_timeout_ns: int
    timeout_ns: int
    max_failures: int | None
    junit: Path | None
    json: Path | None
    report: Path | None
    for_agent: bool
    command: tuple[str, ...]


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
