"""Reports as files; they hold traffic, so nobody else may read them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from wiretape.replayer.report import html_pieces, json_lines, junit_report
from wiretape.replayer.verdict import Verdict

PAGE = "index.html"


def write_reports(
    verdict: Verdict, json: Path | None, junit: Path | None, folder: Path | None
) -> list[str]:
    """Those that are asked for; why some of them could not be written, a line each."""
    wanted: list[tuple[Path, Callable[[], Iterable[str]]]] = []
    if json is not None:
        wanted.append((json, lambda: json_lines(verdict)))
    if junit is not None:
        wanted.append((junit, lambda: [junit_report(verdict)]))
    if folder is not None:
        wanted.append((folder / PAGE, lambda: html_pieces(verdict)))
    failed: list[str] = []
    for file, pieces in wanted:
        try:
            if file.parent == folder:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(file, pieces())
        except OSError as error:
            failed.append(f"cannot write {error.filename or file}: {error.strerror}")
    return failed


def write_private(file: Path, pieces: Iterable[str]) -> None:
    """Write text in UTF-8 into a file of mode 0600, whatever it was before."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as out:
        # A pipe or a terminal (/dev/stdout) keeps its mode.
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.fchmod(descriptor, 0o600)
        out.writelines(pieces)
