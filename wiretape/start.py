"""Where both commands begin.

To import what a command needs takes some tenths of a second. Who presses Ctrl-C in that time has
not begun anything, and is to see no traceback. Where a caller has closed the standard descriptors,
what is opened next would get their numbers, and what is meant for a terminal.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


def capture_agent() -> NoReturn:
    _stand_in()
    with _interruptible():
        from wiretape.agent.cli import main
    main()


def replay() -> int:
    _stand_in()
    with _interruptible():
        from wiretape.replayer.cli import main
    return main()


def _stand_in() -> None:
    """/dev/null for each standard descriptor that is closed; the lowest free number is its own."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    # None where they were closed.
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGINT ends this process without a word, unless whoever started it has it ignored."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGINT, before)
