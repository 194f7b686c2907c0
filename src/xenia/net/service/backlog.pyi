"""A port that keeps what the one below does not take yet: for networks, which nobody can tell to wait.

A frame that is lost on its way to a guest costs its connection far more than waiting does, and guests' sockets hold
little.  What is kept ends at a bound, after which frames are dropped and counted.

Who floods a guest fills neither its card nor this: each of the bridge's ports that frames came in by has a queue of its
own.  They take turns, and one may keep no more than all together still have room for, so that there always is some for
another.
"""

from xenia.net.port import Port

class Backlog(Port):
    """Over `lower`, which it attaches to and closes."""
    @property
    def lower(self) -> Port: ...
    def __init__(self, lower: Port) -> None: ...
    def close(self) -> None: ...
    @property
    def dropped(self) -> int:
        """Frames for which there was no room."""
        ...
    @property
    def kept_bytes(self) -> int:
        """What waits now."""
        ...
