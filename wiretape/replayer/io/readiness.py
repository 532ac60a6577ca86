"""Waiting until the build answers, and seeing that it still runs."""

from __future__ import annotations

import asyncio
from time import monotonic_ns

from wiretape.replayer.config import Config, Target
from wiretape.replayer.errors import EnvironmentFailedError
from wiretape.replayer.io.build import Build
from wiretape.replayer.io.client import Connect, accepts, status_of

_POLL_S = 0.02
_LOOPBACKS = ("127.0.0.1", "::1")


async def until_ready(
    config: Config,
    build: Build | None,
    target: Target,
    ready: Target,
    path: str | None,
    connect: Connect | None,
) -> None:
    """Return when `target` is ready: a GET of `path` at `ready` succeeds, or `ready` accepts.

    Raises EnvironmentFailedError where that takes too long, or the build ended before.
    """
    limit_ns = config.ready_timeout_ns
    until_ns = monotonic_ns() + limit_ns
    while True:
        await still_there(build, 0, "before it was ready")
        if path is None:
            if await accepts(ready, connect):
                return
        else:
            status = await status_of(ready, path, max(1, until_ns - monotonic_ns()), connect)
            if status is not None and status < 400:
                return
        if monotonic_ns() >= until_ns:
            what = f"{ready}" if path is None else f"{ready.scheme}://{ready}{path}"
            raise EnvironmentFailedError(
                f"target never ready: {what} did not answer within {limit_ns / 1e9:g} s"
                f" (--ready-timeout){_port_hint(config) or await _family_hint(ready, connect)}"
            )
        await asyncio.sleep(_POLL_S)


async def still_there(build: Build | None, within_s: float, when: str) -> None:
    """EnvironmentFailedError where the build has ended, or ends `within_s`."""
    if build is not None and (how := await build.exited(within_s)) is not None:
        raise EnvironmentFailedError(f"the build {how} {when}")


def _port_hint(config: Config) -> str:
    """A free port that the build was never told is why nothing answers there."""
    told = (*config.command, *(value for _, value in config.env))
    if config.command and "{port}" in config.target and not any("{port}" in t for t in told):
        return "; neither COMMAND nor --env has {port}"
    return ""


async def _family_hint(ready: Target, connect: Connect | None) -> str:
    """Some listen on `localhost`, which is the other loopback address to them."""
    if ready.host not in (*_LOOPBACKS, "localhost"):
        return ""
    for host in _LOOPBACKS:
        other = Target(host, ready.port, ready.tls)
        if host != ready.host and await accepts(other, connect):
            return f"; something listens on {other}: name that in --target"
    return ""
