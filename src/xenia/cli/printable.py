"""What is printed: text that comes from elsewhere, made fit for a terminal, and values for programs."""

from __future__ import annotations


def printable(text: str, keep: str = "") -> str:
    """The text with what a terminal does not print in Python's notation, but for the characters in `keep`.

    File names, what a guest has written, what an image or a package says may hold anything, escape sequences too.
    """
    return "".join(one if one.isprintable() or one in keep else _escaped(one) for one in text)


def print_json(value: object, *, indent: int | None = 2) -> None:
    """One value, on standard output."""
    import json

    print(json.dumps(value, indent=indent))


def _escaped(one: str) -> str:
    """A byte of a file name that is no UTF-8 comes as a surrogate."""
    return f"\\x{ord(one) - 0xDC00:02x}" if "\udc80" <= one <= "\udcff" else repr(one)[1:-1]
