"""The queues of a vbd.

Requests are taken from a ring all at once, and those that follow each other on the disk are joined into one call.  What
the host can do at once (RWF_NOWAIT: the data is in its page cache) is done by the thread that takes them; everything
else is left to the workers, so that a request that waits for a disk holds up none that does not.  Responses go into the
ring as requests finish, in any order, and a batch of them takes one event.

Who takes them.  The thread that runs the guest, when that notifies: a request is answered when the guest runs on, for
less than it costs to wake anybody.  The queue's own thread takes what is too much for one event, and looks when a
barrier may begin, when the ring is let go, and where events come through a descriptor only.  `taking` lets in one of
them at a time; who finds the other one there makes it look once more.

Failure.  What the host could not make durable it tells once and forgets, and Linux's frontend takes an empty flush that
fails for one that is not supported: it tells nobody, and flushes no more.  So the disk has failed for good then: each
later write is an error, which does reach who writes.

Ordering.  A flush covers the writes whose responses the guest had when it asked, so it needs to wait for no other
request.  A barrier waits for all before it and holds up all after it.

Locks.  `taking` is held while a batch is taken and what can be done at once is done, never while anything sleeps.  A
queue's lock guards its ring's responses and its counts of what is in flight; the workers' lock their list.  Neither is
held while anything is read or written, and no queue's lock is waited for with the workers' held.  No Python runs for a
request unless the disk is a stack of layers.
"""

from typing_extensions import Buffer

from xenia.backends.vbd.workers import Workers
from xenia.foreign.frames import Frames

class Queue:
    """One ring.

    workers     of the device
    frames      the frontend's
    pages       its ring's pages, side by side
    port        its end of the channel
    event_fd    readable after it notified
    persistent  keep the frames of its requests

    A ring that another backend served before is served from where that one's answers end, as Linux's does: what was not
    answered is done (once more).  A backend that answered out of order has then left requests that it answered, and
    lost others.
    """
    def __init__(
        self, workers: Workers, frames: Frames, pages: Buffer, port: int, event_fd: int, persistent: bool = False
    ) -> None: ...
    def go_on(self, answered: int, faulty: bool) -> None:
        """Serve the ring from that index on, whatever the guest says of it; or not at all.  Precondition: before
        `start`."""
        ...
    def start(self) -> None:
        """Answer at once what can be answered so, on the thread that runs the guest, where that is possible."""
        ...
    def serve(self) -> None:
        """Serve the ring until `stop`.  For a thread of its own."""
        ...
    @property
    def is_faulty(self) -> bool:
        """Whether the guest's index said what cannot be, and the ring is not served any more."""
        ...
    @property
    def is_new(self) -> bool:
        """Whether no request of the ring was answered yet."""
        ...
    @property
    def answered(self) -> int:
        """The ring's index up to which all is answered, once `serve` has returned."""
        ...
    def stop(self) -> None:
        """Take no more requests than are there; `serve` returns when they are answered.  A frontend that closes leaves
        them in the ring, and may wait for them before it lets go of its disk."""
        ...
    def close(self) -> None:
        """Let go of the frontend's frames.  Precondition: `serve` has returned."""
        ...
