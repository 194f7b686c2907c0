# Frames one by one through a descriptor.  See packet.pyx.
from libc.stdint cimport uint8_t
from xenia.net.frame cimport Frame
from xenia.net.link cimport Link


cdef class PacketLink(Link):
    cdef int polled                 # index of this round
    cdef uint8_t *arrived
    cdef bint receive(self) noexcept nogil
