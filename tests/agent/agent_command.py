"""`capture-agent` as a user starts it."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

COMMAND = (sys.executable, "-c", "from wiretape.agent.cli import main; main()")


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line that went to stderr besides the advice about secrets."""
        lines = [line for line in self.err.splitlines() if "secrets included" not in line]
        assert len(lines) == 1, self.err
        return lines[0]


def agent(*arguments: str | Path, stdin: bytes | None = None, cwd: Path | None = None) -> Ran:
    """Runs the command; no run may end in a traceback."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        timeout=60,
        check=False,
        cwd=cwd,
    )
    return ran(done.returncode, done.stdout, done.stderr)


def ran(code: int, out: bytes, err: bytes) -> Ran:
    made = Ran(code, out.decode(), err.decode())
    assert "Traceback" not in made.out + made.err, made.err
    return made
