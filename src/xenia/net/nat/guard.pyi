"""The host and what is private to its links, which guests do not reach through the user-mode network.

That is the loopback, every address that the host has, and what is there on its links only: link-local addresses (and
with them the metadata of clouds at 169.254.169.254), multicast and broadcast; in IPv6 also where an IPv4 address stands
in one.  Which addresses are the host's is the kernel's to say: they are those that a socket can be bound to.
"""

class HostGuard:
    """What the kernel said lately of addresses."""
    def __init__(self) -> None: ...
    def refuses(self, address: str) -> bool:
        """Whether no guest may send to that address."""
        ...
