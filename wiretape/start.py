"""Where both commands begin.

To import what a command needs takes some tenths of a second. Who presses Ctrl-C in that time has
not begun anything, and is to see no traceback.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


def capture_agent() -> NoReturn:
    with _interruptible():
        from wiretape.agent.cli import main
    main()


def replay() -> int:
    with _interruptible():
        from wiretape.replayer.cli import main
    return main()


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGINT ends this process without a word, unless whoever started it has it ignored."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGINT, before)
