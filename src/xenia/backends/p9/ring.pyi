"""A ring of a shared folder: bytes from the guest's pages to a file server's socket and back, and no more.

What is said there is between the guest and the server, which is another process and has nothing of the guest's but
these bytes.  Where an answer ends is looked at, for Linux's frontend takes what was published for whole messages; and
at requests for those that call off another one (Tflush).  That may have come by another ring of the mount, and its tag
is the guest's again once the flush is answered: so the flush waits here, while others pass it, until all requests that
were on other rings before it are sent, the other one's answer is published, and the guest has taken that.

Requests go to the socket on the thread that runs the guest, when it notifies.  A loop (machine/loop) brings answers,
and what the socket did not take at once: on its own thread, or on that of a vcpu that has nothing to do, which as a
rule is the one that waits for the answer.  The guest does not say when it has made room for answers: where it has none,
the loop looks now and then.

Whose thread it is has others to run, and one vcpu of the guest's may go on asking while another is served: so no more
than some AT_ONCE bytes are moved each way before the loop is asked again.

The guest writes what it likes, also into what was just put there: it gets its own answers wrong, and nothing else.
"""

from collections.abc import Callable, Sequence

from typing_extensions import Buffer

from xenia.foreign.frames import Frames
from xenia.machine.loop import Source

class DataRing(Source):
    """One ring, for a loop to serve once it was started, and before it is closed.

    page, data  the page that begins it, and its pages side by side
    port        its end of the event channel
    event_fd    readable after it notified
    socket      of the file server's, which does not block
    on_fault    called on the loop's thread when it cannot be served any more, with the reason
    """
    def __init__(
        self,
        frames: Frames,
        page: Buffer,
        data: Buffer,
        *,
        port: int,
        event_fd: int,
        socket: int,
        on_fault: Callable[[str], None],
    ) -> None: ...
    def go_on(
        self,
        out_cons: int,
        in_prod: int,
        begun: int,
        left: int,
        asked: Sequence[int],
        flushes: Sequence[tuple[int, int]],
    ) -> None:
        """Serve it from there, whatever the guest says of it: as `rest` had it.  Precondition: before `start`."""
        ...
    def join(self, rings: Sequence[DataRing]) -> None:
        """These are the mount's, this one among them.  Precondition: before `start`; none is closed until all have
        stopped."""
        ...
    def start(self) -> None:
        """Take what the guest has sent, and from now on what it sends, at once, on the thread that runs it, where that
        is possible."""
        ...
    def stop(self) -> None:
        """Take no more from the guest."""
        ...
    def close(self) -> None:
        """Let go of the guest's pages.  Again does nothing.  Precondition: all that are joined have stopped, and are
        no loop's any more."""
        ...
    @property
    def fault(self) -> str:
        """Why it is not served any more; "" while it is."""
        ...
    @property
    def rest(self) -> tuple[int, int, int, int, tuple[int, ...], tuple[tuple[int, int], ...]]:
        """Where it is, for `go_on`.  Precondition: it has stopped, and is no loop's any more."""
        ...
    @property
    def stats(self) -> tuple[int, int, int, int, int]:
        """Those of P9Stats, in their order."""
        ...
