"""One run from beginning to end: recording, build, requests, upstream calls, verdict."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from functools import partial
from sys import intern
from time import monotonic_ns, time_ns
from typing import Any

from wiretape.exchange.v1.exchange_pb2 import ROLE_INBOUND, ROLE_OUTBOUND
from wiretape.replayer.carried import plan as plan_carried
from wiretape.replayer.caused import START_UP, InFlight
from wiretape.replayer.compare import unused_rules
from wiretape.replayer.conditions import check_named, evaluate
from wiretape.replayer.config import Config, Target
from wiretape.replayer.dependencies import chosen, touches
from wiretape.replayer.drive import Drive, Plan
from wiretape.replayer.errors import EnvironmentFailedError, UnfitRecordingError, UsageError
from wiretape.replayer.io.build import Build, free_port
from wiretape.replayer.io.client import Client, accepts
from wiretape.replayer.io.intercept import Interception, Setting, Upstream, intercepted
from wiretape.replayer.io.limits import allow_open_files
from wiretape.replayer.io.listener import Listeners
from wiretape.replayer.io.readiness import still_there, until_ready
from wiretape.replayer.io.real_upstream import RealUpstream
from wiretape.replayer.latency import latencies
from wiretape.replayer.mocks import Answers, Calls, Mocks, call_text, upstream_names
from wiretape.replayer.placeholders import addresses, expander, mocks_named
from wiretape.replayer.recorded import Traffic, open_recording
from wiretape.replayer.rules import Rules
from wiretape.replayer.rules_file import load_rules
from wiretape.replayer.schedule import Step, Touch, intervals, plan
from wiretape.replayer.values import Correlation, Evidence, own_addresses
from wiretape.replayer.verdict import (
    Attempt,
    Failure,
    Result,
    State,
    UnfitCall,
    Verdict,
)

_UNHEEDED = (
    "no call came by the proxy: the build's client may not heed HTTP_PROXY; --intercept netns or"
    " cgroup needs no heed, {mock:host:port} in --env tells it of a mock"
)
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def replay(config: Config, tell: Callable[[str], None]) -> Verdict:
    """Do one run; `tell` gets lines of progress.

    Raises UsageError and UnfitRecordingError before anything is started; all that goes wrong
    afterwards is in the verdict.
    """
    # Nothing in a plan is a cycle, and there are many things in it.
    gc.disable()
    try:
        run = _planned(config, tell)
    finally:
        gc.freeze()
        gc.enable()
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    run.verdict.started_at_ns = time_ns()
    began_ns = monotonic_ns()
    try:
        if run.positions:
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                runner.run(run.main())
        run.verdict.duration_ns = monotonic_ns() - began_ns
        run.conclude()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return run.verdict


def _planned(config: Config, tell: Callable[[str], None]) -> _Run:
    addresses(config, expander(free_port(), {}))
    rules = load_rules(config.rules) if config.rules is not None else Rules()
    recording = open_recording(config.recording)
    try:
        traffic = recording.traffic(config.service)
        run = _Run(config, traffic, rules, tell)
    except UsageError as error:
        if recording.truncated is None:
            raise
        # What the command line names may lie in the part that is gone.
        raise UnfitRecordingError(f"{recording.truncated}; {error}") from error
    run.verdict.truncated = recording.truncated or run.holes()
    run.verdict.unrelated = traffic.unrelated
    return run


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


class _Run:
    def __init__(
        self, config: Config, traffic: Traffic, rules: Rules, tell: Callable[[str], None]
    ) -> None:
        self.verdict = Verdict(str(config.recording), config.target, mocked=config.mock)
        self._config = config
        self._tell = tell
        self._mode = "none"
        self._traffic = traffic
        self._rules = rules
        self._steps = plan(traffic.inbound)
        outbound = traffic.outbound if config.mock else []
        steps = list(intervals(traffic.inbound)) if outbound else []
        calls = Calls(outbound, steps, traffic.ends, rules, config.allow)
        self._calls = calls
        self._carried = plan_carried(traffic.inbound, outbound, [c.place for c in calls.all])
        driven: Collection[int] = range(len(self._steps))
        follows = None
        if config.only or config.concurrency > 1:
            touched = touches(traffic.inbound, self._carried)
            follows = partial(self._follows, touched)
            if config.only:
                driven = chosen(traffic.inbound, config.only, touched)
        self.positions = [place for place in driven if self._steps[place].fault is None]
        to_drive = frozenset(driven)
        self.verdict.results = [_result(step, to_drive) for step in self._steps]
        check_named(config.fail_if, self.verdict.results)
        # Who is asked himself gives other values than he gave then.
        let_out = {
            call.number for call in calls.all if not set(config.allow).isdisjoint(call.names)
        }
        heard = [e for n, e in enumerate(outbound) if n not in let_out] if let_out else outbound
        evidence = Evidence.of(traffic.inbound, heard)
        self._correlation = Correlation(evidence, concurrent=config.concurrency > 1)
        self._in_flight = InFlight()
        self._mocks = Mocks(
            calls,
            self._correlation,
            self._in_flight,
            Answers(self._correlation, self._carried, config.mock_time_shifts, config.mock_timing),
            traffic.inbound,
            keeps_all=config.report is not None,
        )
        self.verdict.accepted = self._mocks.accepted
        self._mock_names = mocks_named(config, self._mocks.names)
        real = RealUpstream(self._mocks, config.timeout_ns) if config.pass_on else None
        self._listeners = Listeners(self._mocks, real.pass_on if real is not None else None)
        self._build: Build | None = None
        self._drive = Drive(
            config,
            Plan(
                self._steps,
                self.positions,
                follows or (lambda later, earlier: True),
                traffic.overlong,
            ),
            self._correlation,
            self._in_flight,
            self._mocks,
            self._carried,
            rules,
            self.verdict,
            self._still_there,
        )
        self.verdict.calls_recorded = len(calls.all)
        self._driven = driven

    def holes(self) -> str | None:
        """What may be missing from the recording as a whole, in one line."""
        lost: Counter[str] = Counter()
        for hole in self._traffic.holes:
            where = "a connection of which nothing else was seen"
            if hole.role == ROLE_INBOUND:
                if self._config.only:
                    continue  # what was not chosen need not be there
                where = "a connection to the service"
            elif hole.role == ROLE_OUTBOUND and hole.known is not None:
                names = upstream_names(hole.known)
                if not self._config.mock or not set(self._config.allow).isdisjoint(names):
                    continue
                where = f"a connection to {names[0]}"
            lost[where] += hole.length
        told = [f"{where} lacks {n} bytes between messages" for where, n in sorted(lost.items())]
        return f"{'; '.join(told)}: exchanges may be missing" if told else None

    def _follows(self, touched: Sequence[Touch], later: int, earlier: int) -> bool:
        return touched[later].must_follow(earlier, touched[earlier]) or self._mocks.clash(
            later, earlier
        )

    async def main(self) -> None:
        """Everything that needs the event loop; the build is gone when this returns."""
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(self._all())

        def interrupt() -> None:
            self.verdict.interrupted = True
            if not task.cancelling():  # what is being ended already is ended in order
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
            self._listeners.close()
            # What is known by now is told, whoever is impatient.
            signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
            for number in _SIGNALS:
                loop.remove_signal_handler(number)
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        if problem is not None:
            place = self._in_flight.latest if self._in_flight.latest != START_UP else None
            self.verdict.failure = Failure(problem, place, self.verdict.output)

    def conclude(self) -> None:
        """What is told when all is done."""
        verdict, mocks = self.verdict, self._mocks
        verdict.unfit_calls = [
            UnfitCall(call.exchange.id, call.names[0], call_text(call.request), fault)
            for call, fault in mocks.unfit(self._driven)
        ]
        done = [r.position for r in verdict.results if r.state in (State.SAME, State.DIFFERS)]
        verdict.upstream = mocks.findings(done)
        is_silent = not mocks.answered and all(each.kind == "missing" for each in verdict.upstream)
        if self._mode == "proxy" and is_silent and verdict.upstream:
            mocks.reachable = frozenset(self._mock_names)
            verdict.upstream = mocks.findings(done)
            verdict.notes.append(_UNHEEDED)
        # How often a timer came is no part of a verdict.
        verdict.calls_answered = mocks.answered - mocks.answered_outside
        verdict.moved = mocks.moved
        if self._config.report is not None:
            verdict.calls = list(mocks.timeline(done))
        verdict.attempts += [
            Attempt("tcp", name, times, let_out=True)
            for name, times in sorted(Counter(miss.name for miss in mocks.passed_on).items())
        ]
        for result in verdict.results:
            if result.state is State.NOT_RUN:
                result.note = result.note or "the run ended before it"
        calls = ((call.names[0], call.exchange) for call in self._calls.all)
        unused = unused_rules(self._rules, self._traffic.inbound, calls)
        verdict.unused_rules = list(map(str, unused))
        verdict.latency = latencies(verdict.results)
        verdict.conditions = [evaluate(each, verdict.results) for each in self._config.fail_if]

    async def _all(self) -> None:
        config, port = self._config, free_port()
        target, _, _ = addresses(config, expander(port, {}))
        self._correlation.own |= own_addresses(self._traffic.services, target.host, target.port)
        if not config.command:
            await self._replay(port, target, None)
            return
        setting = Setting(
            [Upstream(*upstream) for upstream in self._calls.upstreams],
            self._listeners.protocol,
            config.allow,
            str(target),
        )
        mode = config.intercept if config.mock else "none"
        interception: Interception | None = None
        try:
            async with intercepted(mode, setting, self._tell) as interception:
                self._mode = interception.mode
                if interception.mode == "none":
                    self._mocks.reachable = frozenset(self._mock_names)
                try:
                    await self._replay(port, target, interception)
                finally:
                    self._mocks.is_over = True
                    if self._build is not None:
                        await self._build.stop()
                        self.verdict.output = self._build.output()
        finally:
            # They are complete only now.
            if interception is not None:
                self._note_attempts(interception, *self._where(port)[:2])

    def _note_attempts(self, interception: Interception, target: Target, ready: Target) -> None:
        transports = {"name": "dns"}
        # Nobody there yet, or for ever: that was us, who ask whether the build is ready.
        hosts = (target.host, ready.host, "127.0.0.1", "[::1]")
        own = {f"{host}:{each.port}" for each in (target, ready) for host in hosts}
        self.verdict.attempts += [
            Attempt(transports.get(each.kind, each.kind), each.what)
            for each in interception.attempts
            if each.what not in own
        ]
        self.verdict.attempts += [
            Attempt("tcp", name, let_out=True) for name in sorted(interception.passed)
        ]

    async def _replay(self, port: int, target: Target, interception: Interception | None) -> None:
        connect = interception.connect if interception is not None else None
        if interception is not None:
            await self._start(port, target, interception)
        allow_open_files()
        await until_ready(self._config, self._build, *self._where(port), connect)
        for expired in self._carried.expired(time_ns()):
            self._tell(expired.message)
            self.verdict.notes.append(expired.message)
        self._tell(f"replaying {len(self.positions)} exchanges against {target}")
        client = Client(target, self._config.timeout_ns, connect=connect)
        await self._drive.all(client, target)
        await self._still_there(0, "after the last exchange")

    def _where(self, port: int) -> tuple[Target, Target, str | None]:
        return addresses(self._config, expander(port, {}))

    async def _start(self, port: int, target: Target, interception: Interception) -> None:
        """Start the build, told of the run's own ports."""
        if await accepts(target, interception.connect):
            raise EnvironmentFailedError(f"port taken: something else listens on {target} already")
        with await interception.hold(target.port):
            ports = {name: await interception.listen(name) for name in self._mock_names}
        expand = expander(port, ports)
        command = [expand(word) for word in self._config.command]
        env = {name: expand(value) for name, value in self._config.env}
        self._correlation.timeline.started_ns = time_ns()
        # A start that is interrupted half-way must still leave us the process to end.
        start = asyncio.create_task(
            Build.start(command, {**interception.environment, **env}, interception.supervisor)
        )
        try:
            self._build = await asyncio.shield(start)
        except asyncio.CancelledError:
            self._build = await start
            raise

    async def _still_there(self, within_s: float, when: str) -> None:
        await still_there(self._build, within_s, when)


def _result(step: Step, driven: Collection[int]) -> Result:
    http = step.exchange.http
    begun_ns = http.request.first_byte_at_ns
    ended_ns = http.response.last_byte_at_ns or http.request.last_byte_at_ns
    result = Result(
        step.position,
        step.exchange.id,
        intern(http.request.method),
        http.request.target.decode("latin-1"),
        max(0, ended_ns - begun_ns),
        recorded_at_ns=begun_ns,
    )
    if step.position not in driven:
        result.note = "left out (--only)"
    elif step.fault is not None:
        result.state, result.note = State.UNFIT, step.fault
    return result
