"""What a guest says on its console, kept to be searched and waited for."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from xenia.backends.console.sink import Sink

T = TypeVar("T")
Pattern = str | bytes | re.Pattern[str] | re.Pattern[bytes]

_SHOWN: Final = 10  # lines of it in an error


class Transcript(Sink):
    """A sink that passes on what it takes, and keeps the newest of it.

    Text is UTF-8; bytes that are none come back as they were (surrogateescape), and a pattern of bytes is looked for in
    bytes.
    """

    __slots__ = ("_bring_out", "_changed", "_ended", "_kept", "_nr_lost", "_read", "_sink")

    KEPT: Final = 256 << 10  # bytes

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._kept = bytearray()
        self._nr_lost = 0  # bytes that came before those
        self._read = 0  # up to here `expect` has been, of all that came
        self._ended = False
        self._bring_out: Callable[[], object] | None = None
        self._changed = threading.Condition()

    def write(self, data: bytes) -> int:
        count = self._sink.write(data)
        if count:
            with self._changed:
                self._kept += data[:count]
                if (excess := len(self._kept) - self.KEPT) > 0:
                    del self._kept[:excess]
                    self._nr_lost += excess
                self._changed.notify_all()
        return count

    def fileno(self) -> int | None:
        return self._sink.fileno()

    def begin(self) -> None:
        """A guest writes here from now on."""
        with self._changed:
            self._ended, self._bring_out = False, None

    def stop(self, bring_out: Callable[[], object]) -> None:
        """It runs no more.  Who waits calls that, which brings the rest here and then ends this."""
        with self._changed:
            if not self._ended:
                self._bring_out = bring_out
                self._changed.notify_all()

    def end(self) -> None:
        """It says nothing more: who waits need not."""
        with self._changed:
            self._ended, self._bring_out = True, None
            self._changed.notify_all()

    @property
    def text(self) -> str:
        """What the guest has said, the newest 256 KiB of it."""
        with self._changed:
            return _text(self._kept)

    def expect(self, pattern: Pattern, timeout: float | None = 30.0) -> re.Match[Any]:
        """Wait until the guest has said what the pattern finds, after what the last `expect` found; the match.

        TimeoutError after so many seconds (None: never), EOFError where the guest ends without it; both tell the last
        lines.  What was found is read: the next `expect` begins behind it.
        """
        found = _compiled(pattern)

        def look() -> re.Match[Any] | None:
            with self._changed:
                begin = max(self._read - self._nr_lost, 0)
                match = _search(found, self._kept[begin:])
                if match is not None:
                    self._read = self._nr_lost + begin + _end_of(match)
                return match

        return self.wait(look, timeout, repr(found.pattern))

    def search(self, pattern: Pattern, timeout: float | None = 30.0) -> re.Match[Any]:
        """The same in all that it has said, whoever has read it; `expect` goes on where it was."""
        found = _compiled(pattern)
        return self.wait(lambda: _search(found, self._kept[:]), timeout, repr(found.pattern))

    def wait(self, look: Callable[[], T | None], timeout: float | None, what: str, every: float | None = None) -> T:
        """Wait until `look` finds something: asked whenever the guest has said more, and `every` so many seconds.

        Errors as in `expect`; `what` tells them what was waited for.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._changed:
                bring_out, self._bring_out = self._bring_out, None
            if bring_out is not None:
                bring_out()
            with self._changed:
                ended, seen = self._ended, self._total
            if found := look():
                return found
            left = None if end is None else end - time.monotonic()
            if ended:
                raise EOFError(f"the guest ended without {what}{self._last_lines()}")
            if left is not None and left <= 0:
                raise TimeoutError(f"no {what} within {timeout} s{self._last_lines()}")
            patience = min((one for one in (left, every) if one is not None), default=None)
            with self._changed:
                if self._total == seen and not self._ended and self._bring_out is None:
                    self._changed.wait(patience)

    @property
    def _total(self) -> int:
        return self._nr_lost + len(self._kept)

    def _last_lines(self) -> str:
        with self._changed:
            said_last = self._kept[-4096:]
        lines = _text(said_last).split("\n")[-_SHOWN:]
        said = "\n".join(line.rstrip("\r") for line in lines).strip()
        return f"; it said last:\n{said}" if said else "; it has said nothing"


def _text(data: bytes | bytearray) -> str:
    return data.decode("utf-8", "surrogateescape")


def _compiled(pattern: Pattern) -> re.Pattern[Any]:
    return re.compile(pattern) if isinstance(pattern, str | bytes) else pattern


def _search(pattern: re.Pattern[Any], data: bytearray) -> re.Match[Any] | None:
    return pattern.search(_text(data) if isinstance(pattern.pattern, str) else bytes(data))


def _end_of(match: re.Match[Any]) -> int:
    """The number of bytes up to the end of it."""
    before = match.string[: match.end()]
    return len(before.encode("utf-8", "surrogateescape") if isinstance(before, str) else before)
