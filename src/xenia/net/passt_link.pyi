"""A link to passt, by which no guest reaches the host.

passt opens a socket of the host's to wherever a guest sends, and takes for granted that the guest may reach all that
the host's own programs do: its loopback, which a guest needs only write as an address, and whatever listens at the
host's own addresses.  So what is for these, or for nobody but those on the host's links (link-local addresses, and with
them the metadata of clouds; groups), is dropped before passt sees it.  What guests need of passt itself passes: DHCP,
neighbour discovery, and names from a link-local name server; and segments of a connection that there is, for the host
may have begun it by a forward.

passt knows no VLANs, so an IP header is behind the Ethernet header or nowhere.
"""

from collections.abc import Sequence

from xenia.net.stream import StreamLink

class PasstLink(StreamLink):
    """Over the socket to passt, which belongs to it.

    own     the host's addresses
    """
    def __init__(self, descriptor: int, own: Sequence[str]) -> None: ...
    @property
    def statistics(self) -> dict[str, int]:
        """See Link.statistics; and frames that were for the host."""
        ...
