"""A guest sends under its own addresses only, and is nobody's router or DHCP server unless it is allowed to.

Of a frame that a card sends, its own have to be: the Ethernet source; ARP's sender; IP's source, where the card's
addresses are known; in neighbour discovery, the link-layer addresses and the target that is advertised; the hardware
address in a DHCP request.  Addresses that are reserved (the gateway's, the name server's) are nobody's.  Dropped are
also answers of DHCP servers, router advertisements and redirects, frames to a switch itself (01:80:c2:00:00:0x), and
all that hides what it is: more than two VLAN tags, headers that are no headers, extension headers that do not end
within a frame's head, neighbour discovery in fragments (RFC 6980, 7112, 7113).

What is checked is what a receiver would act on, so tags are looked through; IP in SNAP is dropped.
"""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from xenia.net.layer import Layer
from xenia.net.layers.claims import Claims
from xenia.net.port import Port

REASONS: tuple[str, ...]

class Guard(Layer):
    """Over a port at which one card is."""
    def __init__(
        self,
        lower: Port,
        mac: str,
        addresses: Iterable[str] = ...,
        reserved: Iterable[str] = ...,
        on: bool = True,
        inward: bool = False,
        claims: Claims | None = None,
    ) -> None:
        """mac         the card's
        addresses   what it may have, each an address or a prefix; none of a family: any
        reserved    what it may not have, the network's own
        on          whether anything is dropped
        inward      the card is below: frames that come from there are looked at
        claims      which IPv6 addresses cards of its network have made themselves; None: it may have any, unless
                    `addresses` has some
        """
        ...
    def close(self) -> None:
        """See Layer.close; its addresses are free again."""
        ...
    @property
    def kind(self) -> str:
        """See Layer.kind."""
        ...
    @property
    def reasons(self) -> tuple[str, ...]:
        """See Layer.reasons."""
        ...
    @property
    def enabled(self) -> bool:
        """Whether anything is dropped."""
        ...
    @enabled.setter
    def enabled(self, on: bool) -> None: ...
    @property
    def addresses(self) -> tuple[str, ...]:
        """What the card may have; none of a family: any."""
        ...
    @property
    def own_addresses(self) -> tuple[str, ...]:
        """The IPv6 addresses that the card claimed so far, that of its MAC first if it uses it."""
        ...
    def allow(self, address: str) -> None:
        """The card may have that one too, an address or a prefix: it was given it.

        ConfigError where it has too many already.
        """
        ...
    def forget(self, address: str) -> None:
        """It may have it no more."""
        ...
    def disclaim(self, address: str) -> None:
        """Another card was given that IPv6 address, whether or not this one claimed it before."""
        ...
    def change(self, addresses: Iterable[str], reserved: Iterable[str]) -> None:
        """From now on those, and no others.  ConfigError."""
        ...
    def counts(self) -> dict[str, Any]:
        """See Layer.counts; and its addresses, as far as they are known."""
        ...

def prefix_of(text: str) -> IPv4Network | IPv6Network:
    """An address, or a prefix, as it is written.  ConfigError."""
    ...
