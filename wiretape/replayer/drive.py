"""Sends the steps of a run to the build in their order, and waits for what they set going."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic_ns

from wiretape.replayer.config import Config, Target
from wiretape.replayer.correlate import Correlation
from wiretape.replayer.errors import EnvironmentFailedError
from wiretape.replayer.io.client import Client, TargetGoneError
from wiretape.replayer.judge import Attempt
from wiretape.replayer.mocks import Mocks
from wiretape.replayer.schedule import START_UP, Step
from wiretape.replayer.verdict import Result, State, Verdict

_POLL_S = 0.02
# How long the last upstream calls may take to come beyond what they took when recorded.
_SETTLE_NS = 10**9
# How long a build that dropped a connection has to prove that it did not crash.
_CRASH_S = 0.5

# Raises EnvironmentFailedError where the build ended within so many seconds; the text says when.
StillThere = Callable[[float, str], Awaitable[None]]


class Drive:
    """The requests of one run. `place` is the position of the step in flight."""

    def __init__(
        self,
        config: Config,
        steps: Sequence[Step],
        correlation: Correlation,
        mocks: Mocks,
        verdict: Verdict,
        still_there: StillThere,
    ) -> None:
        self.place = START_UP
        self._config = config
        self._steps = steps
        self._correlation = correlation
        self._mocks = mocks
        self._verdict = verdict
        self._still_there = still_there

    async def all(self, target: Target) -> None:
        """Drive every step, then wait for upstream calls that may still come.

        Raises EnvironmentFailedError where the target or the build is gone.
        """
        client = Client(target, self._config.timeout_ns)
        try:
            await self._steps_in_order(client, target)
        finally:
            client.close()
        await self._settle()

    async def _steps_in_order(self, client: Client, target: Target) -> None:
        failed = 0
        for step in self._steps:
            if step.fault is not None:
                continue
            if self._config.max_failures is not None and failed >= self._config.max_failures:
                self._verdict.stopped_early = True
                return
            self.place = step.position
            result = self._verdict.results[step.position]
            where = f"exchange {step.position + 1} of {len(self._steps)} ({result.endpoint})"
            try:
                await self._one(client, step, result, where)
            except TargetGoneError as error:
                await self._still_there(_CRASH_S, f"before {where}")
                raise EnvironmentFailedError(
                    f"{target} {error.what}, at {where}: {error}"
                ) from error
            failed += result.state is State.DIFFERS

    async def _one(self, client: Client, step: Step, result: Result, where: str) -> None:
        attempt = Attempt(step, self._correlation)
        answer = await client.exchange(
            step.exchange.connection.id,
            attempt.wire,
            step.exchange.http.request.method,
            attempt.awaited,
            step.last_on_connection,
        )
        if not answer.equal and (answer.response is None or not answer.response.content.complete):
            result.note = "the build ended during it"
            await self._still_there(_CRASH_S, f"during {where}")
            result.note = ""
        attempt.judge(answer, result)

    async def _settle(self) -> None:
        """Calls that the service made after its response may still be on their way."""
        done = [step.position for step in self._steps if step.fault is None]
        if self._verdict.stopped_early or not self._mocks.missing(done):
            return
        late_ns = max(
            call.request.first_byte_at_ns
            - self._steps[call.place].exchange.http.response.last_byte_at_ns
            for call in self._mocks.missing(done)
        )
        wait_ns = min(max(0, late_ns) + _SETTLE_NS, self._config.timeout_ns)
        until_ns = monotonic_ns() + wait_ns
        while self._mocks.missing(done) and monotonic_ns() < until_ns:
            await self._still_there(_POLL_S, "while upstream calls were awaited")
            await asyncio.sleep(_POLL_S)
