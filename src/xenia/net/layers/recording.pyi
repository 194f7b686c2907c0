"""A capture that is being written: blocks of pcapng in memory, and a thread that has the time for a disk.

Who captures puts blocks into one chunk of memory while the thread writes the other one, whole blocks in each write, so
that a reader may follow the file.  What has no room, because the disk is slow, or cannot be written, because it is
full, is lost and counted: in the next block that is written, and in the statistics at the end.

A batch is recorded before it is sent, for its answer may come before `send` returns.  What turns out not to have been
sent is made void, and skipped: it will come again.
"""

from typing import Any

PATIENCE: int

class Recording:
    """Into `descriptor`, which is its own to close from now on."""
    @property
    def thread(self) -> Any: ...
    def __init__(self, descriptor: int, name: str, snaplen: int, limit: Any | None = None, mac: bytes = b"") -> None:
        """name      the interface's
        snaplen   bytes that are kept of each frame
        limit     bytes after which it ends; None: none
        mac       the interface's, where it has one
        """
        ...
    def stop(self) -> None:
        """Write what there is, and end.  Where that takes longer than PATIENCE it goes on behind the caller's back.

        Precondition: nobody takes anything any more.
        """
        ...
    def counts(self) -> dict[str, Any]:
        """Frames that came by, that are written, and that are lost; why a write failed, if one did."""
        ...
