"""What is shared with the tests one folder up; and what failed is shown as in a test module."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))
pytest.register_assert_rewrite("live_captures")
