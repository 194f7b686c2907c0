"""Stubs: processes in which user code of a guest runs on the host's processor, as Xenia sees them.

Theory of operation.  What runs in a stub, and why it is believed so little, is in stub.c.  Here is the other end: two
threads that each wait for a number to change, and a page of orders.

The guest thread.  Entry `n` is made by writing registers into the frame on its handler's stack, then `go = n`; the
handler returns to guest code.  It has ended when the handler says `exit = n`, with the frame anew.  Guest code could
say so as well, and run on.  Nothing comes of that by itself: what it says are registers, which it could have had.  But
what relies on it not running, a mapping that was taken away, needs proof: `stub_settles`.  A thread that sleeps at `go`
is moved to `parked`, which the kernel does for one that sleeps there alone, and nobody but Xenia wakes it.

The mapper.  A batch of orders is carried out when it has written to its event, which nobody else can.

Both sleep until they are woken, so all of it is the host's to schedule.  A stub that was killed from outside is told of
by its maker; a guest thread that does not leave guest code when it is kicked is given up after a while.
"""

class Maker:
    """The process that makes stubs.  ConfigError where this host has none."""

    ...
    def __init__(self) -> None: ...
    def tell(self, descriptors: list[int]) -> None:
        """Of another virtual processor: machine memory, area, requests, answers, and an event for each stub."""
        ...
    def close(self) -> None:
        """It ends, with all that it made."""
        ...

class Stubs:
    """Room for NR_STUBS of them, over that machine memory, made by that maker."""
    def __init__(self, memory: int, maker: Maker) -> None: ...
