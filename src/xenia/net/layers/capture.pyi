"""What goes by, into a pcapng file that can be read while it grows.

A card's stack has one of these at its top, so that what a guest sends is seen before the guard drops it, and costs one
branch while nothing is captured.  An operator's `capture=` puts another one where that word stands.  What goes to who
is at the port is inbound in the file, what is sent outbound.  GSO frames are there whole, and sums that are to be
filled in are not yet there.
"""

from typing import Any

from xenia.net.layer import Layer
from xenia.net.port import Port

class Capture(Layer):
    """Over a port, of the interface of that name and with that MAC."""
    def __init__(self, lower: Port, name: str = "card", mac: str = "") -> None: ...
    def close(self) -> None:
        """See Layer.close."""
        ...
    @property
    def kind(self) -> str:
        """See Layer.kind."""
        ...
    @property
    def capturing(self) -> bool:
        """Whether what goes by is taken: one was started, it has not ended, and its reader has not left."""
        ...
    def start(self, descriptor: int, snaplen: int = ..., limit: int | None = None, name: str | None = None) -> None:
        """Capture into `descriptor`, which is the capture's own to close from now on.

        snaplen   bytes that are kept of each frame
        limit     bytes after which it ends; None: none
        name      of the interface; None: the layer's

        ConfigError where one is under way; then the descriptor is the caller's still.
        """
        ...
    def stop(self) -> None:
        """Capture no more; what was is in the file when this returns, unless that takes more than some seconds."""
        ...
    def counts(self) -> dict[str, Any]:
        """See Layer.counts; and of the capture that is under way, or was last (Recording.counts)."""
        ...
