"""Frames over a stream socket, each after its length in 4 bytes, the most significant first.

So speak QEMU (`-netdev stream`, `-netdev socket`), passt and gvproxy.  Between processes of ours struct virtio_net_hdr
comes first within that length, in the host's order, so that a frame of 64 KB crosses in one piece and unsummed.

Elsewhere frames are cut and summed first, and segments that came are made one again, and verified (coalesce.pyx).

Who has a share of the loop's time (share.pyx) is read for so long in one turn, and then waits, with what it sent, until
it may again.

A frame of which the socket took a part is finished before the next one; the rest is copied, for the frame is its
sender's.  A peer whose lengths make no sense is let go, for nothing after them can be found.
"""

from xenia.net.link import Link
from xenia.net.share import Share

class StreamLink(Link):
    """A link over a stream socket, which belongs to it.

    descriptor   the socket, connected; -1: none yet
    vnet         whether struct virtio_net_hdr comes before each frame
    listener     a socket that listens: whoever connects is the peer, one after the other
    share        of the time of the loop that serves it; None: as much as it likes
    """
    def __init__(
        self, descriptor: int = -1, *, vnet: bool = False, listener: int = -1, share: Share | None = None
    ) -> None: ...
    def close(self) -> None: ...
    def resume(self, descriptor: int) -> None:
        """Go on over another socket, after the peer of the last one is gone.  ValueError where there still is one."""
        ...
