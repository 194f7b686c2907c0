"""The queues of a network card: two rings each, and who serves them.

Frames go both ways without the interpreter, and each on the thread of whoever has them.  What the guest sends is taken
from its ring when it notifies, on the thread that runs it, and goes all the way to where it belongs, which may be
another guest's receive ring: one copy, by the sender.  The queue's own thread takes what is too much for one event,
waits for what the network does not take yet and for the rate, and serves where events come through a descriptor only.
After large frames it takes what comes next, too, where there is a processor for it: bulk is copied while the guest
makes more, and a question goes out at once.

Locks.  `transmit` is held from the transmit ring to the network and back to the answers, `receive` while frames are
copied into the guest's pages; neither while anything sleeps.  A frame that comes back to its own guest (a reply of the
network's) finds `transmit` held and takes `receive`, so a queue's two rings share no state.
"""

from typing_extensions import Buffer

from xenia.backends.vif.features import Features
from xenia.backends.vif.rate import Rate
from xenia.backends.vif.steering import Steering
from xenia.foreign.frames import Frames
from xenia.net.port import Port

class Queue:
    """One queue.

    port, steering, rate        the card's
    frames                      the frontend's
    tx_pages, rx_pages          a page each: its rings
    tx_port, rx_port            its ends of the channels, or of the only one
    tx_event_fd, rx_event_fd    readable after it notified
    features                    of the frontend

    Rings that another backend served before are served from where that one's answers end.
    """
    def __init__(
        self,
        port: Port,
        steering: Steering,
        rate: Rate,
        frames: Frames,
        tx_pages: Buffer,
        rx_pages: Buffer,
        *,
        tx_port: int,
        rx_port: int,
        tx_event_fd: int,
        rx_event_fd: int,
        features: Features = ...,
    ) -> None: ...
    def go_on(self, tx_answered: int, rx_answered: int) -> None:
        """Serve the rings from those indices on, whatever the guest says of it.  Precondition: before `start`."""
        ...
    def leave_headroom(self, headroom: int) -> None:
        """From the next frame on, leave so many bytes free before each that the guest is given."""
        ...
    def start(self) -> None:
        """Take at once what the guest sends, on the thread that runs it, where that is possible."""
        ...
    def serve(self) -> None:
        """Serve the rings until `stop`, or until the guest's rings are not to be believed any more (`fault`).  For a
        thread of its own."""
        ...
    def stop(self) -> None:
        """Take no more from the guest; `serve` returns soon.  Precondition: the card does not give it frames."""
        ...
    def rest(self) -> None:
        """Answer what was taken and not sent (NETIF_RSP_DROPPED), and forget what the guest had no room for.
        Precondition: `serve` has returned."""
        ...
    def close(self) -> None:
        """Rest, and let go of the frontend's pages.  Again does nothing.  Precondition: `serve` has returned."""
        ...
    @property
    def fault(self) -> str:
        """Why its rings are not served any more; "" while they are."""
        ...
    @property
    def tx_answered(self) -> int:
        """The transmit ring's index up to which all is answered, after `rest`."""
        ...
    @property
    def rx_answered(self) -> int:
        """The same of the receive ring."""
        ...
    @property
    def counts(self) -> dict[str, int]:
        """Those of VifStats."""
        ...
