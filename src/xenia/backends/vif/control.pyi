"""The control ring of a card: a frontend sets over it how frames are hashed, and which queue a hash is for (netif.h,
"Control requests").

A thread of its own serves it, for whatever a frontend asks there.  However much that is, the thread rests for a
millisecond between two looks, so that it costs next to nothing.
"""

from typing_extensions import Buffer

from xenia.backends.vif.steering import Steering
from xenia.foreign.frames import Frames

class Control:
    """One card's.

    steering    what is set
    frames      the frontend's
    pages       the ring's page
    port        its end of the channel
    event_fd    readable after it notified
    nr_queues   of the card
    """
    def __init__(
        self, steering: Steering, frames: Frames, pages: Buffer, port: int, event_fd: int, nr_queues: int
    ) -> None: ...
    def go_on(self, answered: int, faulty: bool) -> None:
        """Serve the ring from that index on, whatever the guest says of it; or not at all.  Precondition: it is not
        being served."""
        ...
    @property
    def answered(self) -> int:
        """The ring's index up to which all is answered, once `serve` has returned."""
        ...
    @property
    def is_faulty(self) -> bool:
        """Whether the guest's index said what cannot be, and the ring is not served any more."""
        ...
    def serve(self) -> None:
        """Answer what is asked until `stop`, and what was asked before that.  For a thread of its own."""
        ...
    def stop(self) -> None:
        """Have `serve` return."""
        ...
    def close(self) -> None:
        """Let go of the ring's page.  Precondition: `serve` has returned."""
        ...
