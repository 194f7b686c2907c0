"""Xenia's own words.  They go to standard error, so that standard output stays the guest's alone."""

from __future__ import annotations

import os
import select
import sys
import time
from typing import TextIO

from xenia.cli.printable import printable

_BOLD, _RED, _PLAIN = "\x1b[1m", "\x1b[1;31m", "\x1b[0m"
_ERASE_LINE = "\r\x1b[K"
_LONGEST_STEP = 200  # characters


class Voice:
    """Lines for the operator, and progress: one line that is rewritten on a terminal, plain lines elsewhere.

    Colour only on a terminal, and never with NO_COLOR set.  `quiet` keeps everything but warnings and errors back.
    """

    # On a terminal progress is redrawn this often (seconds); elsewhere a line is written each quarter of the way.
    _INTERVAL = 0.1

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self.quiet = quiet
        # Python has no stream where standard error is closed.
        self._rewrites = self._stream is not None and self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._colours = self._rewrites and not os.environ.get("NO_COLOR")
        # A terminal may be raw when something is to be said: then a newline alone does not return to the left.
        self._newline = "\r\n" if self._stream is not None and self._stream.isatty() else "\n"
        self._shown = ""  # the progress line on the screen
        self._drawn_at = 0.0
        self._what = ""
        self._quarter = 0

    def say(self, text: str) -> None:
        """One line of news."""
        if not self.quiet:
            self._line(f"{self._prefix(_BOLD)} {printable(text)}")

    def warn(self, text: str) -> None:
        """One line about what is probably a mistake, or will not go as it was meant."""
        self._line(f"{self._prefix(_BOLD)} {printable(text)}")

    def error(self, text: str) -> None:
        """One line about what went wrong."""
        self._line(f"{self._prefix(_RED)} {printable(text)}")

    def plain(self, text: str) -> None:
        """Several lines: a crash report, a traceback, what a guest's kernel said last."""
        self._line(printable(text, "\n\t"))

    def progress(self, what: str, done: int, total: int) -> None:
        """`done` of `total` bytes of `what`; total 0 when it is not known."""
        if self.quiet:
            return
        if total:
            amount = f": {min(done, total) * 100 // total}% of {rough_size(total)}"
        else:
            amount = f": {rough_size(done)}" if done else ""
        if self._rewrites:
            self._rewrite(what, amount, now=what != self._what or done == total)
        else:
            self._write_quarters(_short(what) + amount, what, done, total)
        self._what = what

    def steps(self, what: str, current: str, done: int, total: int) -> None:
        """`done` of `total` steps of `what`, of which `current` is being taken."""
        if self.quiet:
            return
        if self._rewrites:
            self._rewrite(f"{what} {current}".rstrip(), f" ({done} of {total})", now=False)
        else:
            self._write_quarters(f"{_short(what)}: {done} of {total}", what, done, total)
        self._what = what

    def busy(self, what: str, amount: str = "") -> None:
        """Show what is being waited for, and how far it is, on a terminal only, until the next word or `clear`."""
        if self._rewrites and not self.quiet:
            self._rewrite(what, amount, now=True)

    def clear(self) -> None:
        """Take the progress line off the screen."""
        if self._shown:
            self._write(_ERASE_LINE)
            self._shown = ""

    def is_heard(self, timeout: float) -> bool:
        """Whether a line can be written without waiting, within `timeout` seconds."""
        try:
            writable = select.poll()
            writable.register(self._stream.fileno() if self._stream is not None else -1, select.POLLOUT)
        except (OSError, ValueError):
            return True  # no descriptor, or none that could be waited for
        return bool(writable.poll(timeout * 1000))

    def _rewrite(self, what: str, amount: str, *, now: bool) -> None:
        text = _short(what, self._room(amount)) + amount
        time_now = time.monotonic()
        if text == self._shown or (not now and time_now - self._drawn_at < self._INTERVAL):
            return
        self._drawn_at = time_now
        self._shown = text
        self._write(f"{_ERASE_LINE}{self._prefix(_BOLD)} {text}")

    def _room(self, amount: str) -> int:
        """How many columns are left on the line: of one that is wrapped, only the last row would be erased."""
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns if self._stream is not None else 0
        except (OSError, ValueError):
            columns = 0
        return min(columns - len("xenia: ") - len(amount) - 1, _LONGEST_STEP) if columns else _LONGEST_STEP

    def _write_quarters(self, text: str, what: str, done: int, total: int) -> None:
        if what != self._what:
            self._quarter = 0
            self._line(f"xenia: {_short(what)}")
        if total and (quarter := min(done, total) * 4 // total) > self._quarter:
            self._quarter = quarter
            self._line(f"xenia: {text}")

    def _line(self, text: str) -> None:
        self.clear()
        self._write(text.replace("\n", self._newline) + self._newline)

    def _prefix(self, colour: str) -> str:
        return f"{colour}xenia:{_PLAIN}" if self._colours else "xenia:"

    def _write(self, text: str) -> None:
        try:
            if self._stream is not None:
                self._stream.write(text)
                self._stream.flush()
        except (OSError, ValueError):
            self._stream = None  # its reader is gone: there is nobody left to tell


def _short(text: str, room: int = _LONGEST_STEP) -> str:
    """Progress is one line, whatever somebody calls what he does, and however narrow the terminal is."""
    text = printable(text[: _LONGEST_STEP + 1])
    if _columns(text) <= room:
        return text
    while text and _columns(text) >= room:
        text = text[:-1]
    return text + "…" if room > 0 else ""


def _columns(text: str) -> int:
    """How wide a terminal shows it."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(one) else 2 if east_asian_width(one) in "WF" else 1 for one in text)


def rough_size(size: int) -> str:
    """A size for the eye: one unit, and a fraction below ten of it only."""
    for unit, width in (("G", 30), ("M", 20), ("K", 10)):
        if size >= 1 << width:
            amount = size / (1 << width)
            return f"{amount:.1f}{unit}" if amount < 10 else f"{amount:.0f}{unit}"
    return f"{size}B"
