"""What is looked at, what was there before, how connections end, and what is lost is said."""

import ctypes
import errno
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ebpf_capture import Capture, Child, Logged, child, settled
from live_agent import PATIENCE_S, until

from wiretape.agent.sources.ebpf.events import RECEIVED, SENT, Notice
from wiretape.agent.sources.ebpf.loader import EbpfError
from wiretape.agent.sources.ebpf.selection import Selection
from wiretape.agent.sources.ebpf.source import EbpfSource

pytestmark = [pytest.mark.privileged, pytest.mark.alone]
PROBE = """
import os, sys
from wiretape.agent.sources.ebpf.selection import Selection
from wiretape.agent.sources.ebpf.source import EbpfSource
with EbpfSource(Selection()):
    print("at work", flush=True)
    sys.stdin.read()
"""


@contextmanager
def looking_at(selection: Selection, **options: int) -> Iterator[Capture]:
    try:
        source = EbpfSource(selection, **options)
    except EbpfError as error:
        if os.geteuid() == 0 and "missing" not in str(error):
            raise
        pytest.skip(str(error).splitlines()[0])
    with source:
        yield Capture(source)


@contextmanager
def alone(scenario: str, folder: Path, **options: int) -> Iterator[tuple[Capture, Child]]:
    """A child that is there when the source opens, and is the only one looked at."""
    with (
        child(scenario, folder) as running,
        looking_at(Selection(pids=(running.pid,)), **options) as capture,
    ):
        yield capture, running


def run(capture: Capture, running: Child) -> Logged:
    running.go()
    logged = running.done(capture)
    running.end()
    settled(capture)
    return logged


# -- who is looked at


def test_a_process_and_its_children_alone(tmp_path: Path) -> None:
    with child("plain", tmp_path) as foreign, alone("forks", tmp_path) as (capture, running):
        foreign.go()
        foreign.done(capture)
        command = Path(f"/proc/{running.pid}/comm").read_bytes().strip()
        logged = run(capture, running)
    capture.agrees(logged)
    for connection in capture.connections.values():
        assert connection.pid == running.pid
        assert connection.command == command
    # What the child of a fork wrote says so.
    assert len(set.union(*capture.processes.values())) == 2


def test_processes_by_name(tmp_path: Path) -> None:
    """One that has the name already, and one that takes it later."""
    with looking_at(Selection(commands=("wiretape-child",))) as capture:
        with child("plain", tmp_path) as other:
            run(capture, other)
        assert not capture.connections
        with child("renamed", tmp_path) as running:
            logged = run(capture, running)
    capture.agrees(logged)
    assert {c.command for c in capture.connections.values()} == {b"wiretape-child"}


def test_ports(tmp_path: Path) -> None:
    with (
        child("threads", tmp_path) as running,
        looking_at(Selection(pids=(running.pid,), ports=(1,))) as capture,
    ):
        run(capture, running)
        assert not capture.events
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        script = f"""
import socket, sys
sys.stdin.readline()
for port in ({port}, {port}):
    with socket.create_connection(("127.0.0.1", port)) as s: s.send(b"asked")
"""
        with (
            subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE) as process,
            looking_at(Selection(pids=(process.pid,), ports=(port,))) as capture,
        ):
            process.communicate(b"\n", PATIENCE_S)
            until(lambda: capture.read() or len(capture.closed) == 2, "both connections")
    assert {c.remote[1] for c in capture.connections.values()} == {port}
    assert all(bytes(s[SENT].data) == b"asked" for s in capture.streams.values())


def test_a_cgroup_and_what_is_below(tmp_path: Path) -> None:
    mounts = Path("/proc/self/mounts").read_text()
    mount = next((line.split()[1] for line in mounts.splitlines() if " cgroup2 " in line), None)
    if mount is None:
        pytest.skip("no cgroup v2 hierarchy is mounted")
    group = Path(mount) / f"wiretape-test-{os.getpid()}"
    inner = group / "inner"
    inner.mkdir(parents=True)
    try:
        with child("plain", tmp_path) as running, child("ipv6", tmp_path) as other:
            (inner / "cgroup.procs").write_text(str(running.pid))
            with looking_at(Selection(cgroups=(f"/{group.name}",))) as capture:
                run(capture, other)
                assert not capture.connections
                logged = run(capture, running)
            capture.agrees(logged)
            assert {c.cgroup for c in capture.connections.values()} == {f"/{group.name}/inner"}
    finally:
        until(lambda: not (inner / "cgroup.procs").read_text(), "the cgroup to be empty")
        inner.rmdir()
        group.rmdir()


def test_what_is_not_there_is_said() -> None:
    for selection, word in (
        (Selection(pids=(1 << 22,)), "no process"),
        (Selection(cgroups=("/nobody/is/here",)), "no cgroup"),
    ):
        with pytest.raises(EbpfError, match=word):
            EbpfSource(selection)


def test_the_agent_does_not_look_at_itself() -> None:
    with looking_at(Selection(pids=(os.getpid(),))) as capture:
        with (
            socket.create_server(("127.0.0.1", 0)) as listening,
            socket.create_connection(listening.getsockname()) as a,
        ):
            a.send(b"mine")
        capture.read()
        assert not capture.events


def test_without_tcp_there_is_nothing_to_tell(tmp_path: Path) -> None:
    with alone("other_kinds", tmp_path) as (capture, running):
        run(capture, running)
        assert not capture.events


# -- addresses and ends


def test_who_accepted_and_who_connected(tmp_path: Path) -> None:
    with alone("both_families", tmp_path) as (capture, running):
        run(capture, running)
    one, other = capture.connections.values()
    assert {one.accepted, other.accepted} == {True, False}
    assert (one.local, one.remote) == (other.remote, other.local)
    assert str(one.local[0]) == str(one.remote[0]) == "127.0.0.1"
    assert one.netns == other.netns == Path("/proc/self/ns/net").stat().st_ino
    assert abs(one.opened_at_ns - time.time_ns()) < 60_000_000_000


def test_ends_of_streams(tmp_path: Path) -> None:
    with alone("half_closed", tmp_path) as (capture, running):
        run(capture, running)
    for number, connection in capture.connections.items():
        streams = capture.streams[number]
        ended = SENT if not connection.accepted else RECEIVED
        assert streams[ended].error == 0
        assert streams[1 - ended].error is None


def test_a_reset(tmp_path: Path) -> None:
    with alone("reset", tmp_path) as (capture, running):
        run(capture, running)
    (number,) = (n for n, c in capture.connections.items() if not c.accepted)
    assert {s.error for s in capture.streams[number]} == {errno.ECONNRESET}


def test_a_process_that_dies_in_the_middle(tmp_path: Path) -> None:
    with alone("killed", tmp_path) as (capture, running):
        running.go()
        running.process.wait(PATIENCE_S)
        settled(capture)
        capture.agrees(running.log())


# -- what was there before


def test_connections_from_before(tmp_path: Path) -> None:
    """Also the call in which a thread waits since before."""
    with alone("waiting", tmp_path) as (capture, running):
        logged = run(capture, running)
    capture.agrees(logged)
    accepted = {c.accepted for c in capture.connections.values()}
    assert accepted <= {True, None}
    for connection in capture.connections.values():
        assert connection.open_before
        # The bytes before, of which one more may count as sent.
        assert max(connection.before) in (5, 6)
        assert min(connection.before) in (0, 1)


# -- what is not seen is said


def test_io_uring_passes_by_and_is_noticed(tmp_path: Path) -> None:
    with alone("by_ring", tmp_path) as (capture, running):
        logged = run(capture, running)
    capture.agrees(logged)
    assert capture.notices == [(running.pid, Notice.USES_IO_URING)]


def test_what_the_ring_has_no_room_for(tmp_path: Path) -> None:
    """The holes are as long as what is missing, and connections still open and close."""
    with alone("large", tmp_path, ring_bytes=4 << 20) as (capture, running):
        running.go()
        assert running.process.stdout is not None
        assert running.process.stdout.readline() == b"done\n"
        running.end()
        settled(capture)
        losses = capture.source.losses
    logged = running.log()
    assert capture.closed == set(capture.connections)
    lost = 0
    for ports, streams in logged.items():
        (number,) = capture.by_ports(*ports)
        for name, direction in (("sent", SENT), ("received", RECEIVED)):
            seen, (data, _) = capture.streams[number][direction], streams[name]
            assert len(seen.data) == len(data)
            place = 0
            for position, length, reason in [*seen.holes, (len(data), 0, "RING_LOST")]:
                assert reason == "RING_LOST"
                assert seen.data[place:position] == data[place:position]
                place = position + length
                lost += length
    assert losses.news == 0
    assert losses.bytes == lost > 20 << 20


# -- nothing is left behind


def programs_of(pid: int) -> set[int]:
    found = set()
    for file in Path(f"/proc/{pid}/fdinfo").iterdir():
        found |= {int(n) for n in re.findall(r"^prog_id:\s+(\d+)", file.read_text(), re.MULTILINE)}
    return found


def is_loaded(program: int) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    attributes = ctypes.create_string_buffer(program.to_bytes(4, "little"), 128)
    number = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
    descriptor = libc.syscall(number, 13, attributes, 128)
    if descriptor < 0:
        assert ctypes.get_errno() == errno.ENOENT
        return False
    os.close(descriptor)
    return True


def test_killed_it_leaves_nothing_behind() -> None:
    with looking_at(Selection()):
        pass
    with subprocess.Popen(
        [sys.executable, "-c", PROBE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"at work\n"
        programs = programs_of(process.pid)
        assert len(programs) >= 7
        assert all(is_loaded(program) for program in programs)
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)
        # The kernel takes programs down when it comes to it.
        until(lambda: not any(is_loaded(program) for program in programs), "programs to go")


def test_without_privilege_it_says_what_is_missing() -> None:
    script = "import os, sys; sys.path[:] = sys.path\n" + PROBE.replace(
        "with EbpfSource", "os.setresuid(65534, 65534, 65534)\nwith EbpfSource"
    )
    ran = subprocess.run([sys.executable, "-c", script], input=b"", capture_output=True, timeout=60)
    assert b"EbpfPermissionError: " in ran.stderr
    assert b"CAP_BPF" in ran.stderr
