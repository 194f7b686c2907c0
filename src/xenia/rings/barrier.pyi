"""The memory barrier of rings shared with guests."""

def memory_barrier() -> None:
    """Xen's mb(): every load and store before it is done before any after it."""
    ...
