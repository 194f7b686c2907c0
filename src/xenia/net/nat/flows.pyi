"""The connections that guests have to the world: which there are, and how many one guest may have.

Each is a socket of the host.  libslirp tells when it opens and closes one; a guest's packet that is being looked at
meanwhile is what it was opened for.  So a guest that opens without end is stopped at its share, while all others go on;
and one that opens faster than is of use, or without waiting for answers, sends again, later.
"""

from typing import Any

PROTOCOLS: dict[Any, Any]

class Flows:
    """What sockets there are.

    room   descriptors of the process at the most; all guests together have three quarters
    most   sockets of one guest
    """
    def __init__(self, room: int, most: int) -> None: ...
    def listed(self) -> list[dict[str, object]]:
        """Each as its protocol, the guest's end, the other one, and its age in seconds."""
        ...

def endpoint(family: int, address: bytes, port: int) -> str:
    """An address and a port as they are written."""
    ...
