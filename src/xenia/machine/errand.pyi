"""What an idle processor's thread may do for others: wait for their descriptors beside its own, and serve them.

What comes for a guest whose processor sleeps then wakes one thread instead of two: the processor's own, which sees to
it and goes on with what it meant.  Whose descriptors those are has a thread of its own too, for when no processor
sleeps, and says at each sleep whether they are to be waited for (`begin_idle`).
"""

class Errand:
    """Something that an idle processor's thread may do."""

    ...
