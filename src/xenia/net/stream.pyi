"""Frames over a stream socket, each after its length in 4 bytes, the most significant first.

So speak QEMU (`-netdev stream`, `-netdev socket`), passt and gvproxy.  Between processes of ours struct virtio_net_hdr
comes first within that length, in the host's order, so that a frame of 64 KB crosses in one piece and unsummed.

Elsewhere frames are cut and summed first, and segments that came are made one again, and verified (coalesce.pyx).

A frame of which the socket took a part is finished before the next one; the rest is copied, for the frame is its
sender's.  A peer whose lengths make no sense is let go, for nothing after them can be found.
"""

from xenia.net.link import Link

class StreamLink(Link):
    """A link over a stream socket, which belongs to it.

    descriptor   the socket, connected; -1: none yet
    vnet         whether struct virtio_net_hdr comes before each frame
    listener     a socket that listens: whoever connects is the peer, one after the other
    """
    def __init__(self, descriptor: int = -1, *, vnet: bool = False, listener: int = -1) -> None: ...
    def close(self) -> None: ...
    def resume(self, descriptor: int) -> None:
        """Go on over another socket, after the peer of the last one is gone.  ValueError where there still is one."""
        ...
