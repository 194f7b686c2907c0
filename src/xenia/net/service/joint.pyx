"""Two ports, face to face: what comes out of one goes into the other.  What that does not take is dropped."""

from libc.stdint cimport uint64_t
from xenia.net.frame cimport Frame
from xenia.net.port cimport Port, Receiver


cdef class Joint:
    """Between two ports, at which it is until it is closed."""

    cdef Port one, other
    cdef uint64_t nr_dropped

    def __init__(self, Port one not None, Port other not None) -> None:
        cdef Receiver at_one, at_other
        self.one, self.other = one, other
        at_one.self, at_one.deliver, at_one.ready = <void *>self, from_one, no_matter
        at_other.self, at_other.deliver, at_other.ready = <void *>self, from_other, no_matter
        one.attach(&at_one)
        other.attach(&at_other)

    @property
    def dropped(self) -> int:
        """Frames that the other port did not take."""
        return self.nr_dropped

    def close(self) -> None:
        """Leave both."""
        with nogil:
            self.one.detach()
            self.other.detach()

    cdef void forward(self, Port target, Frame *frames, int count) noexcept nogil:
        self.nr_dropped += count - target.send(frames, count)


cdef void from_one(void *joint, Frame *frames, int count) noexcept nogil:
    (<Joint>joint).forward((<Joint>joint).other, frames, count)


cdef void from_other(void *joint, Frame *frames, int count) noexcept nogil:
    (<Joint>joint).forward((<Joint>joint).one, frames, count)


cdef void no_matter(void *joint) noexcept nogil:
    pass
