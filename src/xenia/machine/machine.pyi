"""Machine memory and the frame table.

Machine memory is a memfd, mapped once, so that other processes can map frames of it; it is sparse, so that memory that
no guest has touched costs nothing.  Its lowest frames are Xen's own: the machine-to-physical table (M2P) that every
guest reads, and the page tables that show it, read-only, in slot 256 of every L4.

Around the mapping lies address space in which nothing is, and nothing will be: a frame number that got past every check
that is made of it is a fault of this process, and not a way to what else it has.

The frame table is a packed array beside it, one `Frame` for each machine frame, never mapped by a guest.  What the
counts and types mean is mm/'s business; here a frame is free (no references) or belongs to an owner.
"""

from array import array

class MachineMemory:
    """`size` bytes of machine memory (a multiple of 4 KiB) and their frame table; a writable buffer over all of it.

    `scatter`, a seed, hands frames out in a random order, so that nothing can lean on where they lie.
    Raises ConfigError when the host cannot give that much.
    """
    def __init__(self, size: int, scatter: int | None = None) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def allocate(self, owner: int, count: int) -> array[int]:
        """`count` zeroed frames for domain `owner`, as an array of their mfns: in rows as far as they lie so, whoever
        had them before, for Linux grants frames in a row where it needs much memory (net/9p/trans_xen.c).

        ConfigError if not all are to be had; then none is taken.
        """
        ...
    @property
    def m2p(self) -> memoryview:
        """The M2P table, indexed by mfn: what pfn its owner knows the frame as."""
        ...
    @property
    def nr_frames(self) -> int:
        """Frames in all."""
        ...
    @property
    def nr_free(self) -> int:
        """Frames that nobody has."""
        ...
    @property
    def resident(self) -> int:
        """Bytes that the host has given to it by now: what was written to, and not given back since."""
        ...
    @property
    def fd(self) -> int:
        """The memfd."""
        ...
