"""`replay mock`: the recorded upstreams, for whoever asks them, until stopped."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from wiretape.replayer.carried import plan
from wiretape.replayer.caused import InFlight
from wiretape.replayer.config import MockConfig
from wiretape.replayer.errors import EnvironmentFailedError, UnfitRecordingError
from wiretape.replayer.io.listener import Listeners
from wiretape.replayer.io.real_upstream import RealUpstream
from wiretape.replayer.mocks import Answers, Calls, Mocks
from wiretape.replayer.recorded import open_recording
from wiretape.replayer.run import loop_factory
from wiretape.replayer.values import Correlation


def stand_in(config: MockConfig, tell: Callable[[str], None]) -> int:
    """Answer until a signal comes; the exit code: 3 where a call could not be answered.

    `tell` gets a line for each place where an upstream is mocked, then what was made of it. Raises
    UsageError, UnfitRecordingError and EnvironmentFailedError.
    """
    recording = open_recording(config.recording)
    traffic = recording.traffic(config.service)
    outbound = traffic.outbound
    if not outbound:
        raise UnfitRecordingError("nothing to answer: no upstream call was recorded")
    correlation = Correlation()
    # Nothing is driven here, so all that was recorded may be asked for at any time.
    calls = Calls(outbound, (), traffic.ends)
    carried = plan((), outbound, [call.place for call in calls.all])
    mocks = Mocks(
        calls,
        correlation,
        InFlight(),
        Answers(correlation, carried, config.mock_time_shifts, config.mock_timing),
    )
    real = RealUpstream(mocks, config.timeout_ns) if config.pass_on else None
    listeners = Listeners(mocks, real.pass_on if real is not None else None)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_answer(config, mocks, listeners, tell))
    return _conclude(mocks, tell)


async def _answer(
    config: MockConfig, mocks: Mocks, listeners: Listeners, tell: Callable[[str], None]
) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    try:
        if config.listen is not None:
            host, port = config.listen
            await listeners.listen("", host, port)
            tell(f"{', '.join(mocks.names)}  at {host}:{port}")
        else:
            for name in mocks.names:
                tell(f"{name}  at 127.0.0.1:{await listeners.listen(name)}")
        await stopped.wait()
    except OSError as error:
        raise EnvironmentFailedError(f"cannot listen: {error.strerror or error}") from error
    finally:
        listeners.close()


def _conclude(mocks: Mocks, tell: Callable[[str], None]) -> int:
    tell(f"{mocks.answered} calls answered from the recording")
    for miss in mocks.passed_on:
        tell(f"passed on: {miss.name} {miss.text}")
    missed = mocks.findings(())
    for finding in missed:
        tell(f"not recorded: {finding.upstream} {finding.call}: {finding.reason}")
    return 3 if missed else 0
