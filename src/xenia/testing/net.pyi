"""Both sides of a port, for tests: a card that is at one, and a network that lies behind one."""

from collections.abc import Iterable
from typing import Any

from xenia.net.port import Port
from xenia.testing.packet import Packet

class Batch:
    """Packets as frames, each in two parts where it is longer than HEAD."""
    def __init__(self, packets: Iterable[Packet | bytes]) -> None: ...

class Card:
    """Is at `port`, as a guest's card is: sends packets, and keeps what it is given."""

    deaf: bool
    def __init__(self, port: Port) -> None: ...
    def send(self, *packets: Packet | bytes) -> int:
        """Send them, BATCH at the most; how many were taken."""
        ...
    def measure(self, rounds: int, *packets: Packet | bytes) -> float:
        """Nanoseconds that sending one of these frames takes, of so many rounds with all of them."""
        ...
    @property
    def received(self) -> list[Packet]:
        """What came, since this was asked last."""
        ...
    @property
    def nr_ready(self) -> int:
        """How often it was told that it may send again."""
        ...
    def wait(self, count: int = 1, timeout: float = 10) -> list[Packet]:
        """What came, as soon as it is so many; fewer after so many seconds."""
        ...
    def close(self) -> None:
        """Leave the port."""
        ...

class Behind(Port):
    """A port with a test behind it: what is sent into it is kept, and what `come` is given comes out of it.

    room   how many frames it still takes; None: all
    """

    room: Any
    def __init__(self, room: int | None = None) -> None: ...
    @property
    def sent(self) -> list[Packet]:
        """What was sent into it, since this was asked last."""
        ...
    def come(self, *packets: Packet | bytes) -> None:
        """Deliver them, BATCH at the most, to whoever is at the port."""
        ...
    def measure(self, rounds: int, *packets: Packet | bytes) -> float:
        """Nanoseconds that delivering one of these frames takes, of so many rounds with all of them."""
        ...
    def make_room(self, room: int | None) -> None:
        """Take so many more, and say so."""
        ...
