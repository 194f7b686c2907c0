"""What becomes of each packet of a guest's at the edge of a user-mode network.

Guests have addresses of the network's; two more of those are the gateway's and the name server's.  Of the gateway a
guest reaches an echo, and what ports of the host's loopback the operator named; of the name server its port; in the
world all that is not the host's (`guard`).  The rest is refused, and the guest told so.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from xenia.net.nat.guard import HostGuard

class Gate:
    """The rules of one network."""
    @property
    def guard(self) -> HostGuard: ...
    def __init__(
        self,
        subnet: IPv4Network,
        gateway: IPv4Address,
        nameserver: IPv4Address,
        subnet6: IPv6Network | None,
        gateway6: IPv6Address | None,
        nameserver6: IPv6Address | None,
    ) -> None: ...
    def reach_host(self, port: int, reached: bool) -> None:
        """Whether guests may reach that port of the host's loopback, TCP and UDP."""
        ...
    def reached_host(self) -> list[int]:
        """The ports of the host's loopback that guests may reach."""
        ...
