"""The threads that carry out what may take time, for all queues of a vbd.

Each takes a request from the list, or a few small writes, which hardly wait; where the disk is a stack of layers it
takes all there are, as one batch for Python.  A request says itself whom to tell when it is done.
"""

from xenia.storage.layer import Layer

class Workers:
    """What the queues of one device share: where the bytes are, and a list of requests that may take time.

    layer       what the disk is: a storage layer
    fd          a descriptor whose bytes are exactly the layer's, or -1
    read_only   writes are refused
    """
    def __init__(self, layer: Layer, fd: int, read_only: bool) -> None: ...
    def work(self) -> None:
        """Carry out what is put on the list, until `close`.  For a thread of its own, or several."""
        ...
    def close(self) -> None:
        """Let the threads end when the list is empty."""
        ...
    def go_on(self, counts: dict[str, int], failed: int) -> None:
        """Count from there on; `failed`: the errno of a flush that failed before.  Precondition: there were no
        requests."""
        ...
    @property
    def failed(self) -> int:
        """The errno of the first flush that failed, or 0."""
        ...
    def resize(self, size: int) -> None:
        """The disk has another size from now on."""
        ...
    @property
    def can_secure_discard(self) -> bool:
        """Whether a discard can be secure."""
        ...
    @property
    def size(self) -> int:
        """Bytes that requests may reach."""
        ...
    @property
    def counts(self) -> dict[str, int]:
        """What was done so far."""
        ...
