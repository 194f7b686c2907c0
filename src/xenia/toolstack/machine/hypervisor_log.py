"""The hypervisor's log, which `xl dmesg` shows of a real Xen: what guests say to it, and what it has to say of them."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from xenia.shutdown import Shutdown

# Characters that are kept; what is older goes.
LIMIT: Final = 256 << 10
_ANSWER: Final = 256 << 10  # bytes of JSON: what passes from one process of ours to another at once
_LONGEST_LINE: Final = 1024


class HypervisorLog:
    """Lines, the newest of them, from any thread.  What guests wrote is in them as they wrote it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: deque[str] = deque()
        self._size = 0
        self._begun: dict[int, bytes] = {}  # by domain: a line whose end has not come yet

    def said(self, domid: int, data: bytes) -> None:
        """What a domain wrote with CONSOLEIO_write; a line is one when it has ended."""
        with self._lock:
            *lines, rest = (self._begun.get(domid, b"") + data).split(b"\n")
            for line in lines:
                self._add(_line(domid, line))
            while len(rest) > _LONGEST_LINE:
                self._add(_line(domid, rest[:_LONGEST_LINE]))
                rest = rest[_LONGEST_LINE:]
            self._begun[domid] = rest

    def ended(self, domid: int, shutdown: Shutdown | None, report: Iterable[str]) -> None:
        """A domain ended so, or was destroyed; `report` has its registers where Xenia crashed it."""
        how = "destroyed"
        if shutdown is not None:
            how = (
                f"ended with {shutdown.reason.name.lower()} ({shutdown.code})"
                + ", without a word of its own" * shutdown.halted
            )
        with self._lock:
            if rest := self._begun.pop(domid, b""):
                self._add(_line(domid, rest))
            for line in (f"domain {domid} {how}", *report):
                self._add(f"(XEN) {line}")

    def clear(self) -> None:
        """Forget the lines that have ended."""
        with self._lock:
            self._lines.clear()
            self._size = 0

    @property
    def lines(self) -> list[str]:
        """What is in the log, the oldest line first."""
        with self._lock:
            return [*self._lines, *(_line(domid, rest) for domid, rest in self._begun.items() if rest)]

    def _add(self, line: str) -> None:
        self._lines.append(line)
        self._size += len(line)
        while self._size > LIMIT:
            self._size -= len(self._lines.popleft())


def newest(lines: Sequence[str], size: int = _ANSWER) -> list[str]:
    """The newest lines that take up no more than so many bytes as JSON, which says one character in up to six."""
    for at in range(len(lines), 0, -1):
        size -= len(json.dumps(lines[at - 1])) + len(", ")
        if size < 0:
            return list(lines[at:])
    return list(lines)


def _line(domid: int, text: bytes) -> str:
    return f"(d{domid}) " + text[:_LONGEST_LINE].rstrip(b"\r").decode("utf-8", "replace")
