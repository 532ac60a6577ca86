"""What {port} and {mock:host:port} stand for in one run."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from wiretape.replayer.config import Config, Target, parse_port, parse_target
from wiretape.replayer.errors import UsageError
from wiretape.replayer.mocks.names import normal_name

_PLACEHOLDER = re.compile(r"\{(?:port|mock:([^{}]*))\}")
_MISSPELT = re.compile(r"\{(?:mock|port)[^{}\"]{0,80}\}", re.IGNORECASE)


def mocks_named(config: Config, recorded: Sequence[str]) -> list[str]:
    """The upstreams that the build is told of, each checked to be `recorded`."""
    texts = [*(value for _, value in config.env), *config.command]
    named = {
        normal_name(match[1])
        for text in texts
        for match in _PLACEHOLDER.finditer(text)
        if match[1] is not None
    }
    for text in texts:
        for match in _MISSPELT.finditer(text):
            if not _PLACEHOLDER.fullmatch(match[0]):
                raise UsageError(f"{match[0]} is neither {{port}} nor {{mock:host:port}}")
    if named and not config.mock:
        raise UsageError(f"{{mock:{min(named)}}} stands for nothing with --no-mock")
    for name in sorted(named):
        if name not in recorded:
            known = ", ".join(recorded) or "none"
            raise UsageError(f"{{mock:{name}}}: no such upstream was recorded; recorded: {known}")
    return sorted(named)


def expander(port: int, mock_ports: dict[str, int]) -> Callable[[str], str]:
    """A function that puts the run's own ports into a text."""

    def one(match: re.Match[str]) -> str:
        if match[1] is None:
            return str(port)
        name = normal_name(match[1])
        if name not in mock_ports:
            raise UsageError(f"{{mock:{name}}} belongs into --env or COMMAND, not into a URL")
        return f"127.0.0.1:{mock_ports[name]}"

    return lambda text: _PLACEHOLDER.sub(one, text)


def addresses(config: Config, expand: Callable[[str], str]) -> tuple[Target, Target, str | None]:
    """The target, where its readiness is asked, and the path to GET there if any."""
    target, path = parse_target(expand(config.target))
    if path != "/":
        raise UsageError(f"--target: '{config.target}': paths come from the recording")
    if config.ready is None:
        return target, target, None
    ready = expand(config.ready)
    if ready.isdigit():
        return target, Target(target.host, parse_port(ready, "--ready")), None
    return target, *parse_target(ready, "--ready")
