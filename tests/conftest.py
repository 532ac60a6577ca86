"""What all tests share: how property tests choose examples, and what binary cases are called."""

import os

import pytest
from hypothesis import settings

# A change is judged by the same examples every time; on a developer's machine each run tries new
# ones, and what fails there becomes a case of its own.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Binary data are called by their number: where a part of them is a time (gzip has one), the
    processes that share the tests would not agree on what each is called."""
    is_text = isinstance(val, bytes) and val.isascii() and val.decode().isprintable()
    return argname if isinstance(val, bytes) and not is_text else None
