"""The fuzzers use the builders of other tests."""

import sys
from pathlib import Path

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("agent", "exchange")]
