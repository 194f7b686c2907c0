"""`python -m xenia` is the command `xenia`."""

import _signal  # type: ignore[import-not-found]
import os
import sys


def main() -> None:
    """The process `xenia`, which a signal ends from the first: what hears of them (cli/signals.py) is imported yet."""
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    if sys.argv[1:2] == ["exec"]:
        from xenia.cli.quick_exec import attempt

        if (status := attempt(sys.argv[2:])) is not None:
            os._exit(status)
    from xenia.cli.main import main as command

    command()


if __name__ == "__main__":
    main()
