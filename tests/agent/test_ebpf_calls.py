"""Each system call by which bytes pass a TCP socket: what is seen is what passed."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from ebpf_capture import Capture, child, settled

from wiretape.agent.sources.ebpf.events import RECEIVED, SENT
from wiretape.agent.sources.ebpf.loader import EbpfError
from wiretape.agent.sources.ebpf.selection import Selection
from wiretape.agent.sources.ebpf.source import EbpfSource

RING_BYTES = 64 << 20
"""Some scenarios pass much at once, at both ends."""

pytestmark = [pytest.mark.privileged, pytest.mark.alone]


@pytest.fixture(scope="module")
def source() -> Iterator[EbpfSource]:
    """Of this process's children; what it does itself is never seen."""
    try:
        opened = EbpfSource(Selection(pids=(os.getpid(),)), ring_bytes=RING_BYTES)
    except EbpfError as error:
        pytest.skip(str(error).splitlines()[0])
    with opened:
        yield opened


@pytest.fixture
def capture(source: EbpfSource) -> Capture:
    for _ in source.batches():
        pass
    source.connections.clear()
    return Capture(source)


def captured(capture: Capture, folder: Path, scenario: str) -> dict:
    before = capture.source.losses
    with child(scenario, folder) as running:
        running.go()
        logged = running.done(capture)
    settled(capture)
    assert capture.source.losses == before
    return logged


@pytest.mark.parametrize(
    "scenario",
    [
        "plain",
        "vectored",
        "messages",
        "many_messages",
        "sendfile",
        "splice",
        "peek",
        "not_ready",
        "duplicates",
        "forks",
        "passed_on",
        "threads",
        "reused",
        "large",
        "one_call",
        "half_closed",
        "refused",
        "ipv6",
        "both_families",
        "renamed",
        "crowd",
    ],
)
def test_what_passes_is_what_is_seen(capture: Capture, tmp_path: Path, scenario: str) -> None:
    logged = captured(capture, tmp_path, scenario)
    assert logged
    capture.agrees(logged)
    assert not capture.notices


def test_what_is_written_at_the_same_time_is_never_mixed(capture: Capture, tmp_path: Path) -> None:
    """What the order cannot be told of is a hole; all else stands where the reader found it."""
    capture.in_parallel = True
    logged = captured(capture, tmp_path, "interleaved")
    for ports, streams in logged.items():
        (number,) = capture.by_ports(*ports)
        for name, direction in (("sent", SENT), ("received", RECEIVED)):
            seen, wanted = capture.streams[number][direction], bytearray(streams[name][0])
            for position, length, _ in seen.holes:
                wanted[position : position + length] = bytes(length)
            assert seen.data == wanted
            if seen.holes:
                assert name == "sent"
