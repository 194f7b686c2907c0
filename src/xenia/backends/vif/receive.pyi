"""What a queue's guest is given: from the network into the pages that it posted.

Whoever has a frame for the guest copies it, on its own thread, straight into the guest's pages.  Where there are too
few of them, a bounded number of bytes is kept until the guest posts more (kept.pyx); the rest is dropped, and whoever
sends loses no time to a guest that does not take.

A guest whose card has an XDP program wants room before each frame, and drops all that have more pages than one: it is
given none of these.
"""

class Receive:
    """One receive ring."""
    def __init__(self) -> None: ...
