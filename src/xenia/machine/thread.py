"""A thread of the host's, which it may refuse, and which may ask no more of it than its kind needs."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable

from xenia.jail.jail import confine
from xenia.jail.kinds import Kind


class HostThread(threading.Thread):
    """Runs `target` on a thread of its own, which ends with the process; in a jail, behind the filter of its kind.

    Without a kind `target` sees to that itself.
    """

    def __init__(self, target: Callable[[], object], name: str, kind: Kind | None = Kind.SERVICE) -> None:
        super().__init__(target=target, name=name, daemon=True)
        self._kind = kind

    def run(self) -> None:
        """What the thread does."""
        if self._kind is not None:
            confine(self._kind)
        super().run()

    def start(self) -> None:
        """Begin.  OSError(EAGAIN) where the host gives no more threads."""
        try:
            super().start()
        except RuntimeError as refused:
            if self.ident is not None:
                raise
            raise OSError(errno.EAGAIN, "the host gives no more threads") from refused

    def end(self) -> None:
        """Wait until it has ended, where it ever began."""
        if self.ident is not None:
            self.join()
