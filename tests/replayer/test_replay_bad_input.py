"""What can go wrong: the exit code, one line that says what and where, nothing left running."""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from tapes import TARGET, Outcome, Tape, build, replay_command, request_of, response_of

from wiretape.exchange.v1.exchange_pb2 import ConnectionEnd

Replay = Callable[..., Outcome]
HELLO = {"hello": "world", "n": 1}


def hello(tape: Tape, times: int = 1) -> None:
    for _ in range(times):
        tape.inbound(request_of("GET", "/hello"), response_of(200, HELLO))


@pytest.fixture
def recording(tape: Tape, tmp_path: Path) -> Path:
    hello(tape, 3)
    return tape.write(tmp_path / "x.mcap")


def is_gone(mark: Path) -> bool:
    """Whether no process has this path among its arguments; by whose numbers it is known there,
    nobody outside can tell."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(mark).encode() in (process / "cmdline").read_bytes():
                return False
        except OSError:
            continue
    return True


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def port_in(text: str) -> int:
    found = re.search(r"127\.0\.0\.1:(\d+)", text)
    assert found, text
    return int(found[1])


def test_a_missing_file(replay: Replay, tmp_path: Path) -> None:
    done = replay("run", tmp_path / "no.mcap", *TARGET, *build())
    assert done.code == 2
    assert done.complaint == f"replay: {tmp_path}/no.mcap: no such file or directory"


def test_a_directory_without_recordings(replay: Replay, tmp_path: Path) -> None:
    done = replay("run", tmp_path, *TARGET, *build())
    assert done.code == 4
    assert str(tmp_path) in done.complaint


@pytest.mark.parametrize("content", [b"", b"\x89", b"no recording at all\n" * 50])
def test_a_file_that_is_no_recording(replay: Replay, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.mcap"
    file.write_bytes(content)
    done = replay("run", file, *TARGET, *build())
    assert done.code == 4
    assert str(file) in done.complaint


def test_a_directory_of_recordings(replay: Replay, tmp_path: Path) -> None:
    folder = tmp_path / "rec"
    folder.mkdir()
    for name in ("a.mcap", "b.mcap"):
        tape = Tape()
        hello(tape)
        tape.write(folder / name)
    done = replay("run", folder, *TARGET, "--service", ":8080", *build())
    assert done.code == 0, done.err
    assert "2 exchanges compared" in done.out


@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.8])
def test_a_recording_that_was_cut(
    replay: Replay, recording: Path, part: float, running_build: int
) -> None:
    whole = recording.read_bytes()
    recording.write_bytes(whole[: int(len(whole) * part)])
    target = f"http://127.0.0.1:{running_build}"
    done = replay("run", recording, "--target", target, "--service", ":8080")
    assert done.code == 4, "what was cut may be what would have failed"
    assert "cut" in done.out + done.err or "truncated" in done.out + done.err
    assert recording.name in done.out + done.err


def test_a_cut_that_took_the_upstream_calls_is_no_wrong_usage(
    replay: Replay, recording: Path
) -> None:
    recording.write_bytes(recording.read_bytes()[:-200])
    done = replay("run", recording, *TARGET, *build())
    assert done.code == 4
    assert "name one with --service" in done.complaint


def test_nothing_to_replay(replay: Replay, tape: Tape, tmp_path: Path) -> None:
    file = tape.write(tmp_path / "x.mcap")
    done = replay("run", file, *TARGET, *build())
    assert done.code == 4
    assert done.out == "UNFIT  nothing to replay: no request to the service was recorded\n"


def test_gaps_are_named_and_the_rest_is_judged(replay: Replay, tape: Tape, tmp_path: Path) -> None:
    hello(tape)
    torn = tape.inbound(request_of("GET", "/torn"), response_of(200, HELLO))
    torn.http.response.content.gaps.add(offset=3, length=9)
    torn.http.response.content.complete = False
    alone = tape.inbound(request_of("GET", "/alone"), None)
    file, junit = tape.write(tmp_path / "x.mcap"), tmp_path / "x.xml"
    options = ("--service", ":8080", "--junit", str(junit))
    done = replay("run", file, *TARGET, *options, *build())
    assert done.code == 4
    assert "1 exchange compared, none differs · 2 not fit to judge" in done.out
    assert f"GET /torn (exchange 2, {torn.id}): its response's content lacks 9 bytes" in done.out
    assert f"GET /alone (exchange 3, {alone.id}): its response was not recorded" in done.out
    assert ET.parse(junit).getroot()[0].attrib["errors"] == "2"


class Lossy(Tape):
    """One of whose connections lacks bytes between its messages."""

    torn = ""

    def ends(self, how: ConnectionEnd.How = ConnectionEnd.CLOSED) -> dict[str, ConnectionEnd]:
        found = super().ends(how)
        for end in found.values():
            end.server.message_bytes = 1
        torn = found.setdefault(self.torn, ConnectionEnd(id=self.torn))
        torn.server.gap_bytes_outside_messages = 9
        return found


@pytest.mark.parametrize(
    ("torn", "options", "unfit", "said"),
    [
        ("c1", (), True, "a connection to the service lacks 9 bytes between messages"),
        ("c1", ("--only", "/hello"), False, ""),
        ("u1", (), True, "a connection to prices.internal:80 lacks 9 bytes between messages"),
        ("u1", ("--only", "/hello"), True, "a connection to prices.internal:80 lacks 9 bytes"),
        ("u1", ("--no-mock",), False, ""),
        ("other", (), True, "a connection of which nothing else was seen lacks 9 bytes"),
    ],
)
def test_what_was_lost_between_messages(
    torn: str, options: tuple[str, ...], unfit: bool, said: str, replay: Replay, tmp_path: Path
) -> None:
    tape = Lossy()
    tape.torn = torn
    call = request_of("GET", "/price", fields={"Host": "prices.internal"})
    hello(tape)
    tape.inbound(request_of("GET", "/hello"), response_of(200, HELLO), (call, response_of(200)))
    file = tape.write(tmp_path / "x.mcap")
    done = replay("run", file, *TARGET, "--service", ":8080", *options, *build())
    assert said in done.out
    assert (done.code == 4) == unfit, done.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--target", "http://127.0.0.1:1", "--bogus"], "No such option: --bogus"),
        (["--target", "http://127.0.0.1:1", "b.mcap"], "unexpected argument 'b.mcap'"),
        ([], "--target is missing"),
        (["--target", "nonsense"], "--target: 'nonsense' is not a URL"),
        (["--target", "ftp://127.0.0.1"], "is not a URL"),
        (["--target", "http://127.0.0.1:1/base"], "paths come from the recording"),
        (["--target", "http://127.0.0.1:{port}"], "{port} needs COMMAND"),
        (["--target", "http://127.0.0.1:1", "--env", "A=1"], "--env needs COMMAND"),
        (["--target", "http://127.0.0.1:1", "--mock"], "--mock needs COMMAND"),
        (["--target", "http://127.0.0.1:1", "--service", "x"], "--service: 'x'"),
        (["--target", "http://127.0.0.1:1", "--timeout", "soon"], "--timeout: 'soon'"),
        (["--target", "http://127.0.0.1:1", "--max-failures", "0"], "--max-failures"),
        (
            [
                *TARGET,
                "--service",
                ":8080",
                "--fail-if",
                "requests.failed > 0 at GET /no",
                *build(),
            ],
            "--fail-if: no request of the recording is at 'GET /no'",
        ),
        (["--target", "http://127.0.0.1:1", "--junit", "/no/x.xml"], "cannot write /no/x.xml"),
        (["--target", "http://127.0.0.1:1", "--service", ":99"], "recorded: 10.0.0.2:8080"),
        (["--target", "http://127.0.0.1:1"], "name one with --service: 10.0.0.2:8080"),
        (
            [*TARGET, "--service", ":8080", "--env", "A={mock:x.internal}", *build()],
            "{mock:x.internal:80}: no such upstream was recorded; recorded: none",
        ),
        (
            [*TARGET, "--service", ":8080", "--no-mock", "--env", "A={mock:x}", *build()],
            "with --no-mock",
        ),
        (
            [*TARGET, "--service", ":8080", "--env", "A=http://{mock}", *build()],
            "{mock} is neither {port} nor {mock:host:port}",
        ),
    ],
)
def test_wrong_usage(replay: Replay, recording: Path, arguments: list[str], said: str) -> None:
    done = replay("run", recording, *arguments, report=False)
    assert done.code == 2
    assert said in done.err
    assert not done.out


def test_a_target_that_never_becomes_ready(replay: Replay, recording: Path) -> None:
    options = ("--service", ":8080", "--ready-timeout", "300ms")
    done = replay("run", recording, *TARGET, *options, *build("--fault", "never"))
    assert done.code == 5
    assert "target never ready: 127.0.0.1:" in done.out
    assert "within 0.3 s (--ready-timeout)" in done.out


@pytest.mark.parametrize(
    ("target", "listens"), [("127.0.0.1", "::1"), ("[::1]", "127.0.0.1"), ("[::1]", "::1")]
)
def test_a_build_that_listens_on_the_other_loopback(
    replay: Replay, recording: Path, target: str, listens: str
) -> None:
    options = ("--target", f"http://{target}:{{port}}", "--service", ":8080")
    done = replay("run", recording, *options, "--ready-timeout", "4s", *build("--host", listens))
    if listens in target:
        assert done.code == 0, done.out
    else:
        assert done.code == 5
        there = f"[{listens}]" if ":" in listens else listens
        assert f"; something listens on {there}:" in done.out


def test_a_build_that_was_not_told_its_port(replay: Replay, recording: Path) -> None:
    options = ("--service", ":8080", "--ready-timeout", "300ms")
    done = replay("run", recording, *TARGET, *options, "--", "sleep", "60")
    assert done.code == 5
    assert "neither COMMAND nor --env has {port}" in done.out


def test_a_path_that_never_becomes_ready(replay: Replay, recording: Path) -> None:
    ready = ("--ready", "http://127.0.0.1:{port}/ready", "--ready-timeout", "300ms")
    done = replay("run", recording, *TARGET, "--service", ":8080", *ready, *build())
    assert done.code == 5
    assert "/ready did not answer" in done.out
    ready = ("--ready", "http://127.0.0.1:{port}/hello", "--ready-timeout", "20s")
    assert replay("run", recording, *TARGET, "--service", ":8080", *ready, *build()).code == 0


def test_a_build_that_ends_before_it_is_ready(replay: Replay, recording: Path) -> None:
    done = replay("run", recording, *TARGET, "--service", ":8080", *build("--fault", "exit"))
    assert done.code == 5
    assert done.out.startswith("ERROR  the build exited with 3 before it was ready\n")
    assert "  cannot read the configuration\n" in done.out


def test_a_command_that_is_not_there(replay: Replay, recording: Path) -> None:
    done = replay("run", recording, *TARGET, "--service", ":8080", "--", "./no-such-build")
    assert done.code == 5
    assert "cannot start './no-such-build': No such file or directory" in done.out


def test_a_port_that_is_taken(replay: Replay, recording: Path, running_build: int) -> None:
    target = f"http://127.0.0.1:{running_build}"
    done = replay("run", recording, "--target", target, "--service", ":8080",
                  "--intercept", "none", *build())  # fmt: skip
    assert done.code == 5
    assert f"port taken: something else listens on 127.0.0.1:{running_build} already" in done.out


def test_a_build_that_crashes_half_way(replay: Replay, tape: Tape, tmp_path: Path) -> None:
    hello(tape, 2)
    tape.inbound(request_of("GET", "/crash"), response_of(200, HELLO))
    hello(tape)
    file = tape.write(tmp_path / "x.mcap")
    done = replay("run", file, *TARGET, "--service", ":8080", *build())
    assert done.code == 5
    first, second = done.out.splitlines()[:2]
    assert first == "ERROR  the build exited with 7 during exchange 3 of 4 (GET /crash)"
    assert second == "  2 of 4 exchanges were compared before, 2 were left"
    assert "  out of luck\n" in done.out
    assert done.report is not None
    assert done.report["failure"]["exchange"] == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_still_reports(
    tape: Tape, tmp_path: Path, number: signal.Signals
) -> None:
    hello(tape)
    tape.inbound(request_of("GET", "/slow"), response_of(200, HELLO))
    file, pid_file = tape.write(tmp_path / "x.mcap"), tmp_path / "pid"
    report = tmp_path / "x.json"
    command = replay_command("run", file, *TARGET, "--service", ":8080", "--json", report)
    command += build("--child", str(pid_file))
    run = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    assert run.stderr is not None
    line = next(line for line in run.stderr if line.startswith("replaying"))
    run.send_signal(number)
    out, err = run.communicate(timeout=30)
    assert run.returncode == 130
    assert out.startswith("INTERRUPTED  "), out
    assert "Traceback" not in out + err
    assert report.exists()
    assert is_gone(pid_file)
    assert not listens(port_in(line))


def test_a_signal_to_nothing_but_the_reader(tape: Tape, tmp_path: Path) -> None:
    fifo = tmp_path / "x.mcap"
    os.mkfifo(fifo)
    run = subprocess.Popen(
        replay_command("run", fifo, "--target", "http://127.0.0.1:1"),
        stderr=subprocess.PIPE,
        text=True,
    )
    # It waits in open() for a writer: by then nothing but the reader runs.
    until = time.monotonic() + 20
    while "wait_for_partner" not in _waits_in(run.pid) and time.monotonic() < until:
        time.sleep(0.02)
    run.send_signal(signal.SIGTERM)
    _, err = run.communicate(timeout=30)
    assert (run.returncode, err) == (130, "replay: interrupted before anything was replayed\n")


def _waits_in(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/wchan").read_text()
    except OSError:
        return ""


@pytest.mark.parametrize("path", ["/hello", "/crash"])
def test_children_of_the_build_are_gone(
    replay: Replay, tape: Tape, tmp_path: Path, path: str
) -> None:
    tape.inbound(request_of("GET", path), response_of(200, HELLO))
    file, pid_file = tape.write(tmp_path / "x.mcap"), tmp_path / "pid"
    done = replay("run", file, *TARGET, "--service", ":8080", *build("--child", str(pid_file)))
    assert done.code == (0 if path == "/hello" else 5)
    assert is_gone(pid_file), "even one that left the session, deaf to SIGTERM"


def test_a_reader_that_leaves(recording: Path, tmp_path: Path) -> None:
    command = replay_command("run", recording, *TARGET, "--service", ":8080", *build())
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path)
    assert run.stdout is not None
    run.stdout.close()
    assert run.wait(30) == 0
    assert run.stderr is not None
    assert b"Traceback" not in run.stderr.read()
    run.stderr.close()
