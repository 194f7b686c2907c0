"""Two networks tied together, for tests: what comes out of one port is sent into the other."""

from xenia.net.frame cimport Frame
from xenia.net.port cimport Port, Receiver


cdef class Tie:
    """Between two ports, at each of which it is; what the far one does not take is lost."""

    cdef Port one, other
    cdef unsigned long _lost

    def __init__(self, Port one not None, Port other not None) -> None:
        cdef Receiver receiver
        self.one, self.other = one, other
        receiver.self, receiver.ready = <void *>self, ready
        receiver.deliver = there
        one.attach(&receiver)
        receiver.deliver = back
        other.attach(&receiver)

    def close(self) -> None:
        """Leave both."""
        with nogil:
            self.one.detach()
            self.other.detach()

    @property
    def lost(self) -> int:
        """Frames that were not taken."""
        return self._lost

    cdef void carry(self, bint back, Frame *frames, int count) noexcept nogil:
        if back:
            self._lost += count - self.one.send(frames, count)
        else:
            self._lost += count - self.other.send(frames, count)


cdef void there(void *tie, Frame *frames, int count) noexcept nogil:
    (<Tie>tie).carry(False, frames, count)


cdef void back(void *tie, Frame *frames, int count) noexcept nogil:
    (<Tie>tie).carry(True, frames, count)


cdef void ready(void *tie) noexcept nogil:
    pass
