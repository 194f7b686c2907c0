"""A processor that runs nothing: it notes what the core tells it, and keeps registers and translations as a real one
would.

Its translation cache forgets nothing by itself, so that it shows the worst that a real one could still hold: a cached
writable translation to a frame that has become a page table is a hole in the guest's fence.
"""

NAMES: int
NR_ARGUMENTS: int

class RecordingProcessor:
    """See the module."""
    @property
    def notes(self) -> list[tuple[str | int, ...]]:
        """What it was told since the last `forget`, oldest first: (name, arguments...); the last 1024 at most."""
        ...
    @property
    def lent(self) -> tuple[int, int]:
        """The frame of which it was told last that others may write to it, and its first word at that time."""
        ...
    def forget(self) -> None:
        """Drop the notes."""
        ...
