"""VXLAN (RFC 7348): Ethernet frames within UDP datagrams, between hosts that know each other's addresses.

Every other host is named, and datagrams from elsewhere are refused.  A frame goes to the host from which its target's
address last came, and to all where that is not known, or where it is for many; so there is no multicast and nothing to
configure in between.  Nothing that came from one host goes to another.

A TCP segment of many is cut to what the way to the hosts takes in one packet; a frame that is too long all the same is
left to the kernel, which sends it in fragments.
"""

from collections.abc import Sequence

from xenia.net.link import Link

class TunnelLink(Link):
    """A tunnel to some hosts.  The descriptors belong to it.

    descriptor  of the UDP socket at which datagrams come
    remotes     of UDP sockets, each connected with one of the other hosts; MOST_REMOTES at the most
    vni         the network's number, of 24 bits, which is the same everywhere
    mtu         bytes of the largest datagram that crosses it in one packet
    """
    def __init__(self, descriptor: int, remotes: Sequence[int], *, vni: int, mtu: int) -> None: ...

def address_of(descriptor: int) -> bytes:
    """With which host a socket is connected, as an IPv6 address."""
    ...
