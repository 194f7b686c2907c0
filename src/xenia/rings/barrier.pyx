"""The memory barrier of rings shared with guests."""

cdef extern from *:
    void __sync_synchronize() noexcept nogil


def memory_barrier() -> None:
    """Xen's mb(): every load and store before it is done before any after it."""
    __sync_synchronize()
