"""A slow network under a clock that stands still."""

from libc.stdint cimport int64_t
from xenia.net.layer cimport INWARD, OUTWARD
from xenia.net.layers.netem cimport Netem
from xenia.net.port cimport Port

from xenia.net.layers.words import NetemSpec


cdef class StillNetem(Netem):
    """Its time passes only when it is told to; nothing wakes it else."""

    cdef int64_t time

    def __init__(self, Port lower not None, spec: NetemSpec) -> None:
        self.time = 1000000000000
        Netem.__init__(self, lower, spec, timed=False)

    def advance(self, int64_t nanoseconds) -> None:
        """Let so much time pass, and stop wherever there is something to do on the way."""
        cdef int64_t end = self.time + nanoseconds, when
        with nogil:
            while True:
                when = self.next_look()
                if when > end:
                    break
                self.time = max(self.time, when)
                self.drain(INWARD)
                self.drain(OUTWARD)
            self.time = end

    cdef int64_t now(self) noexcept nogil:
        return self.time
