"""What the host says to who serves a command in the guest, in words of 32 bits (agent/rings.h)."""

from enum import IntEnum


class Word(IntEnum):
    """The upper eight bits of one."""

    SIGNAL = 1
    WINDOW = 2
    CLOSE = 3
    HANG_UP = 4
    BYE = 5

    def with_value(self, value: int = 0) -> int:
        """The word that says this of a value of 24 bits."""
        return self << 24 | value
