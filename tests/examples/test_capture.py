"""The builder of fixtures/pcaps/shop still makes what is checked in."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FIXTURE = Path(__file__).resolve().parents[2] / "fixtures" / "pcaps" / "shop"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
CHARGE = re.compile(r"ch_[0-9a-f]{24}")
CANNOT = 5


def comparable(folder: Path) -> dict[str, Any]:
    """An expectation without generated values: ids in targets, and the clients' ports."""
    text = (folder / "expected.json").read_text()
    expected: dict[str, Any] = json.loads(CHARGE.sub("<charge>", UUID.sub("<uuid>", text)))
    for connection in expected["connections"]:
        del connection["client"]["port"]
    return expected


def test_checked_in_capture_is_small_classic_and_ethernet() -> None:
    capture = (FIXTURE / "shop.pcap").read_bytes()
    assert capture[:4] == b"\xd4\xc3\xb2\xa1"
    assert int.from_bytes(capture[20:24], "little") == 1
    assert len(capture) < 300_000


def test_checked_in_expectation_is_whole() -> None:
    expected = comparable(FIXTURE)
    asked = {
        role: sum(len(c["requests"]) for c in expected["connections"] if c["role"] == role)
        for role in ("inbound", "outbound")
    }
    assert asked == {"inbound": 44, "outbound": 45}
    assert {c["service"] for c in expected["connections"]} == set(expected["endpoints"])


@contextmanager
def builder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The builder at work; none of its namespaces may be left at the end."""
    command = [sys.executable, str(FIXTURE / "capture.py"), "-o", str(folder)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        yield process
    assert namespaces(process.pid) == []


def namespaces(pid: int) -> list[str]:
    """The network namespaces that the builder of that process id has made."""
    return [path.name for path in Path("/run/netns").glob(f"wiretape-{pid}-*")]


@pytest.mark.privileged
def test_builder_captures_the_same_scenario(tmp_path: Path) -> None:
    with builder(tmp_path) as process:
        _, said = process.communicate(timeout=90)
    if process.returncode == CANNOT:
        pytest.skip(said.strip())
    assert process.returncode == 0, said
    assert comparable(tmp_path) == comparable(FIXTURE)
    assert 0 < (tmp_path / "shop.pcap").stat().st_size < 300_000


@pytest.mark.privileged
def test_builder_ended_midway_leaves_nothing(tmp_path: Path) -> None:
    with builder(tmp_path) as process:
        deadline = time.monotonic() + 20
        while process.poll() is None and not namespaces(process.pid):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.terminate()
        _, said = process.communicate(timeout=30)
    if process.returncode == CANNOT:
        pytest.skip(said.strip())
    assert process.returncode == 143
    assert list(tmp_path.iterdir()) == []
