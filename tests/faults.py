"""Faults, one at a time: whatever the host can refuse is counted, and the n-th call of it fails.

`each_fault` runs a scene again and again, with the first call failing, then the second, until one run needs more calls
than fail.  After each, what the process holds has to be what it held before.
"""

from __future__ import annotations

import errno
import fcntl
import gc
import logging
import os
import re
import selectors
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

import xenia.hypervisor.foreign
import xenia.testing.foreign
from xenia.abi.xs_wire import XsdError
from xenia.machine.thread import HostThread
from xenia.storage import host
from xenia.xenstore.client import Client
from xenia.xenstore.error import StoreError

# What the host is asked for, and how it refuses.
CALLS: list[tuple[Any, str, int]] = [
    (os, "open", errno.EMFILE),
    (os, "eventfd", errno.EMFILE),
    (os, "pipe2", errno.EMFILE),
    (os, "memfd_create", errno.ENOMEM),
    (selectors, "DefaultSelector", errno.EMFILE),
    (os, "ftruncate", errno.ENOSPC),
    (os, "preadv", errno.EIO),
    (os, "pwritev", errno.ENOSPC),
    (host, "fallocate", errno.ENOSPC),
    (os, "fdatasync", errno.EIO),
    (os, "fsync", errno.EIO),
    (os, "close", errno.EIO),
    (fcntl, "flock", errno.ENOLCK),
    (xenia.testing.foreign, "Window", errno.ENOMEM),
    (xenia.hypervisor.foreign, "Window", errno.ENOMEM),
    (HostThread, "start", errno.EAGAIN),
    (Client, "atomically", 0),
    (Client, "transaction", 0),
    (Client, "watch", 0),
    (Client, "write", 0),
]


class Faults:
    """Within the `with` block the n-th call fails.  May be entered several times."""

    def __init__(self, patch: pytest.MonkeyPatch, nth: int) -> None:
        self.happened = ""  # the name of the call that failed
        self._left = nth
        self._armed = False
        self._lock = threading.Lock()
        for place, name, number in CALLS:
            patch.setattr(place, name, self._failing(getattr(place, name), name, number))

    def _failing(self, real: Callable[..., Any], name: str, number: int) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if not self._is_this(name):
                return real(*args, **kwargs)
            if name == "close":
                real(*args, **kwargs)  # as on Linux: it fails, and is closed
            if not number:
                raise StoreError(XsdError.ENOSPC)
            raise OSError(number, os.strerror(number))

        return call

    def _is_this(self, name: str) -> bool:
        with self._lock:
            if not self._armed or self.happened:
                return False
            self._left -= 1
            if self._left == 0:
                self.happened = name
            return bool(self.happened)

    def __enter__(self) -> Self:
        self._armed = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._armed = False


def each_fault(first: int = 1) -> Iterator[Faults]:
    """One set of faults after the other; what the process holds is compared after each use."""
    gc.collect()
    gc.freeze()  # what is there already is not looked at again and again
    for nth in count(first):
        threads = set(threading.enumerate())
        before = _held()
        with pytest.MonkeyPatch.context() as patch:
            faults = Faults(patch, nth)
            logging.disable()  # what is logged is kept, and what it holds
            yield faults
            logging.disable(logging.NOTSET)
        for thread in set(threading.enumerate()) - threads:
            thread.join(20)
            assert not thread.is_alive(), f"call {nth} failed ({faults.happened}): {thread.name} goes on"
        after = _held()
        assert after == before, f"call {nth} failed ({faults.happened}): more is held: {after - before}"
        if not faults.happened:
            gc.unfreeze()
            return


def _held() -> Counter[str]:
    """Descriptors, by what is behind them, and mappings of memory files."""
    gc.collect()
    held: Counter[str] = Counter()
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the listing's own
            held[re.sub("[0-9]+", "N", os.readlink(f"/proc/self/fd/{name}"))] += 1
    held["mappings"] = Path("/proc/self/maps").read_text().count("memfd:")
    return held
