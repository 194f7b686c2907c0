"""Text that comes from elsewhere, made fit for a terminal."""

from __future__ import annotations


def printable(text: str, keep: str = "") -> str:
    """The text with what a terminal does not print in Python's notation, but for the characters in `keep`.

    File names, what a guest has written, what an image or a package says may hold anything, escape sequences too.
    """
    return "".join(one if one.isprintable() or one in keep else repr(one)[1:-1] for one in text)
