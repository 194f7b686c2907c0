"""Which card of a network has which IPv6 address.

Guests make their addresses themselves: one of the MAC (RFC 4862, and RFC 4291, appendix A), others by chance, which
change every day (RFC 8981), or by a secret (RFC 7217).  Nobody gives them out, so who comes first has one: a card's are
those two of its own MAC, link-local and of the network's prefix, and those that it is given, which are nobody else's;
and those that it claims by
neighbour discovery (RFC 4861, 4862) and nobody else has.  A card has a bounded number of these; where there are more,
the oldest goes, if it is an hour old.  All end with the card.
"""

class Claims:
    """Of a network with that prefix, of 64 bits."""
    @property
    def prefix(self) -> bytes: ...
    def __init__(self, prefix: str) -> None: ...
    def address_of(self, mac: bytes) -> str:
        """The address of the network that a card gives itself of its MAC (RFC 4862, and RFC 2464, 4)."""
        ...
