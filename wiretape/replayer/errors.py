"""What ends a run before it has a verdict: one line for people, one exit code for programs."""

from __future__ import annotations


class ReplayError(Exception):
    """One line that says what and where; `exit_code` is that of design.md §5."""

    exit_code = 70


class UsageError(ReplayError):
    """The command line, or what it names, is wrong."""

    exit_code = 2


class UnfitRecordingError(ReplayError):
    """The recording cannot be read, so nothing can be judged by it."""

    exit_code = 4


class EnvironmentFailedError(ReplayError):
    """The target never became ready, the build crashed, a port was taken."""

    exit_code = 5
