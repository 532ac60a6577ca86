"""One run from beginning to end: recording, build, requests, upstream calls, verdict."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from time import monotonic_ns, time_ns
from typing import Any

from wiretape.exchange.http1 import write_request, write_response
from wiretape.exchange.recording import RecordingError, read_recording
from wiretape.exchange.v1.exchange_pb2 import Content, Exchange
from wiretape.replayer.compare import Difference, compare_responses
from wiretape.replayer.config import Config, Target, parse_port, parse_target
from wiretape.replayer.correlate import Correlation, Judgement, Span
from wiretape.replayer.errors import EnvironmentFailedError, UnfitRecordingError, UsageError
from wiretape.replayer.io.build import Build, free_port
from wiretape.replayer.io.client import Answer, Client, TargetGoneError, accepts, status_of
from wiretape.replayer.io.listener import Listeners
from wiretape.replayer.kept import read_request, read_response
from wiretape.replayer.mocks import Mocks, call_text
from wiretape.replayer.placeholders import expander, mocks_named
from wiretape.replayer.schedule import START_UP, Step, in_order, places, plan
from wiretape.replayer.sessions import assign_roles
from wiretape.replayer.uncreated import name_uncreated
from wiretape.replayer.verdict import Failure, Result, State, UnfitCall, Verdict

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_POLL_S = 0.02
# How long the last upstream calls may take to come beyond what they took when recorded.
_SETTLE_NS = 10**9
# How long a build that dropped a connection has to prove that it did not crash.
_CRASH_S = 0.5
_MAX_KEPT = 1000


def replay(config: Config, tell: Callable[[str], None]) -> Verdict:
    """Do one run; `tell` gets lines of progress.

    Raises UsageError and UnfitRecordingError before anything is started; all that goes wrong
    afterwards is in the verdict.
    """
    _where(config, expander(free_port(), {}))
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
    run.verdict.started_at_ns = time_ns()
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
        self._place = START_UP
        self._kept = 0
        self._expand = expander(free_port(), {})
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
                self.verdict.output = self._build.output()
            self._listeners.close()
        if problem is not None:
            output = self._build.output() if self._build is not None else ()
            place = self._place if self._place != START_UP else None
            self.verdict.failure = Failure(problem, place, output)
        self._conclude()

    def _conclude(self) -> None:
        done = [r.position for r in self.verdict.results if r.state in (State.SAME, State.DIFFERS)]
        self.verdict.upstream = self._mocks.findings(done)
        self.verdict.calls_answered = self._mocks.answered
        for result in self.verdict.results:
            if result.state is State.NOT_RUN:
                result.note = result.note or "the run ended before it"
        name_uncreated(self.verdict.results, (step.exchange for step in self.steps))

    async def _all(self) -> None:
        ports = {
            name: await self._listeners.listen(name, self._mocks, lambda: self._place)
            for name in self._mock_names
        }
        self._expand = expander(free_port(), ports)
        target, ready, path = _where(self._config, self._expand)
        command = [self._expand(word) for word in self._config.command]
        if command:
            if await accepts(target):
                raise EnvironmentFailedError(
                    f"port taken: something else listens on {target} already"
                )
            env = {name: self._expand(value) for name, value in self._config.env}
            # A start that is interrupted half-way must still leave us the process to end.
            start = asyncio.create_task(Build.start(command, env))
            try:
                self._build = await asyncio.shield(start)
            except asyncio.CancelledError:
                self._build = await start
                raise
        await self._until_ready(target, ready, path)
        self._tell(f"replaying {len(self.steps)} exchanges against {target}")
        client = Client(target, self._config.timeout_ns)
        try:
            await self._drive(client, target)
        finally:
            client.close()
        await self._settle()
        await self._still_there(0, "after the last exchange")

    async def _until_ready(self, target: Target, ready: Target, path: str | None) -> None:
        limit_ns = self._config.ready_timeout_ns
        until_ns = monotonic_ns() + limit_ns
        while True:
            await self._still_there(0, "before it was ready")
            if path is None:
                if await accepts(ready):
                    return
            else:
                status = await status_of(ready, path, max(1, until_ns - monotonic_ns()))
                if status is not None and status < 400:
                    return
            if monotonic_ns() >= until_ns:
                what = f"{ready}" if path is None else f"{ready.scheme}://{ready}{path}"
                raise EnvironmentFailedError(
                    f"target never ready: {what} did not answer within {limit_ns / 1e9:g} s"
                    f" (--ready-timeout){self._port_hint()}"
                )
            await asyncio.sleep(_POLL_S)

    def _port_hint(self) -> str:
        """A free port that the build was never told is why nothing answers there."""
        config = self._config
        told = (*config.command, *(value for _, value in config.env))
        if config.command and "{port}" in config.target and not any("{port}" in t for t in told):
            return "; neither COMMAND nor --env has {port}"
        return ""

    async def _still_there(self, within_s: float, when: str) -> None:
        """EnvironmentFailedError where the build has ended."""
        if self._build is not None and (how := await self._build.exited(within_s)) is not None:
            raise EnvironmentFailedError(f"the build {how} {when}")

    async def _drive(self, client: Client, target: Target) -> None:
        failed = 0
        for step in self.steps:
            if step.fault is not None:
                continue
            if self._config.max_failures is not None and failed >= self._config.max_failures:
                self.verdict.stopped_early = True
                return
            self._place = step.position
            result = self.verdict.results[step.position]
            where = f"exchange {step.position + 1} of {len(self.steps)} ({result.endpoint})"
            try:
                await self._one(client, step, result, where)
            except TargetGoneError as error:
                await self._still_there(_CRASH_S, f"before {where}")
                raise EnvironmentFailedError(
                    f"{target} {error.what}, at {where}: {error}"
                ) from error
            failed += result.state is State.DIFFERS

    async def _one(self, client: Client, step: Step, result: Result, where: str) -> None:
        http = step.exchange.http
        recorded, expected = write_request(http.request), write_response(http.response)
        wire = self._correlation.to_live(recorded)
        self._correlation.saw(recorded, wire)
        self._correlation.begin(http.request.first_byte_at_ns, time_ns())
        # A response without interim ones and with an end of its own can be compared as bytes.
        awaited: bytes | None = None
        if not http.interim and http.response.content.framing != Content.CLOSE:
            awaited = self._correlation.to_live(expected)
        answer = await client.exchange(
            step.exchange.connection.id, wire, http.request.method, awaited, step.last_on_connection
        )
        result.live_ns = answer.done_at_ns - answer.sent_at_ns
        result.live_at_ns = answer.sent_at_ns
        if answer.equal and awaited is not None:
            self._correlation.saw(expected, awaited)
            result.state = State.SAME
            if self._config.report is not None:
                sent = read_request(wire) if wire != recorded else None
                live = read_response(awaited, http.request.method) if awaited != expected else None
                result.keep(http, sent, live)
            return
        if answer.response is None or not answer.response.content.complete:
            result.note = "the build ended during it"
            await self._still_there(_CRASH_S, f"during {where}")
            result.note = ""
        result.differences = self._compare(step, answer, result)
        result.state = State.DIFFERS if result.differences else State.SAME
        if self._config.report is not None or self._keeps(result):
            result.keep(http, read_request(wire) if wire != recorded else None, answer.response)

    def _keeps(self, result: Result) -> bool:
        """A form for agents shows the requests of a few that differ."""
        self._kept += result.state is State.DIFFERS
        return result.state is State.DIFFERS and self._kept <= _MAX_KEPT

    def _compare(self, step: Step, answer: Answer, result: Result) -> list[Difference]:
        http = step.exchange.http
        if answer.response is None:
            reason = answer.problem or "no response"
            return [Difference("response", "response", str(http.response.status), None, reason)]
        span = Span(
            http.request.first_byte_at_ns, result.recorded_ns, answer.sent_at_ns, result.live_ns
        )
        judgement = Judgement(self._correlation, span)
        found = compare_responses(http, answer.response, answer.interim, judgement)
        judgement.commit()
        return found

    async def _settle(self) -> None:
        """Calls that the service made after its response may still be on their way."""
        done = [step.position for step in self.steps if step.fault is None]
        if self.verdict.stopped_early or not self._mocks.missing(done):
            return
        late_ns = max(
            call.request.first_byte_at_ns
            - self.steps[call.place].exchange.http.response.last_byte_at_ns
            for call in self._mocks.missing(done)
        )
        wait_ns = min(max(0, late_ns) + _SETTLE_NS, self._config.timeout_ns)
        until_ns = monotonic_ns() + wait_ns
        while self._mocks.missing(done) and monotonic_ns() < until_ns:
            await self._still_there(_POLL_S, "while upstream calls were awaited")
            await asyncio.sleep(_POLL_S)


def _where(config: Config, expand: Callable[[str], str]) -> tuple[Target, Target, str | None]:
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
        recorded_at_ns=http.request.first_byte_at_ns,
    )
