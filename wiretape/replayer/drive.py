"""Sends the requests of a run to the build, each in its turn, and has the answers judged."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from time import monotonic_ns

from wiretape.exchange.v1.exchange_pb2 import HttpRequest
from wiretape.replayer.apart import is_apart
from wiretape.replayer.carried import Carried
from wiretape.replayer.caused import InFlight, marks
from wiretape.replayer.compare.awaited import Awaited
from wiretape.replayer.config import Config, Target
from wiretape.replayer.errors import EnvironmentFailedError
from wiretape.replayer.io.client import Answer, Client, TargetGoneError
from wiretape.replayer.judge import Attempt, Untold, overlong
from wiretape.replayer.mocks import Mocks
from wiretape.replayer.pace import Pace
from wiretape.replayer.rules import Rules
from wiretape.replayer.schedule import Order, Step
from wiretape.replayer.values import Correlation
from wiretape.replayer.verdict import Result, State, Verdict

_POLL_S = 0.002
# How many exchanges that differ are kept where no page is written.
_MAX_KEPT = 1000
# How long calls may take to come beyond what they took when recorded, after their exchange...
_CALLS_NS = 2 * 10**9
# ... in all of a run, where they never come; a build that makes no calls is not waited for.
_IN_VAIN_NS = 6 * 10**9
# ... and after the last exchange.
_SETTLE_NS = 10**9
# How long a build that dropped a connection has to prove that it did not crash.
_CRASH_S = 0.5

# Raises EnvironmentFailedError where the build ended within so many seconds; the text says when.
StillThere = Callable[[float, str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Plan:
    """`positions` are those of `steps` that are driven, in order. `follows(later, earlier)` says
    which of them wait for which, where several are driven at once. `overlong` are connections on
    which the recorded service sent more than its responses, so that each has one of its own."""

    steps: Sequence[Step]
    positions: Collection[int]
    follows: Callable[[int, int], bool]
    overlong: Collection[str] = ()


class Drive:
    """The requests of one run."""

    def __init__(
        self,
        config: Config,
        plan: Plan,
        correlation: Correlation,
        in_flight: InFlight,
        mocks: Mocks,
        carried: Carried,
        rules: Rules,
        verdict: Verdict,
        still_there: StillThere,
    ) -> None:
        self._config = config
        self._plan = plan
        self._steps = plan.steps
        self._correlation = correlation
        self._in_flight = in_flight
        self._mocks = mocks
        self._carried = carried
        self._rules = rules
        self._verdict = verdict
        self._still_there = still_there
        self._failed = 0
        self._untold: list[Untold] = []
        # The last exchange on each connection that goes on; those that sent more than a response.
        self._before: dict[str, int] = {}
        self._overlong: list[int] = []
        self._in_vain_ns = 0
        # The answer before, where it is judged while the build works on the next request.
        self._unjudged: tuple[Attempt, Answer] | None = None

    async def all(self, client: Client, target: Target) -> None:
        """Drive every step, then wait for upstream calls that may still come.

        Raises EnvironmentFailedError where the target or the build is gone.
        """
        pace = Pace(self._config.speed)
        try:
            if self._config.concurrency == 1:
                await self._one_by_one(client, target, pace)
            else:
                await self._several(client, target, pace)
        finally:
            self._catch_up()
            client.close()
            self._verdict.lateness = pace.lateness()
            self._judge_untold()
            self._judge_overlong()
        await self._settle()

    async def _one_by_one(self, client: Client, target: Target, pace: Pace) -> None:
        for position in self._plan.positions:
            if self._is_enough():
                return
            attempt, answer = await self._send(self._steps[position], client, target, pace)
            # The build need not wait for it to be judged, nor the judge for the build.
            if attempt.can_wait(answer) and self._config.max_failures is None:
                self._unjudged = attempt, answer
            else:
                self._judge(attempt, answer)

    async def _several(self, client: Client, target: Target, pace: Pace) -> None:
        """Answers are judged in recorded order, whichever came first: so a run that drives several
        at once accepts what one by one would have been accepted."""
        order = Order(self._plan.positions, self._plan.follows, self._config.concurrency)
        answers: dict[int, tuple[Attempt, Answer]] = {}
        to_judge = iter(self._plan.positions)
        next_judged = next(to_judge, None)
        tasks: dict[asyncio.Task[tuple[Attempt, Answer]], int] = {}
        try:
            while not order.is_done and not self._is_enough():
                while (position := order.next()) is not None:
                    work = self._send(self._steps[position], client, target, pace)
                    tasks[asyncio.create_task(work)] = position
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in sorted(done, key=tasks.__getitem__):
                    answers[tasks.pop(task)] = task.result()
                    order.answered()
                while next_judged in answers and not self._is_enough():
                    self._judge(*answers.pop(next_judged))
                    order.finished(next_judged)
                    next_judged = next(to_judge, None)
        finally:
            for task in tasks:
                task.cancel()

    def _is_enough(self) -> bool:
        most = self._config.max_failures
        if most is not None and self._failed >= most:
            self._verdict.stopped_early = True
        return self._verdict.stopped_early

    async def _send(
        self, step: Step, client: Client, target: Target, pace: Pace
    ) -> tuple[Attempt, Answer]:
        position, exchange = step.position, step.exchange
        request, connection = exchange.http.request, exchange.connection.id
        is_last = step.last_on_connection or connection in self._plan.overlong
        if not (client.is_ready(connection, request.method) and self._is_apart(request)):
            self._catch_up()
        await pace.until_due(request.first_byte_at_ns)
        result = self._verdict.results[position]
        self._in_flight.begin(position, marks(request))
        attempt = Attempt(position, exchange, self._correlation, self._carried, self._rules)
        if self._unjudged is None:
            attempt.begin()

        def meanwhile() -> Awaited | None:
            if self._unjudged is not None:
                self._catch_up()
                attempt.begin()
            return attempt.awaited()

        try:
            answer = await client.exchange(
                connection, attempt.wire, request.method, meanwhile, is_last
            )
            before = self._before.pop(connection, None)
            if answer.after_surplus and before is not None:
                self._overlong.append(before)
            if not is_last:
                self._before[connection] = position
            if not answer.whole:
                result.note = "the build ended during it"
                await self._still_there(_CRASH_S, f"during {self._where(result)}")
                result.note = ""
            await self._await_calls(position)
        except TargetGoneError as error:
            where = self._where(result)
            await self._still_there(_CRASH_S, f"before {where}")
            raise EnvironmentFailedError(f"{target} {error.what}, at {where}: {error}") from error
        self._in_flight.end(position)
        return attempt, answer

    def _is_apart(self, request: HttpRequest) -> bool:
        """Whether it holds nothing of the response that is not judged yet."""
        near = self._unjudged[1].near if self._unjudged is not None else None
        return near is not None and is_apart(request, near.recorded)

    def _catch_up(self) -> None:
        if self._unjudged is not None:
            (attempt, answer), self._unjudged = self._unjudged, None
            self._judge(attempt, answer)

    def _judge(self, attempt: Attempt, answer: Answer) -> None:
        result = self._verdict.results[attempt.position]
        attempt.judge(answer, result)
        self._verdict.accepted.add(attempt.position, attempt.accepted)
        if attempt.untold is not None:
            self._untold.append(attempt.untold)
        self._failed += len(result.differences) > (attempt.untold is not None)
        reported = self._config.report is not None
        if reported:
            result.accepted = attempt.accepted
        if reported or (result.state is State.DIFFERS and self._failed <= _MAX_KEPT):
            attempt.keep(answer, result)

    def _judge_untold(self) -> None:
        """A length that differed is right where a GET came later with that very content."""
        for untold in self._untold:
            if untold.is_known(self._correlation):
                result = self._verdict.results[untold.position]
                result.differences = untold.left(result.differences)
                result.accepted = [*result.accepted, untold.acceptance]
                self._verdict.accepted.add(untold.position, [untold.acceptance])
                if not result.differences:
                    result.state, result.uncreated = State.SAME, ""

    def _judge_overlong(self) -> None:
        """What came after the end of a response is only found by whoever goes on there."""
        for position in self._overlong:
            result = self._verdict.results[position]
            if result.state in (State.SAME, State.DIFFERS):
                result.differences = [*result.differences, overlong()]
                result.state = State.DIFFERS

    def _where(self, result: Result) -> str:
        return f"exchange {result.position + 1} of {len(self._steps)} ({result.endpoint})"

    async def _await_calls(self, position: int) -> None:
        """Calls of this exchange that may still be on their way, its response notwithstanding."""
        waiting = self._mocks.waiting(position)
        if not waiting:
            return
        late_ns = max(call.caused.late_ns for call in waiting)
        if late_ns > _CALLS_NS:
            return  # such a one comes while others are driven
        wait_ns = min(late_ns + _CALLS_NS, _IN_VAIN_NS - self._in_vain_ns, self._config.timeout_ns)
        began_ns = monotonic_ns()
        while monotonic_ns() - began_ns < wait_ns:
            await asyncio.sleep(_POLL_S)
            if not self._mocks.waiting(position):
                return
            await self._still_there(0, f"during {self._where(self._verdict.results[position])}")
        self._in_vain_ns += max(0, wait_ns)

    async def _settle(self) -> None:
        """Calls that were recorded long after their response, or could be of several exchanges."""
        if self._verdict.stopped_early:
            return
        left = [
            call
            for call in self._mocks.missing(self._plan.positions)
            if call.caused.late_ns > _CALLS_NS or len(call.caused.by) > 1
        ]
        late_ns = max((call.caused.late_ns for call in left), default=0)
        until_ns = monotonic_ns() + min(late_ns + _SETTLE_NS, self._config.timeout_ns)
        while not all(call.used for call in left) and monotonic_ns() < until_ns:
            await self._still_there(0, "while upstream calls were awaited")
            await asyncio.sleep(_POLL_S)
