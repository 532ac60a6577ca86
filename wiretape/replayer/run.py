"""One run from beginning to end: recording, build, requests, upstream calls, verdict."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from time import monotonic_ns
from typing import Any

from wiretape.exchange.recording import RecordingError, read_recording
from wiretape.exchange.v1.exchange_pb2 import Exchange
from wiretape.replayer.config import Config
from wiretape.replayer.correlate import Correlation
from wiretape.replayer.drive import Drive
from wiretape.replayer.errors import EnvironmentFailedError, UnfitRecordingError, UsageError
from wiretape.replayer.io.build import Build, free_port
from wiretape.replayer.io.client import accepts
from wiretape.replayer.io.listener import Listeners
from wiretape.replayer.io.readiness import still_there, until_ready
from wiretape.replayer.mocks import Mocks, call_text
from wiretape.replayer.placeholders import addresses, expander, mocks_named
from wiretape.replayer.schedule import START_UP, Step, in_order, places, plan
from wiretape.replayer.sessions import assign_roles
from wiretape.replayer.verdict import Failure, Result, State, UnfitCall, Verdict

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def replay(config: Config, tell: Callable[[str], None]) -> Verdict:
    """Do one run; `tell` gets lines of progress.

    Raises UsageError and UnfitRecordingError before anything is started; all that goes wrong
    afterwards is in the verdict.
    """
    addresses(config, expander(free_port(), {}))
    if not config.recording.exists():
        raise UsageError(f"{config.recording}: no such file or directory")
    try:
        reader = read_recording(config.recording)
        exchanges = list(reader)
    except RecordingError as error:
        raise UnfitRecordingError(str(error)) from error
    try:
        traffic = assign_roles(exchanges, config.service)
        calls = sorted(traffic.outbound, key=in_order) if config.mock else []
        run = _Run(config, plan(traffic.inbound), calls, tell)
    except UsageError as error:
        if reader.truncated is None:
            raise
        # What the command line names may lie in the part that is gone.
        raise UnfitRecordingError(f"{reader.truncated}; {error}") from error
    run.verdict.truncated = reader.truncated
    run.verdict.unrelated = traffic.unrelated
    began_ns = monotonic_ns()
    if any(step.fault is None for step in run.steps):
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(run.main())
    run.verdict.duration_ns = monotonic_ns() - began_ns
    return run.verdict


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


class _Run:
    def __init__(
        self,
        config: Config,
        steps: list[Step],
        calls: Sequence[Exchange],
        tell: Callable[[str], None],
    ) -> None:
        self.steps = steps
        self.verdict = Verdict(str(config.recording), config.target, mocked=config.mock)
        self.verdict.results = [_result(step) for step in steps]
        self._config = config
        self._tell = tell
        self._correlation = Correlation()
        self._mocks = Mocks(calls, places(steps, calls), self._correlation)
        self._mock_names = mocks_named(config, self._mocks.names)
        self._mocks.reachable = frozenset(self._mock_names)
        self._listeners = Listeners()
        self._build: Build | None = None
        self._drive = Drive(
            config, steps, self._correlation, self._mocks, self.verdict, self._still_there
        )
        self.verdict.calls_recorded = len(self._mocks.calls)
        self.verdict.unfit_calls = [
            UnfitCall(call.exchange.id, call.names[0], call_text(call.request), fault)
            for call, fault in self._mocks.unfit()
        ]

    async def main(self) -> None:
        """Everything that needs the event loop; the build is gone when this returns."""
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(self._all())

        def interrupt() -> None:
            self.verdict.interrupted = True
            task.cancel()

        unforeseen: list[BaseException] = []

        def unhandled(_: object, context: dict[str, Any]) -> None:
            unforeseen.append(context.get("exception") or RuntimeError(context["message"]))
            task.cancel()

        # What a protocol's callback raises would else be a traceback and a run that waits.
        loop.set_exception_handler(unhandled)
        for number in _SIGNALS:
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue  # started by nohup
            loop.add_signal_handler(number, interrupt)
        problem: str | None = None
        try:
            await task
        except EnvironmentFailedError as error:
            problem = str(error)
        except asyncio.CancelledError:
            if unforeseen:
                raise unforeseen[0] from None
            if not self.verdict.interrupted:
                raise
        finally:
            if self._build is not None:
                await self._build.stop()
            self._listeners.close()
        if problem is not None:
            output = self._build.output() if self._build is not None else ()
            place = self._drive.place if self._drive.place != START_UP else None
            self.verdict.failure = Failure(problem, place, output)
        self._conclude()

    def _conclude(self) -> None:
        done = [r.position for r in self.verdict.results if r.state in (State.SAME, State.DIFFERS)]
        self.verdict.upstream = self._mocks.findings(done)
        self.verdict.calls_answered = self._mocks.answered
        for result in self.verdict.results:
            if result.state is State.NOT_RUN:
                result.note = result.note or "the run ended before it"

    async def _all(self) -> None:
        ports = {
            name: await self._listeners.listen(name, self._mocks, lambda: self._drive.place)
            for name in self._mock_names
        }
        expand = expander(free_port(), ports)
        target, ready, path = addresses(self._config, expand)
        command = [expand(word) for word in self._config.command]
        if command:
            if await accepts(target):
                raise EnvironmentFailedError(
                    f"port taken: something else listens on {target} already"
                )
            env = {name: expand(value) for name, value in self._config.env}
            # A start that is interrupted half-way must still leave us the process to end.
            start = asyncio.create_task(Build.start(command, env))
            try:
                self._build = await asyncio.shield(start)
            except asyncio.CancelledError:
                self._build = await start
                raise
        await until_ready(self._config, self._build, target, ready, path)
        self._tell(f"replaying {len(self.steps)} exchanges against {target}")
        await self._drive.all(target)
        await self._still_there(0, "after the last exchange")

    async def _still_there(self, within_s: float, when: str) -> None:
        await still_there(self._build, within_s, when)


def _result(step: Step) -> Result:
    http = step.exchange.http
    ended_ns = http.response.last_byte_at_ns or http.request.last_byte_at_ns
    return Result(
        step.position,
        step.exchange.id,
        http.request.method,
        http.request.target.decode("latin-1"),
        max(0, ended_ns - http.request.first_byte_at_ns),
        State.UNFIT if step.fault is not None else State.NOT_RUN,
        step.fault or "",
    )
