"""Where the program starts: `unillm`, and `python -m unillm.unillm_cli`."""

import signal
import sys
from types import FrameType


def main() -> int:
    """Run the command line. Ctrl-C while it is still being imported ends it without a word."""
    handler = signal.signal(signal.SIGINT, signal.SIG_DFL)
    from .app import main as run

    signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGTERM, _leave_in_order)
    return run()


def _leave_in_order(number: int, _frame: FrameType | None) -> None:
    """Who is told to end gives the terminal back as it was: its cursor may be hidden behind a bar."""
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
