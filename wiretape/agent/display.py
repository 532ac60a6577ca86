"""Standard error of a live run: messages, and on a terminal a status line below them."""

import os
import sys


class Display:
    """Messages are lines of their own; the status line is drawn over itself."""

    def __init__(self) -> None:
        self.terminal = sys.stderr.isatty()
        self._drawn = False

    def say(self, text: str) -> None:
        self._write(f"capture-agent: {text}\n")

    def log(self, line: str) -> None:
        """As it is, for programs."""
        self._write(line + "\n")

    def draw(self, line: str) -> None:
        """The status line, instead of the one before."""
        self._write(line, end="")
        self._drawn = True

    def columns(self) -> int:
        """The width of the terminal."""
        try:
            return os.get_terminal_size(sys.stderr.fileno()).columns or 80
        except OSError:
            return 80

    def clear(self) -> None:
        """Takes the status line away."""
        if self._drawn:
            self._write("", end="")

    def _write(self, text: str, end: str = "") -> None:
        erase = "\r\x1b[K" if self._drawn else ""
        self._drawn = False
        try:
            sys.stderr.write(erase + text + end)
            sys.stderr.flush()
        except OSError:
            pass  # whoever read it is gone; the recording goes on
