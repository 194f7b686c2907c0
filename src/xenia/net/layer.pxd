# Layers: ports over other ports.  See layer.pyx.
from libc.stdint cimport uint64_t
from xenia.machine.lock cimport Lock
from xenia.net.frame cimport Frame
from xenia.net.port cimport Port, Receiver

cdef enum:                          # which way a frame goes
    INWARD = 0                      # to who is at the port: a guest
    OUTWARD = 1                     # to the network

cdef enum:
    PASS = 0                        # a frame goes on; other verdicts are the index of a reason in `reasons`, and 1
    MOST_REASONS = 16


cdef class Layer(Port):
    cdef readonly Port lower
    cdef volatile bint off          # it does nothing for now, and frames pass
    cdef Lock lock                  # for subclasses: what they know and hold back
    cdef uint64_t dropped[2][MOST_REASONS]

    # What becomes of a frame: PASS, or why it is dropped, which is counted once it is.  One that whoever is below does
    # not take yet comes again.  On any thread, with no lock of a layer's held.
    cdef int judge(self, Frame *frame, int direction) noexcept nogil
    # Whether frames that go INWARD concern it; where not, they go past it.  Asked in `attach`.
    cdef bint looks_inward(self) noexcept nogil
    cdef void came(self, Frame *frames, int count) noexcept nogil       # from below
    # What `deliver` does, where the call comes from below: the port below counts it, and `detach` waits for that one.
    cdef void hand_on(self, Frame *frames, int count) noexcept nogil
    cdef void lower_ready(self) noexcept nogil                          # the port below takes again
    cdef void drop(self, int direction, int reason) noexcept nogil      # count one
