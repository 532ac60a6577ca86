"""The `capture-agent` command.

What an import needs (numpy, protobuf) loads only when one begins: `--help` is immediate.
"""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Annotated, Literal, NoReturn

import typer

from wiretape import __version__

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        print(f"capture-agent {__version__}")
        raise typer.Exit


@app.callback()
def capture_agent(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Record what a service really does, as HTTP exchanges.

    Exit codes: 0 done; 2 wrong usage; 3 unreadable input (what was readable is still written);
    5 missing privilege; 70 internal error; 130 interrupted (what was read is still written).
    """


@app.command(
    "import",
    options_metavar="-o REC [OPTIONS]",
    epilog="Example: capture-agent import monday.pcap -o monday.mcap",
)
def import_(
    captures: Annotated[
        list[str],
        typer.Argument(
            metavar="CAPTURE",
            help="pcap or pcapng, plain or compressed with gzip or zstd; - is standard input."
            " Several are read one after another, as the parts of one capture.",
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            metavar="REC",
            help="The recording to write; one that ends in / makes a directory.",
        ),
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing REC.")] = False,
    service: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[HOST]:PORT",
            help="Where the service answers: marks exchanges as inbound or outbound. Repeatable.",
        ),
    ] = None,
    jobs: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            max=64,
            help="Read with N processes; the recording is the same."
            " What comes through a pipe is read by one.",
        ),
    ] = 1,
    max_content: Annotated[
        str,
        typer.Option(metavar="SIZE", help="Keep this much of each content (K, M or G may follow)."),
    ] = "64M",
    summary_json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the ledger as JSON.")
    ] = None,
) -> None:
    """Read captures that exist already, and write a recording."""
    # Of numpy we use no linear algebra, whose threads would spin beside us at the start.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from wiretape.agent.config import ImportConfig
    from wiretape.agent.importing import import_captures
    from wiretape.agent.summary import summary_text
    from wiretape.exchange.endpoints import parse_service
    from wiretape.exchange.quantities import parse_size

    try:
        config = ImportConfig(
            captures=tuple(captures),
            output=output,
            force=force,
            services=tuple(map(parse_service, service or ())),
            max_content_bytes=parse_size(max_content),
            jobs=jobs,
            summary_json=summary_json,
        )
    except ValueError as error:
        _complain(str(error))
        raise typer.Exit(2) from None
    outcome = import_captures(config, _complain)
    if outcome.recorded:
        _print(f"{output}\n{summary_text(outcome.ledger)}")
        with suppress(OSError):
            print(_about_secrets(output), file=sys.stderr)
    raise typer.Exit(outcome.exit_code)


@app.command(
    options_metavar="-o REC [OPTIONS]",
    epilog="Example: sudo capture-agent run --port 8080 -o live.mcap",
)
def run(
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            metavar="REC",
            help="The recording to write; one that ends in / is a directory, and is gone on with.",
        ),
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing REC.")] = False,
    interface: Annotated[
        list[str] | None,
        typer.Option("-i", "--interface", metavar="IFACE", help="Where to listen. Repeatable."),
    ] = None,
    source: Annotated[
        Literal["auto", "packets", "ebpf"],
        typer.Option(help="Packets, or with eBPF what processes read from and write to sockets."),
    ] = "auto",
    port: Annotated[
        list[int] | None,
        typer.Option(metavar="N", min=1, max=65535, help="TCP port of either end. Repeatable."),
    ] = None,
    host: Annotated[
        list[str] | None,
        typer.Option(metavar="IP", help="Address of either end. Repeatable."),
    ] = None,
    filter_: Annotated[
        str | None,
        typer.Option("--filter", metavar="EXPR", help="As tcpdump has it; needs libpcap."),
    ] = None,
    pid: Annotated[
        list[int] | None,
        typer.Option(metavar="PID", help="eBPF: this process and its children. Repeatable."),
    ] = None,
    comm: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="eBPF: processes of this name. Repeatable."),
    ] = None,
    cgroup: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="eBPF: processes of this cgroup (v2). Repeatable."),
    ] = None,
    netns: Annotated[
        str | None, typer.Option(metavar="NAME", help="Listen in this network namespace.")
    ] = None,
    service: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[HOST]:PORT",
            help="Where the service answers: marks exchanges as inbound or outbound. Repeatable.",
        ),
    ] = None,
    duration: Annotated[
        str | None, typer.Option(metavar="TIME", help="End after so long (30s, 10m, 1h).")
    ] = None,
    rotate_size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Begin a new file when one has this size.")
    ] = None,
    rotate_every: Annotated[
        str | None, typer.Option(metavar="TIME", help="Begin a new file when one is this old.")
    ] = None,
    max_disk: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Remove the oldest files beyond this size.")
    ] = None,
    max_memory: Annotated[
        str, typer.Option(metavar="SIZE", help="What the agent may hold in memory.")
    ] = "256M",
    max_content: Annotated[
        str, typer.Option(metavar="SIZE", help="Keep this much of each content.")
    ] = "64M",
    sample: Annotated[
        str, typer.Option(metavar="N%", help="Take this part of all connections, each whole.")
    ] = "100%",
    user: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Whom to become once listening; default: sudo's user."),
    ] = None,
    metrics: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep metrics in FILE, in Prometheus' text format."),
    ] = None,
    summary_json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the ledger as JSON at the end.")
    ] = None,
) -> None:
    """Record what passes this host's interfaces, until it is interrupted."""
    # Capabilities are each thread's own: none may be there before they are given up.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    from ipaddress import ip_address

    from wiretape.agent.config import RunConfig
    from wiretape.agent.display import Display
    from wiretape.agent.running import run_capture
    from wiretape.agent.summary import summary_text
    from wiretape.exchange.endpoints import parse_service
    from wiretape.exchange.quantities import parse_duration_ns, parse_part, parse_size

    try:
        config = RunConfig(
            output=output,
            force=force,
            source=_source(source, pid, comm, cgroup, interface, host, filter_, netns),
            pids=tuple(pid or ()),
            commands=tuple(comm or ()),
            cgroups=tuple(cgroup or ()),
            interfaces=() if "any" in (interface or ()) else tuple(interface or ()),
            ports=tuple(port or ()),
            hosts=tuple(map(ip_address, host or ())),
            expression=filter_,
            netns=netns,
            services=tuple(map(parse_service, service or ())),
            duration_ns=_given(parse_duration_ns, duration),
            rotate_bytes=_given(parse_size, rotate_size),
            rotate_ns=_given(parse_duration_ns, rotate_every),
            max_disk_bytes=_given(parse_size, max_disk),
            max_memory_bytes=parse_size(max_memory),
            max_content_bytes=parse_size(max_content),
            sampled=parse_part(sample),
            user=user,
            metrics=metrics,
            summary_json=summary_json,
        )
    except ValueError as error:
        _complain(str(error))
        raise typer.Exit(2) from None
    display = Display()
    outcome = run_capture(config, display)
    if outcome.recorded:
        display.log(_about_secrets(output))
        _print(f"{output}\n{summary_text(outcome.ledger)}")
    raise typer.Exit(outcome.exit_code)


@app.command(epilog="Example: capture-agent show monday.mcap --format har > monday.har")
def show(
    recording: Annotated[
        Path, typer.Argument(metavar="REC", help="A recording: an .mcap file or a directory.")
    ],
    ident: Annotated[
        str | None,
        typer.Argument(metavar="ID", help="One exchange, or all whose identifier begins so."),
    ] = None,
    form: Annotated[
        Literal["table", "jsonl", "har", "http"] | None,
        typer.Option(
            "--format", help="Default: table; http where ID is given.", show_default=False
        ),
    ] = None,
) -> None:
    """Print the exchanges of a recording."""
    from wiretape.agent.show import write_exchanges
    from wiretape.exchange.recording import RecordingError, read_recording

    chosen = form or ("http" if ident else "table")
    try:
        reader = read_recording(recording)
        found = write_exchanges(reader, chosen, ident, sys.stdout)
        sys.stdout.flush()
    except RecordingError as error:
        _complain(str(error))
        raise typer.Exit(3) from None
    except BrokenPipeError:
        _nobody_reads()
        raise typer.Exit(0) from None
    if reader.truncated:
        _complain(reader.truncated)
        raise typer.Exit(3)
    if not found and not ident:
        _complain(f"{recording}: holds no exchange")
    if ident and not found:
        _complain(f"{recording}: no exchange has an identifier that begins with {ident!r}")
        raise typer.Exit(2)


@app.command(epilog="Example: capture-agent doctor")
def doctor() -> None:
    """Say what this host allows, and the command that would fix the rest."""
    from wiretape.agent.doctor import doctor as examine_host

    try:
        code = examine_host(sys.stdout)
        sys.stdout.flush()
    except BrokenPipeError:
        _nobody_reads()
        raise typer.Exit(0) from None
    raise typer.Exit(code)


def _source(
    wanted: str,
    pid: list[int] | None,
    comm: list[str] | None,
    cgroup: list[str] | None,
    interface: list[str] | None,
    host: list[str] | None,
    expression: str | None,
    netns: str | None,
) -> str:
    """What options ask for; "auto" is eBPF only for those that it alone has. Raises ValueError."""
    of_ebpf = {"--pid": pid, "--comm": comm, "--cgroup": cgroup}
    of_packets = {"-i": interface, "--host": host, "--filter": expression, "--netns": netns}
    source = wanted
    if wanted == "auto":
        source = "ebpf" if any(of_ebpf.values()) else "packets"
    for name, value in (of_packets if source == "ebpf" else of_ebpf).items():
        if value:
            raise ValueError(f"{name} is not for --source {source}")
    return source


def _given(parse: Callable[[str], int], text: str | None) -> int | None:
    return None if text is None else parse(text)


def _about_secrets(output: str) -> str:
    return f"{output} holds the traffic as it was, secrets included; only you can read it"


def _print(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError:
        _nobody_reads()


def _nobody_reads() -> None:
    """`| head` has seen enough; the interpreter must not complain at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(line: str) -> None:
    """What cannot be said changes nothing about what was done."""
    with suppress(OSError):
        print(f"capture-agent: {line}", file=sys.stderr)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _open_what_is_closed() -> None:
    """Standard output or error may be (`2>&-`): no file of ours may get their numbers."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
            setattr(sys, name, os.fdopen(number, "w"))


def main() -> NoReturn:
    """Entry point of `capture-agent`; exits with the codes of the command's help."""
    signal.signal(signal.SIGTERM, _interrupt)
    _open_what_is_closed()
    try:
        app()
    except KeyboardInterrupt:
        _complain("interrupted")
        sys.exit(130)
    except Exception as error:  # the one place where what nobody foresaw becomes a line
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        place = f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}" if where else "?"
        _complain(f"internal error: {type(error).__name__}: {error} (at {place})")
        sys.exit(70)
    sys.exit(0)
