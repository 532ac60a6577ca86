"""Ctrl-C before a command is there to hear it."""

import signal
import subprocess
import sys

import pytest

# Comes when the command's own imports begin.
INTERRUPTED = """
import os, signal, sys
class Interrupting:
    def find_spec(self, name, path, target=None):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
from wiretape import start
sys.argv = [sys.argv[1], "--help"]
sys.exit(getattr(start, sys.argv[0])())
"""


@pytest.mark.parametrize("command", ["capture_agent", "replay"])
@pytest.mark.parametrize("ignored", [False, True])
def test_an_interrupt_at_once(command: str, ignored: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, command],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_IGN if ignored else signal.SIG_DFL
        ),
    )
    if ignored:  # as by nohup, or behind an & of a script
        assert (done.returncode, "Usage:" in done.stdout, done.stderr) == (0, True, "")
    else:
        assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")
