"""Frames one by one through a descriptor, each behind struct virtio_net_hdr in the host's order: a TAP of Linux, a
macvtap, a raw socket on an interface (interfaces.py opens them).

What the kernel refuses of a frame, because it makes no sense or the interface is down or full, is dropped and counted,
as a wire drops it.
"""

from xenia.net.link import Link

class PacketLink(Link):
    """A link through such a descriptor, which belongs to it."""
    def __init__(self, descriptor: int) -> None: ...
