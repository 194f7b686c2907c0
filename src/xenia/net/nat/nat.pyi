"""A user-mode network's way out: a port behind which libslirp carries TCP, UDP and echoes to the host's sockets.

What is sent into the port is judged (`gate`), put in one piece, and given to the stack of the guest that it came from
(`stack`), in the caller's thread.  What stacks make waits in an outbox until the lock is let go, and is delivered in
batches.  Their sockets and timers are a source of a loop's.

A guest's segments are taken as long as it makes them, up to 64 KB; and a stack's are as long, for guests that take such
(`segments`).  What addresses and names guests have is not the stacks' to say: those packets go aside, to Python.
"""

from collections.abc import Mapping

from xenia.machine.loop import Source
from xenia.net.nat.gate import Gate
from xenia.net.nat.plan import Plan
from xenia.net.port import Port
from xenia.net.share import Share

class NatSource(Source):
    """The network's sockets and timers."""

    ...

class Nat(Port):
    """The way out of the network of this plan.  Precondition: libslirp is loaded (`slirp.load`).

    room    descriptors that the process may have
    flows   connections that one guest may have
    share   of the loop's time that those have together who have none of their own; None: as much as they like
    """
    @property
    def source(self) -> NatSource: ...
    @property
    def gate(self) -> Gate: ...
    def __init__(self, plan: Plan, room: int = 4096, flows: int = 2048, share: Share | None = None) -> None: ...
    def close(self) -> None:
        """Reset all connections.  Again does nothing.  Precondition: nobody is at the port, and no loop serves it."""
        ...
    def enter(self, mac: bytes, share: Share | None = None) -> None:
        """Have a guest with a stack, and a share of the loop's time, of its own; those beyond 1023 share one.

        OSError: the process has no descriptor left.
        """
        ...
    def forget(self, mac: bytes) -> None:
        """It is gone: end its connections, and the forwards to it that are its own stack's."""
        ...
    def pinned_addresses(self, mac: bytes) -> list[str]:
        """The IPv4 addresses which that guest used, and to which forwards lead though it was not known to have them."""
        ...
    @property
    def asides_descriptor(self) -> int:
        """Readable where there are packets for our own servers."""
        ...
    def take_asides(self) -> list[bytes]:
        """Those packets, each a frame."""
        ...
    def put(self, frame: bytes) -> None:
        """Send a frame to the guests, whole and summed."""
        ...
    def forward(self, protocol: str, host: tuple[str, int], guest: tuple[str, int], mac: bytes | None = None) -> None:
        """Have what connects to `host` reach `guest`: an address and a port each; it has that MAC, where that is known.
        OSError where it cannot be had."""
        ...
    def unforward(self, protocol: str, host: tuple[str, int]) -> bool:
        """Have it no more, nor what is connected by it; whether it was."""
        ...
    def list_flows(self) -> list[dict[str, object]]:
        """The connections that guests have."""
        ...
    @property
    def statistics(self) -> Mapping[str, int]:
        """What came and went, and what did not get through."""
        ...
