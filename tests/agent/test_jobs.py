"""Several processes make of captures what one makes of them, byte for byte."""

import errno
import gzip
import multiprocessing
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from agent_command import COMMAND, agent, ran
from capture_files import pcap
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numbered_traffic import keep_alive
from tcp_traffic import BEGIN_NS, MS, Peers, Segment
from test_pipeline_faults import faulty_captures

from wiretape.agent.config import ImportConfig
from wiretape.agent.importing import import_captures
from wiretape.agent.parallel import can_be_shared
from wiretape.agent.tcp.memory import Traffic
from wiretape.exchange.endpoints import parse_service
from wiretape.exchange.recording import RecordingWriter
from wiretape.exchange.records import Record

SHOP = Path(__file__).resolve().parents[2] / "fixtures" / "pcaps" / "shop" / "shop.pcap"


def busy(connections: int = 30, exchanges: int = 5) -> list[Segment]:
    """Many connections at once."""
    segments = []
    for number in range(connections):
        peers = Peers(client=("10.0.1.1", 3000 + number), at_ns=BEGIN_NS + number)
        peers.open()
        keep_alive(peers, exchanges)
        if number % 3:
            peers.close()
        segments += peers.sent
    return sorted(segments, key=lambda segment: segment.at_ns)


def imported(
    captures: Sequence[Path], folder: Path, jobs: int, batch_bytes: int = 4096
) -> tuple[bytes, dict[str, object], list[str], int]:
    """The recording, the ledger, what was said, and the exit code."""
    said: list[str] = []
    output = folder / f"{jobs}.mcap"
    config = ImportConfig(
        tuple(map(str, captures)), str(output), force=True, jobs=jobs, batch_bytes=batch_bytes
    )
    outcome = import_captures(config, said.append)
    ledger = outcome.ledger.as_json()
    del ledger["seconds"]
    assert outcome.ledger.faults() == []
    assert not multiprocessing.active_children()
    return output.read_bytes(), ledger, said, outcome.exit_code


def assert_same(captures: Sequence[Path], folder: Path) -> None:
    alone = imported(captures, folder, 1)
    for jobs in (2, 3):
        assert imported(captures, folder, jobs) == alone, jobs


def test_recording_is_the_same(tmp_path: Path) -> None:
    assert_same([SHOP], tmp_path)


def test_many_batches_and_several_captures(tmp_path: Path) -> None:
    segments = busy()
    first, second, third = (tmp_path / name for name in ("a.pcap", "b.pcap.gz", "c.pcap"))
    first.write_bytes(pcap(segments[:333]))
    second.write_bytes(gzip.compress(pcap(segments[333:500])))
    third.write_bytes(pcap(segments[500:]))
    assert_same([first, second, third], tmp_path)


def test_damaged_capture(tmp_path: Path) -> None:
    cut, whole = tmp_path / "cut.pcap", tmp_path / "whole.pcap"
    segments = busy()
    cut.write_bytes(pcap(segments[:300])[:-7])
    whole.write_bytes(pcap(segments[300:]))
    assert_same([cut, tmp_path / "missing.pcap", whole], tmp_path)
    assert imported([cut], tmp_path, 2)[3] == 3


def test_memory_that_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who gives way is decided over the connections of all processes."""
    monkeypatch.setattr("wiretape.agent.pipeline.Traffic", lambda: Traffic(4000, 9000, 60_000))
    capture = tmp_path / "busy.pcap"
    capture.write_bytes(pcap(busy(60, 3)))
    assert_same([capture], tmp_path)
    assert imported([capture], tmp_path, 2)[1]["evictions"]


def test_records_larger_than_what_is_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wiretape.agent.parallel._AREA_BYTES", 3000)
    capture = tmp_path / "busy.pcap"
    capture.write_bytes(pcap(busy()))
    assert_same([capture], tmp_path)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(faulty_captures(), st.sampled_from([1600, 2500]))
def test_whatever_goes_wrong(segments: list[Segment], batch_bytes: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        capture = Path(folder, "any.pcap")
        capture.write_bytes(pcap(segments, ns=True))
        shared = imported([capture], Path(folder), 2, batch_bytes)
        assert shared == imported([capture], Path(folder), 1, 9000)


@pytest.mark.parametrize(
    ("capture", "service", "shared"),
    [
        (str(SHOP), None, True),
        (str(SHOP), "10.0.0.1:80", False),
        (str(SHOP), ":80", False),
        ("-", None, False),
        ("/dev/null", None, False),
    ],
)
def test_what_one_process_has_to_read(capture: str, service: str | None, shared: bool) -> None:
    services = (parse_service(service),) if service else ()
    assert can_be_shared(ImportConfig((capture,), "x", services=services, jobs=2)) is shared


def test_roles_are_the_same(tmp_path: Path) -> None:
    recordings = []
    for jobs, name in (("1", "one"), ("2", "two")):
        output = tmp_path / name
        done = agent("import", SHOP, "-o", output, "--jobs", jobs, "--service", ":8080")
        assert done.code == 0
        recordings.append(output.read_bytes())
    assert recordings[0] == recordings[1]


def test_ledger_of_what_was_told_before_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture = tmp_path / "busy.pcap"
    capture.write_bytes(pcap(busy()))
    left = iter([True] * 5)

    def write(writer: RecordingWriter, records: Iterable[Record]) -> None:
        if not next(left, False):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(RecordingWriter, "write_records", write)
    output = str(tmp_path / "full.mcap")
    config = ImportConfig((str(capture),), output, jobs=2, batch_bytes=4096)
    said: list[str] = []
    outcome = import_captures(config, said.append)
    assert outcome.exit_code == 70
    assert said == [f"{output}: No space left on device; what was written before it can be read"]
    assert 0 < outcome.ledger.packets < len(busy())
    assert outcome.ledger.exchanges > 0
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("jobs", ["0", "-1", "x", "1000"])
def test_wrong_number_of_jobs(jobs: str, tmp_path: Path) -> None:
    done = agent("import", SHOP, "-o", tmp_path / "x.mcap", "--jobs", jobs)
    assert done.code == 2
    assert not (tmp_path / "x.mcap").exists()


def _children(process: int) -> list[int]:
    """By /proc, where every process names its parent (proc_pid_stat(5))."""
    children = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = entry.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if int(fields[1]) == process:
                children.append(int(entry.parent.name))
    return children


@pytest.fixture
def started(tmp_path: Path) -> "subprocess.Popen[bytes]":
    """An import with two processes that takes a while."""
    capture = tmp_path / "long.pcap"
    capture.write_bytes(pcap(busy(40, 50)))
    names = [str(capture)] * 300
    process = subprocess.Popen(
        [*COMMAND, "import", *names, "-o", str(tmp_path / "long.mcap"), "--jobs", "2"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 30
    while len(_children(process.pid)) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(20 * MS / 1e9)
    return process


def test_interrupted(started: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    children = _children(started.pid)
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=60)
    done = ran(started.returncode, out, err)
    assert done.code == 130
    assert done.line == "capture-agent: interrupted; what was read until then was imported"
    assert agent("show", tmp_path / "long.mcap").code == 0
    assert not any(Path(f"/proc/{child}").exists() for child in children)


def test_process_that_is_killed(started: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    children = _children(started.pid)
    os.kill(children[1], signal.SIGKILL)
    out, err = started.communicate(timeout=60)
    done = ran(started.returncode, out, err)
    assert done.code == 70
    assert done.line.endswith("what was written before it can be read")
    assert agent("show", tmp_path / "long.mcap").code == 0
    assert not any(Path(f"/proc/{child}").exists() for child in children)


def test_parent_that_is_killed_leaves_nobody(started: "subprocess.Popen[bytes]") -> None:
    children = _children(started.pid)
    started.kill()
    started.communicate(timeout=60)
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.01)
