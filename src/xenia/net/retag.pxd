# VLAN tags that come or go on the way through a bridge.  See retag.pyx.
from libc.stdint cimport uint16_t
from xenia.net.frame cimport Frame
from xenia.net.port cimport Receiver

cdef enum Tag:                      # what a frame has (IEEE 802.1Q)
    TAG_NONE
    TAG_PRIORITY                    # one that names no VLAN
    TAG_VLAN

cdef enum Change:
    KEEP
    ADD
    RENUMBER
    STRIP


# The outermost tag of a frame of LEAST_BYTES at least, and its VLAN's number; -1: it is cut off.
cdef int tag_of(const Frame *frame, uint16_t *vlan) noexcept nogil
# What a frame of `vlan` with such a tag needs at a port whose untagged frames are those of `untagged`.
cdef Change change_for(Tag tag, uint16_t vlan, uint16_t untagged) noexcept nogil
# Deliver frames with their tags so changed; how many could not be.
cdef int deliver_changed(Receiver *to, const Frame *frames, int count, Change change, uint16_t vlan) noexcept nogil
