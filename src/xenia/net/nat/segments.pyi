"""How much data each connection's guest takes in one segment.

libslirp makes a segment of as much as the guest's SYN allows (RFC 9293, 3.7.1), and each costs it a turn of its loops
and the guest an interrupt.  So it is told that the guest takes tens of kilobytes, and what it makes is marked as
segments that are still to be cut to what the guest said, as a real card's are: a guest that can takes them uncut, and
for one that cannot, the network cuts them.

What a guest said is kept for as many connections as there may be, the latest of those that fall on one place.  Of one
that was forgotten the least is assumed that every host takes.
"""

class SegmentSizes:
    """What guests said."""
    def __init__(self) -> None: ...
