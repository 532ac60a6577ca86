"""A recording may hold more connections than a shell lets a process have."""

import subprocess
import sys

LIMITS = "import resource; print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
RAISED = f"""
from wiretape.replayer.io.limits import allow_open_files
allow_open_files()
{LIMITS}
"""


def test_as_many_as_there_may_be() -> None:
    words = ["sh", "-c", 'ulimit -S -n 64; ulimit -H -n 256; exec "$0" -c "$1"']
    done = subprocess.run(
        [*words, sys.executable, RAISED], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["256", "256"]
