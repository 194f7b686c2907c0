"""What the grammar is made of: our kind of argparse parser, and the kinds of arguments."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, TypeVar

from xenia.errors import ConfigError

T = TypeVar("T")

# Of each of its words argparse asks whether somebody has translated it, for half of what the whole grammar takes to
# make; nobody has.
setattr(argparse, "_", lambda words: words)  # noqa: B010


class Formatter(argparse.HelpFormatter):
    """For as many columns as there are, which argparse would load `shutil` to ask for."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


class WithExamples(Formatter, argparse.RawDescriptionHelpFormatter):
    """Leaves the lines of a description as they are."""


def _columns() -> int:
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 0:
        return int(columns)
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:
        return 80


class Parser(argparse.ArgumentParser):
    """Complains in one line, without the usage, and exits with 2."""

    def __init__(self, *, formatter_class: type[argparse.HelpFormatter] = Formatter, **more: Any) -> None:
        super().__init__(formatter_class=formatter_class, **more)

    def error(self, message: str) -> NoReturn:
        if unknown := re.match(r"argument COMMAND: invalid choice: ('.*?') \(", message):
            message = f"there is no command {unknown[1]}"
        self.exit(2, f"{self.prog}: {message} (see '{self.prog} --help')\n")


def checked(read: Callable[[str], T]) -> Callable[[str], T]:
    """`read` as argparse wants it: a ConfigError becomes a complaint that names the option."""

    def argument(text: str) -> T:
        try:
            return read(text)
        except ConfigError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    argument.__name__ = read.__name__
    return argument


def number(text: str) -> int:
    """A whole number of at least zero, decimal or 0x."""
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if not 0 <= value < 1 << 64:
        raise ConfigError(f"'{text}' is not a whole number from 0 to 2^64-1")
    return value


def descriptor(text: str) -> int:
    """The number of an open file."""
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ConfigError(f"'{text}' is not the number of an open file")
    return int(text)


def seconds(text: str) -> float:
    """A time in seconds, more than zero."""
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < 1e9:
        raise ConfigError(f"'{text}' is not a time: write seconds, such as 30 or 0.5")
    return value


def variable(text: str) -> tuple[str, str]:
    """NAME=VALUE, or the NAME of a variable of ours."""
    name, has_value, value = text.partition("=")
    if not name:
        raise ConfigError(f"--env '{text}' names no variable: write NAME=VALUE, or NAME for your own value")
    if has_value:
        return name, value
    if name not in os.environ:
        raise ConfigError(f"--env {name}: there is no such variable here; write {name}=VALUE")
    return name, os.environ.get(name, "")


def places(arguments: list[str], valued: Sequence[str]) -> Iterator[int]:
    """Where the words stand that are neither options nor their values.

    arguments   behind `xenia`, the verb first, which is none of them
    valued      options that take a value
    """
    skipped = False
    for index, argument in enumerate(arguments[1:], 1):
        if skipped or argument.startswith("-"):
            skipped = not skipped and argument in valued
        else:
            yield index


def add_json(parser: argparse.ArgumentParser) -> None:
    """--json."""
    parser.add_argument("--json", action="store_true", help="print JSON")


class ShowVersion(argparse.Action):
    """--version, which alone pays for looking the package up."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        print(f"xenia {_installed_version() or '(from its source tree, not installed)'}")
        parser.exit()


def _installed_version() -> str | None:
    """As importlib.metadata tells it, which takes longer to load than all else here."""
    for folder in filter(os.path.isdir, sys.path):
        for name in os.listdir(folder):
            if name.startswith("xenia-") and name.endswith(".dist-info"):
                return name.removeprefix("xenia-").removesuffix(".dist-info")
    return None
