"""Reports as files; they hold traffic, so nobody else may read them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from wiretape.replayer.report import html_pieces, json_lines, junit_report
from wiretape.replayer.verdict import Verdict

PAGE = "index.html"


def write_reports(
    verdict: Verdict, json: Path | None, junit: Path | None, folder: Path | None
) -> None:
    """Those that are asked for. Raises OSError."""
    if json is not None:
        write_private(json, json_lines(verdict))
    if junit is not None:
        write_private(junit, [junit_report(verdict)])
    if folder is not None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(folder / PAGE, html_pieces(verdict))


def write_private(file: Path, pieces: Iterable[str]) -> None:
    """Write text in UTF-8 into a file of mode 0600, whatever it was before."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as out:
        # A pipe or a terminal (/dev/stdout) keeps its mode.
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.fchmod(descriptor, 0o600)
        out.writelines(pieces)
