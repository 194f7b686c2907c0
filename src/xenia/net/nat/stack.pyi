"""One guest's stack of protocols: a libslirp of its own, so that what it keeps is looked through for that guest only.

libslirp finds a packet's connection by looking through all of them, and goes through all when one has something to do.
Where guests shared one, a guest with two thousand made each packet of the others slow.

Its sockets are asked for again only after something happened to it.  A few are polled by the loop; many by an epoll,
which the loop polls.  A turn ends when its share of the loop's time is used up: sockets that did not have theirs are
the first ones of the next turn.

What a stack says to everybody, it says to its guest only (RFC 6085), be it in fragments or not.
"""

from xenia.net.nat.flows import Flows
from xenia.net.nat.gate import Gate
from xenia.net.share import Share

class Stack:
    """A guest's, or that of all who have none of their own.  Precondition: libslirp is loaded (`slirp.load`)."""
    def __init__(self, gate: Gate, flows: Flows, share: Share) -> None: ...
