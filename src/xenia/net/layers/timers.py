"""The one thread of a process that wakes layers when something is due: there as long as there are such layers."""

from __future__ import annotations

import threading

from xenia.jail.kinds import Kind
from xenia.machine.loop import Loop, Source
from xenia.machine.thread import HostThread

_changing = threading.Lock()
_sources: list[Source] = []
_loop: Loop | None = None
_thread: HostThread | None = None


def add_timer(source: Source) -> None:
    """Serve it too.  OSError(EAGAIN) where the host gives no thread."""
    global _loop, _thread
    with _changing:
        if _loop is None:
            loop = Loop()
            _thread = HostThread(loop.run, "timers", Kind.LINK)
            _thread.start()
            _loop = loop
        _loop.add(source)
        _sources.append(source)


def remove_timer(source: Source) -> None:
    """Serve it no more; it is not being served when this returns.  Not on the thread itself."""
    global _loop, _thread
    with _changing:
        assert _loop is not None and _thread is not None
        _loop.remove(source)
        _sources.remove(source)
        if not _sources:
            _loop.stop()
            _thread.end()
            _loop = _thread = None
