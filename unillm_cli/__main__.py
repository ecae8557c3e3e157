"""Where the program starts: `unillm`, and `python -m unillm.unillm_cli`."""

import signal
import sys
from types import FrameType

INTERRUPTED = 128 + signal.SIGINT


def main() -> int:
    """Run the command line. Before that and after it, Ctrl-C ends the program without a word."""
    handler = signal.signal(signal.SIGINT, signal.SIG_DFL)
    from .app import main as run

    signal.signal(signal.SIGTERM, _leave_in_order)
    try:
        signal.signal(signal.SIGINT, handler)
        return run()
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _leave_in_order(number: int, _frame: FrameType | None) -> None:
    """Who is told to end gives the terminal back as it was: its cursor may be hidden behind a bar."""
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
