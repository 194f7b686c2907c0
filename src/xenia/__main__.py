"""`python -m xenia` is the command `xenia`, as which the launcher (launcher/launcher.c) starts it."""

import _signal  # type: ignore[import-not-found]
import os


def main() -> None:
    """The process `xenia`, which a signal ends from the first: what hears of them (cli/signals.py) is imported yet."""
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    _take_name()
    from xenia.cli.main import main as command

    command()


def _take_name() -> None:
    """Be called `xenia` where processes are listed (ps, top, pkill), not as the interpreter is."""
    try:
        name = os.open("/proc/self/comm", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return  # without /proc
    os.write(name, b"xenia")
    os.close(name)


if __name__ == "__main__":
    main()
