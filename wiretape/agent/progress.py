"""A progress bar on a terminal, and nothing anywhere else."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(total_bytes: int | None) -> Iterator[Callable[[int], None]]:
    """Yields what to call with the number of bytes read so far; `total_bytes` is None for a pipe.

    It is drawn on standard error, where that is a terminal, and gone when all is done.
    """
    if not sys.stderr.isatty():
        yield lambda position: None
        return
    # Only here, where somebody looks: rich takes longer to load than a small capture to import.
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn
    from rich.progress import TransferSpeedColumn as SpeedColumn

    columns = BarColumn(), DownloadColumn(), SpeedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total_bytes)
        yield lambda position: bar.update(task, completed=position)
