"""Standard error of a live run: messages, and on a terminal a status line below them.

Whoever reads it may stop reading (a log collector that hangs, Ctrl-S): nothing here waits for them.
"""

import os
import select

_STDERR = 2
_AT_ONCE = 4096
"""So much a pipe takes at once where it takes anything (PIPE_BUF)."""


class Display:
    """Messages are lines of their own; the status line is drawn over itself."""

    def __init__(self) -> None:
        try:
            self.terminal = os.isatty(_STDERR)
            self._poll = select.poll()
            self._poll.register(_STDERR, select.POLLOUT)
        except OSError:
            self.terminal = False
        self._drawn = False
        self._untold = 0

    def say(self, text: str) -> None:
        self._tell(f"capture-agent: {text}\n")

    def log(self, line: str) -> None:
        """As it is, for programs."""
        self._tell(line + "\n")

    def draw(self, line: str) -> None:
        """The status line, instead of the one before."""
        if self._write(line):
            self._drawn = True

    def columns(self) -> int:
        """The width of the terminal."""
        try:
            return os.get_terminal_size(_STDERR).columns or 80
        except OSError:
            return 80

    def clear(self) -> None:
        """Takes the status line away."""
        if self._drawn:
            self._write("")

    def _tell(self, text: str) -> None:
        if self._untold and self._write(f"capture-agent: {self._untold} lines were not taken\n"):
            self._untold = 0
        if not self._write(text):
            self._untold += 1

    def _write(self, text: str) -> bool:
        """Whether it was taken; a part of it at most is not."""
        erase = "\r\x1b[K" if self._drawn else ""
        data = (erase + text).encode(errors="replace")[:_AT_ONCE]
        try:
            if not any(event & select.POLLOUT for _, event in self._poll.poll(0)):
                return False
            os.write(_STDERR, data)
        except OSError:
            return False  # whoever read it is gone; the recording goes on
        self._drawn = False
        return True
