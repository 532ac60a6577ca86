"""What a run of the agent came to, and what it leaves for programs."""

import json
from collections.abc import Callable
from pathlib import Path

from wiretape.agent.ledger import Ledger

OK, USAGE, UNREADABLE, UNPRIVILEGED, FAILED, INTERRUPTED = 0, 2, 3, 5, 70, 130

Say = Callable[[str], None]
"""Takes one-line messages for people."""


class Outcome:
    """The ledger and the exit code of an import or a live run."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.exit_code = OK
        self.recorded = False

    def write_summary(self, path: Path | None, say: Say) -> None:
        """The ledger as JSON, where it was asked for."""
        if path is None:
            return
        try:
            path.write_text(json.dumps(self.ledger.as_json(), indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            say(f"{path}: {error.strerror}")
            self.exit_code = self.exit_code or FAILED
