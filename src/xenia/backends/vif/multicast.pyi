"""Which multicast frames a card wants: the list that its frontend sends in its frames (netif.h, "multicast control").

The list is kept whether it is used or not: a frontend may ask for the filter later, where the card offers that
(feature-dynamic-multicast-control).  Its places are words that are exchanged whole, so that a look takes no lock; an
address that two queues add at once may be there twice, and goes from both places.
"""

from collections.abc import Iterable

class Multicast:
    """The list of one card."""
    def filter(self, on: bool) -> None:
        """Let nothing else in, or everything, from now on."""
        ...
    def clear(self) -> None:
        """The list is empty, and nothing is filtered."""
        ...
    def fill(self, addresses: Iterable[bytes]) -> None:
        """Add addresses of 6 bytes, as the frontend does."""
        ...
    @property
    def listed(self) -> list[bytes]:
        """The addresses, in their order."""
        ...
