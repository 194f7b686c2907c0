"""Ports: where frames enter and leave a network.

A port has two sides.  Whoever is at it (a guest's card, a bridge, a layer) sends frames into it, and is given those
that come out of it.  What lies behind is the subclass: a link to the host or elsewhere, a bridge's port, a layer over
another port.  Whoever attached itself is told by no lock but by a count of the calls under way, so that ports may be
chained in any order, and nothing is held while frames are delivered but what the sender holds itself.
"""

from xenia.net.frame cimport Frame


cdef class Port:
    """A port with nothing behind it: what is sent is taken, and gone."""

    def __cinit__(self):
        self.inside = PORT_CLOSED

    def close(self) -> None:
        """Let go of what lies behind.  Again does nothing.  Precondition: nobody is at the port."""

    cdef int send(self, Frame *frames, int count) noexcept nogil:
        return count

    cdef void attach(self, Receiver *receiver) noexcept nogil:
        self.receiver = receiver[0]
        port_open(&self.inside)

    cdef void detach(self) noexcept nogil:
        port_close(&self.inside)

    cdef void deliver(self, Frame *frames, int count) noexcept nogil:
        if port_enter(&self.inside):
            self.receiver.deliver(self.receiver.self, frames, count)
            port_leave(&self.inside)

    cdef void ready(self) noexcept nogil:
        if port_enter(&self.inside):
            self.receiver.ready(self.receiver.self)
            port_leave(&self.inside)
