"""The `replay` command.

What a run needs (protobuf, the event loop) loads only when one begins: `--help` is immediate.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from wiretape import __version__
from wiretape.replayer import options
from wiretape.replayer.config import (
    Config,
    MockConfig,
    parse_allow,
    parse_choice,
    parse_duration_ns,
    parse_env,
    parse_format,
    parse_intercept,
    parse_listen,
    parse_mock_timing,
    parse_service,
    parse_speed,
)
from wiretape.replayer.errors import ReplayError, UsageError

if TYPE_CHECKING:
    from types import FrameType

    from wiretape.replayer.verdict import Verdict

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        print(f"replay {__version__}")
        raise typer.Exit


@app.callback()
def replay(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Make a local build prove that it still does what was recorded.

    Exit codes: 0 pass; 1 the build behaves differently; 2 wrong usage; 3 an upstream call that the
    recording cannot answer, or one that never came; 4 the recording is not fit to judge; 5 the
    environment failed; 70 internal error; 130 interrupted (the report is still written).
    """


@app.command(
    options_metavar="--target URL [OPTIONS]",
    epilog="Example: replay run rec.mcap --target http://127.0.0.1:{port}"
    " --env PAYMENTS_URL=http://{mock:payments.internal:80} -- ./server --port {port}",
)
def run(
    recording: options.Recording,
    command: options.Command = None,
    target: options.Target = "",
    service: options.Service = None,
    mock: options.Mock = None,
    env: options.Env = None,
    ready: options.Ready = None,
    ready_timeout: options.ReadyTimeout = "30s",
    timeout: options.Timeout = "30s",
    max_failures: options.MaxFailures = None,
    only: options.Only = None,
    concurrency: options.Concurrency = 1,
    speed: options.Speed = "max",
    mock_timing: options.MockTiming = "none",
    mock_time: options.MockTime = "shift",
    on_miss: options.OnMiss = "fail",
    intercept: options.Intercept = "auto",
    allow: options.Allow = None,
    fail_if: options.FailIf = None,
    rules: options.RulesFile = None,
    junit: options.Junit = None,
    json: options.Json = None,
    report: options.Report = None,
    form: options.Form = "text",
) -> None:
    """Replay a recording against a build and judge its answers and its upstream calls."""
    from wiretape.replayer.conditions import parse_fail_if

    words = tuple(command or ())
    try:
        _check_usage(words, target, env, mock)
        config = Config(
            recording=recording,
            target=target,
            service=parse_service(service) if service is not None else None,
            mock=bool(words) if mock is None else mock,
            env=tuple(map(parse_env, env or ())),
            ready=ready,
            ready_timeout_ns=parse_duration_ns(ready_timeout, "--ready-timeout"),
            timeout_ns=parse_duration_ns(timeout, "--timeout"),
            max_failures=max_failures,
            only=tuple(only or ()),
            concurrency=concurrency,
            speed=parse_speed(speed),
            mock_timing=parse_mock_timing(mock_timing),
            mock_time_shifts=parse_choice(mock_time, "--mock-time", "recorded", "shift"),
            pass_on=parse_choice(on_miss, "--on-miss", "fail", "passthrough"),
            intercept=parse_intercept(intercept),
            allow=_allowed(allow),
            fail_if=tuple(map(parse_fail_if, fail_if or ())),
            rules=rules,
            junit=_writable(junit, "--junit"),
            json=_writable(json, "--json"),
            report=_usable(report, "--report"),
            for_agent=parse_format(form),
            command=words,
        )
        code = _replay(config)
    except ReplayError as error:
        _complain(str(error))
        code = error.exit_code
    except KeyboardInterrupt:
        _be_deaf()
        _complain("interrupted before anything was replayed")
        code = 130
    raise typer.Exit(code)


@app.command(epilog="Example: replay mock rec.mcap --listen 127.0.0.1:9000")
def mock(
    recording: options.Recording,
    service: options.Service = None,
    listen: options.Listen = None,
    timeout: options.PassOnTimeout = "30s",
    mock_timing: options.MockTiming = "none",
    mock_time: options.MockTime = "shift",
    on_miss: options.OnMiss = "fail",
) -> None:
    """Stand for the recorded upstreams, until stopped (SIGINT, SIGTERM).

    Exits 0 where every call was answered from the recording, else 3.
    """
    try:
        config = MockConfig(
            recording=recording,
            service=parse_service(service) if service is not None else None,
            listen=parse_listen(listen) if listen is not None else None,
            timeout_ns=parse_duration_ns(timeout, "--timeout"),
            mock_timing=parse_mock_timing(mock_timing),
            mock_time_shifts=parse_choice(mock_time, "--mock-time", "recorded", "shift"),
            pass_on=parse_choice(on_miss, "--on-miss", "fail", "passthrough"),
        )
        from wiretape.replayer.standing_in import stand_in

        code = stand_in(config, lambda line: print(line, flush=True))
    except ReplayError as error:
        _complain(str(error))
        code = error.exit_code
    except KeyboardInterrupt:
        code = 0
    raise typer.Exit(code)


@app.command(
    options_metavar="--target URL [OPTIONS]",
    epilog="Example: replay learn rec.mcap --target http://127.0.0.1:{port} --rules rules.toml"
    " -- ./server --port {port}",
)
def learn(
    recording: options.Recording,
    command: options.Command = None,
    target: options.Target = "",
    rules: options.LearnedRules = None,
    runs: options.Runs = 5,
    service: options.Service = None,
    mock: options.Mock = None,
    env: options.Env = None,
    ready: options.Ready = None,
    ready_timeout: options.ReadyTimeout = "30s",
    timeout: options.Timeout = "30s",
    intercept: options.Intercept = "auto",
    allow: options.Allow = None,
) -> None:
    """Run a known-good build several times, and make rules for what is volatile.

    Exits 0 where rules account for every difference, 1 where some differences get no rule.
    """
    words = tuple(command or ())
    try:
        _check_usage(words, target, env, mock)
        config = Config(
            recording=recording,
            target=target,
            service=parse_service(service) if service is not None else None,
            mock=bool(words) if mock is None else mock,
            env=tuple(map(parse_env, env or ())),
            ready=ready,
            ready_timeout_ns=parse_duration_ns(ready_timeout, "--ready-timeout"),
            timeout_ns=parse_duration_ns(timeout, "--timeout"),
            intercept=parse_intercept(intercept),
            allow=_allowed(allow),
            command=words,
        )
        if runs < 2:
            raise UsageError("--runs: what is volatile shows between runs: 2 or more")
        from wiretape.replayer.teach import teach

        code = teach(config, runs, _writable(rules, "--rules"), _complain)
    except ReplayError as error:
        _complain(str(error))
        code = error.exit_code
    except KeyboardInterrupt:
        _complain("interrupted before anything was learned")
        code = 130
    raise typer.Exit(code)


def _allowed(texts: list[str] | None) -> tuple[str, ...]:
    return tuple(name for text in texts or () for name in parse_allow(text))


def _replay(config: Config) -> int:
    try:
        from wiretape.replayer.run import replay as replay_recording

        verdict = replay_recording(config, lambda line: print(line, file=sys.stderr, flush=True))
        _be_deaf()
    except KeyboardInterrupt:
        _be_deaf()
        from wiretape.replayer.verdict import Verdict

        _complain("interrupted before anything was replayed")
        verdict = Verdict(str(config.recording), config.target, interrupted=True)
    return _report(config, verdict)


def _be_deaf() -> None:
    """What is known is told to the end, whoever is impatient."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _writable(file: Path | None, option: str) -> Path | None:
    """Said before the run: a verdict that cannot be kept is found out too late."""
    if file is not None and (file.is_dir() or not os.access(file.absolute().parent, os.W_OK)):
        raise UsageError(f"{option}: cannot write {file}")
    return file


def _usable(folder: Path | None, option: str) -> Path | None:
    """As _writable, of a folder that may still have to be made."""
    if folder is None:
        return None
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"{option}: cannot write into {folder}")
    return folder


def _check_usage(
    command: tuple[str, ...], target: str, env: list[str] | None, mock: bool | None
) -> None:
    after_marker = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
    if len(command) != len(after_marker):
        raise UsageError(f"unexpected argument '{command[0]}': the build's command stands after --")
    if not target:
        raise UsageError("--target is missing: where does the build answer?")
    if command:
        return
    if env:
        raise UsageError("--env needs COMMAND: nothing is started that could read it")
    if mock:
        raise UsageError("--mock needs COMMAND: a target that runs already knows no mock")
    if "{port}" in target:
        raise UsageError("{port} needs COMMAND: nothing is started that could listen there")


def _report(config: Config, verdict: Verdict) -> int:
    """Write every report; the exit code."""
    from wiretape.replayer.io.reports import write_reports
    from wiretape.replayer.report import agent_report, text_report

    code = verdict.exit_code
    failed = write_reports(verdict, config.json, config.junit, config.report)
    terminal = sys.stdout.isatty()
    # NO_COLOR counts where it is not empty (no-color.org).
    colour = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    width = shutil.get_terminal_size().columns if terminal else None
    text = agent_report(verdict) if config.for_agent else text_report(verdict, colour, width)
    try:
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # Nobody reads it (`| head`); the exit code still tells.
        if not isinstance(error, BrokenPipeError):
            failed.append(f"cannot write the verdict: {error.strerror}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    for problem in failed:
        _complain(problem)
    return 5 if failed and code in (0, 1, 3, 4) else code


def _complain(line: str) -> None:
    print(f"replay: {line}", file=sys.stderr)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def main() -> int:
    """Entry point of `replay`; ends with the exit code of design.md §5."""
    # Before the run handles signals itself, SIGTERM ends us as Ctrl-C does.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app()
    except KeyboardInterrupt:
        _complain("interrupted before anything was begun")
        return 130
    except Exception as error:  # the one place where what nobody foresaw becomes a line
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        at = f" ({where.tb_frame.f_code.co_filename}:{where.tb_lineno})" if where else ""
        _complain(f"internal error: {type(error).__name__}: {error}{at}")
        return 70
    return 0
