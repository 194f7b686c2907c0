"""How much of it: all that was asked for with `XENIA_TEST_LONG=1`; otherwise as much as shows the same sooner."""

import os

LONG = os.environ.get("XENIA_TEST_LONG", "0") != "0"


def amount(whole: int, usual: int) -> int:
    """The whole of it in a long run."""
    return whole if LONG else usual
