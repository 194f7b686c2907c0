"""A session: one client, with all it holds, at however many streams.

Ids.  The files of the user whose process this is are root's to the client, and what the client makes is that user's.
Files of others keep their numbers; the kernel refuses what it would refuse the user.
"""

from collections.abc import Sequence

class Session:
    """What a client sees, and what it has.

    folder      an open descriptor of it, which stays the caller's
    read_only   refuse all that would change anything
    fids        how many files the client may hold at once
    descriptors how many of them are held open, besides those that it opened, which are at most half as many; but 1000
                at the least
    hidden      names that the folder itself does not have for the client
    """
    @property
    def read_only(self) -> bool: ...
    def __init__(
        self, folder: int, read_only: bool, fids: int, descriptors: int, hidden: Sequence[str] = ...
    ) -> None: ...
    @property
    def held(self) -> int:
        """How many files the client holds."""
        ...
