"""A network card as its network sees it: at a port, with the queues that it has while its frontend is connected."""

from xenia.backends.vif.queue import Queue
from xenia.backends.vif.rate import Rate
from xenia.backends.vif.steering import Steering
from xenia.net.port import Port

class Card:
    """What the queues of one card share, and what outlives them.

    port        where it is; it stays the caller's to close
    steering    which frames it is given, and on which queue; all, by their flows, where there is none
    rate        how fast it may send; without, as fast as it likes
    """
    @property
    def port(self) -> Port: ...
    @property
    def steering(self) -> Steering: ...
    @property
    def rate(self) -> Rate: ...
    def __init__(self, port: Port, steering: Steering | None = None, rate: Rate | None = None) -> None: ...
    def connect(self, queues: list[Queue]) -> None:
        """Be at the port, and give these what comes.  Precondition: not connected."""
        ...
    def disconnect(self) -> None:
        """Leave the port: no frame is being given to a queue any more.  Again does nothing.  Before the queues are
        stopped."""
        ...
    def forget(self) -> None:
        """Add the counts of its queues to those that remain, once they are closed."""
        ...
    def go_on(self, counts: dict[str, int]) -> None:
        """Count from there on.  Precondition: it was not connected yet."""
        ...
    @property
    def counts(self) -> dict[str, int]:
        """Those of VifStats, since the card was made."""
        ...
