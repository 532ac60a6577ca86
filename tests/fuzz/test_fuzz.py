"""A short run of each fuzzer, the same every time; `scripts/fuzz` runs as long as it is let."""

import http_fuzz
import import_fuzz
import pytest


def test_broken_captures(capsys: pytest.CaptureFixture[str]) -> None:
    captures = import_fuzz.seeds([])
    _, faults = import_fuzz.fuzz(captures, seed=1, inputs=60, seconds=60, keep=None)
    assert not faults, capsys.readouterr().err


def test_broken_http() -> None:
    for seed in range(1500):
        http_fuzz.check(seed)
