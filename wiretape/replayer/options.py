"""The options of `replay`, each written once for all commands that take it."""

from pathlib import Path
from typing import Annotated

import typer

Recording = Annotated[
    Path, typer.Argument(metavar="REC", help="A recording: an .mcap file or a directory.")
]
Command = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="COMMAND",
        help="After --: starts the build; {port} and {mock:host:port} expand. Without it, the"
        " target is running already and its upstream calls are not looked at.",
    ),
]
Target = Annotated[
    str,
    typer.Option(metavar="URL", help="Where the build answers; {port} is a free port."),
]
Service = Annotated[
    str | None,
    typer.Option(
        metavar="[HOST]:PORT", help="Which recorded endpoint is the service, where unclear."
    ),
]
Mock = Annotated[
    bool | None,
    typer.Option(
        "--mock/--no-mock",
        help="Answer the build's upstream calls from the recording, and compare them."
        " Default: with COMMAND.",
    ),
]
Env = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE",
        help="For the build's environment; {mock:host:port} is where that recorded upstream"
        " is mocked, {port} the free port. Repeatable.",
    ),
]
Ready = Annotated[
    str | None,
    typer.Option(
        metavar="URL|PORT",
        help="Ready when a GET of URL gets a status below 400, or PORT accepts connections."
        " Default: the target's port.",
    ),
]
ReadyTimeout = Annotated[str, typer.Option(metavar="TIME", help="Time to get ready.")]
Timeout = Annotated[str, typer.Option(metavar="TIME", help="Time for each response.")]
MaxFailures = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Stop after N exchanges that differ.")
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ID|PATTERN",
        help="Replay these exchanges and what they depend on: by the beginning of an id, or"
        " by path or 'METHOD path', * for anything. Repeatable.",
    ),
]
Concurrency = Annotated[
    int,
    typer.Option(metavar="N", min=1, help="How many exchanges may be in flight at once."),
]
Speed = Annotated[
    str,
    typer.Option(
        metavar="X|max", help="Keep the recorded times between requests, X times as fast."
    ),
]
MockTiming = Annotated[
    str,
    typer.Option(
        metavar="none|recorded|Nx",
        help="How long mocks take to answer: not at all, as recorded, or N times as long.",
    ),
]
MockTime = Annotated[
    str,
    typer.Option(
        metavar="shift|recorded",
        help="Absolute times in mocks' answers: moved to today, or as recorded.",
    ),
]
OnMiss = Annotated[
    str,
    typer.Option(
        metavar="fail|passthrough",
        help="What the recording cannot answer fails, or is asked of the real upstream.",
    ),
]
Intercept = Annotated[
    str,
    typer.Option(
        metavar="auto|netns|cgroup|proxy|none",
        help="How the build's own calls come to the mocks. auto: the first that works here.",
    ),
]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        metavar="HOST[:PORT]",
        help="Let the build's calls to it out to the real network. Repeatable.",
    ),
]
FailIf = Annotated[
    list[str] | None,
    typer.Option(
        metavar="EXPR",
        help="Fail where it holds, such as 'latency.p95 > 200ms' or"
        " 'requests.failed > 0 at GET /orders/*'. Repeatable.",
    ),
]
RulesFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="What the comparison is to know further (TOML)."),
]
Junit = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write JUnit XML, a case per exchange.")
]
Json = Annotated[Path | None, typer.Option(metavar="FILE", help="Write the verdict as JSON.")]
Report = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Write a page, DIR/index.html, with every exchange side by side."
    ),
]
Form = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="text|agent",
        help="What is printed: for people, or in 4,000 characters for a coding agent.",
    ),
]
Listen = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Answer for all upstreams here; the Host field says which one is meant."
        " Default: a port of 127.0.0.1 for each.",
    ),
]
PassOnTimeout = Annotated[str, typer.Option(metavar="TIME", help="Time for what is passed on.")]
LearnedRules = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Rules that hold already; what is learned is added. Default: standard output.",
    ),
]
Runs = Annotated[int, typer.Option(metavar="K", help="How often the build is run, 2 or more.")]
