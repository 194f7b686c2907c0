"""The thread on which frames come from the links of a process."""

from __future__ import annotations

from xenia.jail.kinds import Kind
from xenia.machine.loop import Loop
from xenia.machine.thread import HostThread
from xenia.net.link import Link
from xenia.net.port import Port


class LinkThread:
    """Serves links until it is closed, on a thread that begins with the first one.

    Links that are there when it is closed are not: they are served no more.
    """

    def __init__(self, name: str = "links") -> None:
        self.loop = Loop()
        self._thread = HostThread(self.loop.run, name, Kind.LINK)

    def add(self, port: Port) -> None:
        """Serve it too, if it is a link, until it is closed.  OSError(EAGAIN) where the host gives no thread."""
        if not isinstance(port, Link):
            return
        if self._thread.ident is None:
            self._thread.start()
        self.loop.add(port.source)

    def close(self) -> None:
        """End.  Again does nothing.  Not on the thread itself.  Precondition: nobody sends to its links any more."""
        self.loop.stop()
        self._thread.end()
        self.loop.close()
