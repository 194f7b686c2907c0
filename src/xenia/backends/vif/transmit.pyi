"""What a queue's guest sends: from its transmit ring to the network.

A batch goes all the way in one call: chains of requests are taken from the ring, each becomes a frame whose head is
copied and whose rest stays where it is in the guest's memory, the network is given them all at once, and then they are
answered, in the ring's order.  What the network does not take stays taken from the ring and unanswered, and so do all
that come after it, until the network says that it takes frames again: a guest that sends faster than its link waits for
it in its own ring.
"""

class Transmit:
    """One transmit ring."""
    def __init__(self) -> None: ...
