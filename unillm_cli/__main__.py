"""Where the program starts: `unillm`, and `python -m unillm.unillm_cli`."""

import signal
import sys


def main() -> int:
    """Run the command line. Ctrl-C while it is still being imported ends it without a word."""
    handler = signal.signal(signal.SIGINT, signal.SIG_DFL)
    from .app import main as run

    signal.signal(signal.SIGINT, handler)
    return run()


if __name__ == "__main__":
    sys.exit(main())
