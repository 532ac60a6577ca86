"""`capture-agent import`: what it says and leaves behind when its input or output is bad."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from agent_command import COMMAND, Ran, agent, ran
from capture_files import pcap
from tcp_traffic import Peers

from wiretape.exchange.recording import RecordingError, read_recording

COUNT = 5
ADVICE = "secrets included"


def conversation(count: int = COUNT) -> bytes:
    peers = Peers()
    peers.open()
    for number in range(count):
        peers.ask(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
        peers.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    return pcap(peers.sent)


CAPTURE = conversation()


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "some.pcap"
    path.write_bytes(CAPTURE)
    return path


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return tmp_path / "some.mcap"


def targets(recording: Path) -> list[str]:
    return [e.http.request.target.decode() for e in read_recording(recording)]


ALL = [f"/{n}" for n in range(COUNT)]


def test_import(capture: Path, recording: Path) -> None:
    done = agent("import", capture, "-o", recording)
    assert done.code == 0
    assert ADVICE in done.err
    assert str(recording) in done.out
    assert targets(recording) == ALL
    assert recording.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("word", [[], ["import"], ["show"]])
def test_help(word: list[str]) -> None:
    done = agent(*word, "--help")
    assert done.code == 0
    assert "Usage" in done.out
    assert done.err == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["import"], "CAPTURE"),
        (["import", "some.pcap"], "-o"),
        (["import", "some.pcap", "-o", "x.mcap", "--wrong"], "--wrong"),
        (["import", "some.pcap", "-o", "x.mcap", "--service", "nowhere"], "nowhere"),
        (["import", "some.pcap", "-o", "x.mcap", "--service", "1.2.3.4:99999"], "65535"),
        (["import", "some.pcap", "-o", "x.mcap", "--max-content", "much"], "much"),
        (["import", "some.pcap", "-o", "x.mcap", "--max-content", "-1"], ""),
        (["wrong"], "wrong"),
        (["show"], "REC"),
    ],
)
def test_wrong_usage(capture: Path, arguments: list[str], says: str) -> None:
    done = agent(*arguments, cwd=capture.parent)
    assert done.code == 2
    assert says in done.err
    assert done.out == ""
    assert [p.name for p in capture.parent.iterdir()] == ["some.pcap"]


# -- inputs


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"no capture at all, but text\n", "not a capture"),
        (os.urandom(0) + bytes(range(256)), "not a capture"),
        (gzip.compress(b"", mtime=0), "empty"),
    ],
)
def test_unreadable_file(tmp_path: Path, recording: Path, data: bytes, says: str) -> None:
    bad = tmp_path / "bad.pcap"
    bad.write_bytes(data)
    done = agent("import", bad, "-o", recording)
    assert done.code == 3
    assert str(bad) in done.line
    assert says in done.line
    assert not recording.exists()


def test_missing_file_and_directory(tmp_path: Path, recording: Path) -> None:
    for path, says in ((tmp_path / "missing.pcap", "No such file"), (tmp_path, "directory")):
        done = agent("import", path, "-o", recording)
        assert done.code == 3
        assert str(path) in done.line
        assert says in done.line
        assert not recording.exists()


def test_cut_in_the_middle_of_a_packet(tmp_path: Path, recording: Path) -> None:
    bad = tmp_path / "cut.pcap"
    bad.write_bytes(CAPTURE[:-10])
    done = agent("import", bad, "-o", recording)
    assert done.code == 3
    assert f"cut in the middle of packet {3 + 2 * COUNT}" in done.line
    assert str(bad) in done.line
    assert targets(recording) == ALL


def test_one_bad_input_among_good_ones(tmp_path: Path, capture: Path, recording: Path) -> None:
    done = agent("import", tmp_path / "missing", capture, "-o", recording)
    assert done.code == 3
    assert "missing" in done.line
    assert targets(recording) == ALL


def test_parts_of_one_capture(tmp_path: Path, recording: Path) -> None:
    """A connection that goes on in the next file is one connection."""
    peers = Peers()
    peers.open()
    peers.ask(b"GET /0 HTTP/1.1\r\nHost: a\r\n\r\n")
    (tmp_path / "1").write_bytes(pcap(peers.sent))
    begun = len(peers.sent)
    peers.answer(b"HTTP/1.1 204 No Content\r\n\r\n")
    (tmp_path / "2").write_bytes(pcap(peers.sent[begun:]))
    done = agent("import", tmp_path / "1", tmp_path / "2", "-o", recording)
    assert done.code == 0
    (exchange,) = read_recording(recording)
    assert exchange.http.response.status == 204


def test_standard_input(recording: Path) -> None:
    done = agent("import", "-", "-o", recording, stdin=CAPTURE)
    assert done.code == 0
    assert targets(recording) == ALL
    done = agent("import", "-", "-o", recording, "--force", stdin=CAPTURE[:-1])
    assert done.code == 3
    assert "standard input" in done.line
    assert targets(recording) == ALL


# -- outputs


def test_existing_output(capture: Path, recording: Path) -> None:
    recording.write_text("precious")
    done = agent("import", capture, "-o", recording)
    assert done.code == 2
    assert str(recording) in done.line
    assert "--force" in done.line
    assert recording.read_text() == "precious"
    assert agent("import", capture, "-o", recording, "--force").code == 0
    assert targets(recording) == ALL


def test_output_into_a_directory(capture: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    assert agent("import", capture, "-o", f"{folder}/").code == 0
    assert targets(folder) == ALL
    assert folder.stat().st_mode & 0o777 == 0o700
    done = agent("import", capture, "-o", f"{folder}/")
    assert done.code == 2
    assert str(folder) in done.line
    done = agent("import", capture, "-o", folder)
    assert done.code == 2
    assert targets(folder) == ALL


def test_output_where_nothing_can_be_made(capture: Path, tmp_path: Path) -> None:
    for output in (tmp_path / "missing" / "some.mcap", Path("/proc/some.mcap")):
        done = agent("import", capture, "-o", output)
        assert done.code == 2
        assert str(output) in done.line


def test_output_over_a_file_on_its_way(capture: Path) -> None:
    done = agent("import", capture, "-o", f"{capture}/some.mcap")
    assert done.code == 2
    assert "some.mcap" in done.line


def test_full_disk(capture: Path) -> None:
    done = agent("import", capture, "-o", "/dev/full", "--force")
    assert done.code == 70
    assert done.line.startswith("capture-agent: /dev/full: No space left on device")
    assert "internal" not in done.line


def test_summary_that_cannot_be_written(capture: Path, recording: Path, tmp_path: Path) -> None:
    done = agent("import", capture, "-o", recording, "--summary-json", tmp_path / "no" / "s.json")
    assert done.code == 70
    assert "s.json: No such file" in done.line
    assert targets(recording) == ALL


def test_nobody_reads_what_it_prints(capture: Path, recording: Path) -> None:
    """As `| head -0` does."""
    process = subprocess.Popen(
        [*COMMAND, "import", str(capture), "-o", str(recording)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    done = ran(process.wait(60), b"", err)
    assert done.code == 0
    assert "Broken" not in done.err
    assert targets(recording) == ALL


# -- interrupts


@pytest.fixture
def importing(recording: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [*COMMAND, "import", "-", "-o", str(recording)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    yield process
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def interrupted(process: subprocess.Popen[bytes], number: int) -> Ran:
    """The command's end on a signal, its standard input still open."""
    process.send_signal(number)
    assert process.stdout is not None
    assert process.stderr is not None
    code = process.wait(60)
    return ran(code, process.stdout.read(), process.stderr.read())


def wait_until_read(process: subprocess.Popen[bytes]) -> None:
    """Until its standard input was drained and it waits for more."""
    assert process.stdin is not None
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if unread(process.stdin.fileno()) == 0 and waits(process.pid):
            return
        time.sleep(0.02)
    pytest.fail("the command does not read its standard input")


def unread(pipe: int) -> int:
    import fcntl
    import termios

    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def waits(pid: int) -> bool:
    """The process sleeps in the kernel: it has nothing to do but to wait."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_keeps_what_was_read(
    importing: subprocess.Popen[bytes], recording: Path, number: int
) -> None:
    assert importing.stdin is not None
    importing.stdin.write(CAPTURE[:-20])
    importing.stdin.flush()
    wait_until_read(importing)
    done = interrupted(importing, number)
    assert done.code == 130
    assert "interrupted" in done.line
    assert targets(recording) == ALL


def test_recording_advances_while_the_input_is_slow(
    importing: subprocess.Popen[bytes], recording: Path
) -> None:
    assert importing.stdin is not None
    importing.stdin.write(CAPTURE)
    importing.stdin.flush()
    until = time.monotonic() + 30
    seen: list[str] = []
    while seen != ALL and time.monotonic() < until:
        time.sleep(0.1)
        if recording.exists() and recording.stat().st_size:
            with suppress(RecordingError):
                seen = targets(recording)
    assert importing.poll() is None
    assert seen == ALL
    importing.stdin.close()
    assert importing.wait(60) == 0
    assert targets(recording) == ALL


def test_interrupt_before_anything_came(
    importing: subprocess.Popen[bytes], recording: Path
) -> None:
    assert importing.stdin is not None
    importing.stdin.write(CAPTURE[:2])
    importing.stdin.flush()
    wait_until_read(importing)
    done = interrupted(importing, signal.SIGINT)
    assert done.code == 130
    assert "interrupted" in done.line
    assert not recording.exists()


# -- the ledger

KEYS = {
    "packets", "packets_decoded", "packets_skipped", "duplicate_packets", "payload_bytes",
    "delivered_bytes", "retransmitted_bytes", "overlapping_bytes", "beyond_limits_bytes",
    "gap_bytes", "message_bytes", "undecoded_bytes", "undecoded_streams", "connections",
    "exchanges", "complete", "request_only", "response_only", "with_gaps", "kernel_drops",
    "seconds",
}  # fmt: skip


def test_summary_json(capture: Path, recording: Path, tmp_path: Path) -> None:
    summary = tmp_path / "summary.json"
    assert agent("import", capture, "-o", recording, "--summary-json", summary).code == 0
    ledger = json.loads(summary.read_text())
    assert set(ledger) >= KEYS
    assert ledger["packets"] == ledger["packets_decoded"] == 3 + 2 * COUNT
    assert ledger["exchanges"] == ledger["complete"] == COUNT
    assert ledger["payload_bytes"] == ledger["delivered_bytes"] == ledger["message_bytes"] > 0
    assert ledger["packets_skipped"] == ledger["undecoded_streams"] == {}


def test_summary_is_written_where_input_was_bad(tmp_path: Path, recording: Path) -> None:
    summary = tmp_path / "summary.json"
    (tmp_path / "cut").write_bytes(CAPTURE[:-1])
    done = agent("import", tmp_path / "cut", "-o", recording, "--summary-json", summary)
    assert done.code == 3
    assert json.loads(summary.read_text())["packets"] == 2 + 2 * COUNT
