"""`python -m xenia` is the command `xenia`."""

import signal


def main() -> None:
    """The process `xenia`, which a signal ends from the first: what hears of them (cli/signals.py) is imported yet."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from xenia.cli.main import main as command

    command()


if __name__ == "__main__":
    main()
