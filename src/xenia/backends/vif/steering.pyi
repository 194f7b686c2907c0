"""Which frames of the network a card is given, and on which of its queues: by the hash that the frontend set, or by one
of our own.

Toeplitz's hash over addresses and ports is that of receive-side scaling, as every card with several queues has it
(netif.h, "Hash types").  A fragment and a protocol other than TCP are hashed by their addresses alone.  A frontend
changes key and mapping while frames come; whatever a frame meets halfway, its queue is one that is there.
"""

from xenia.backends.vif.multicast import Multicast

class Steering:
    """What the frontend of one card asked for."""
    @property
    def multicast(self) -> Multicast: ...
    def __init__(self) -> None: ...
    def steer(self, data: bytes, nr_queues: int) -> tuple[int, tuple[int, int] | None]:
        """Where a frame goes: its queue, and type and value of its hash if the frontend set one that is told."""
        ...
    def clear(self) -> None:
        """As a card is whose frontend asked for nothing."""
        ...
    @property
    def settings(self) -> tuple[int, int, bytes, list[int]]:
        """Algorithm, types, key and mapping."""
        ...
    def go_on(self, algorithm: int, types: int, key: bytes, mapping: list[int]) -> None:
        """Take `settings` up."""
        ...
    @property
    def carrier(self) -> bool:
        """Whether frames go anywhere."""
        ...
    @carrier.setter
    def carrier(self, up: bool) -> None: ...
    @property
    def swallowed(self) -> int:
        """Frames that went nowhere."""
        ...
