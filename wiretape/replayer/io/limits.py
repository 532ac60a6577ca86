"""What the system lets a process have."""

from __future__ import annotations

import contextlib
import resource


def allow_open_files() -> None:
    """As many as we may have: a recording may hold thousands of connections. Whoever was started
    before keeps the limit that he got."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
