"""VLAN tags that come or go on the way through a bridge: the frame is delivered with a head of the bridge's own."""

from libc.stdint cimport uint8_t, uint16_t
from xenia.net.frame cimport Frame
from xenia.net.head cimport OwnFrame, own_frame, own_tag, own_untag
from xenia.net.parse cimport ETHERTYPE_QINQ, ETHERTYPE_VLAN, big16, put16
from xenia.net.port cimport Receiver

cdef enum:
    AT_ONCE = 8
    VID = 0xFFF


cdef int tag_of(const Frame *frame, uint16_t *vlan) noexcept nogil:
    cdef const uint8_t *bytes = <const uint8_t *>frame.parts[0].iov_base
    vlan[0] = 0
    if big16(bytes + 12) != ETHERTYPE_VLAN:
        return TAG_NONE
    if frame.length < 18:
        return -1
    vlan[0] = big16(bytes + 14) & VID
    return TAG_VLAN if vlan[0] else TAG_PRIORITY


cdef Change change_for(Tag tag, uint16_t vlan, uint16_t untagged) noexcept nogil:
    if vlan != untagged:
        return KEEP if tag == TAG_VLAN else RENUMBER if tag == TAG_PRIORITY else ADD
    return STRIP if vlan and tag != TAG_NONE else KEEP


cdef int deliver_changed(Receiver *to, const Frame *frames, int count, Change change, uint16_t vlan) noexcept nogil:
    cdef OwnFrame own[AT_ONCE]
    cdef Frame made[AT_ONCE]
    cdef int index, nr_made = 0, failed = 0
    for index in range(count):
        if changed(&own[nr_made], &frames[index], change, vlan):
            made[nr_made] = own[nr_made].frame
            nr_made += 1
        else:
            failed += 1
        if nr_made == AT_ONCE or (index == count - 1 and nr_made):
            to.deliver(to.self, made, nr_made)
            nr_made = 0
    return failed


# A tag behind the one that is taken away would be taken for it: no VLAN is left so for another.
cdef bint changed(OwnFrame *own, const Frame *frame, Change change, uint16_t vlan) noexcept nogil:
    cdef uint8_t *head
    cdef uint16_t behind
    if not own_frame(own, frame):
        return False
    head = <uint8_t *>own.parts[0].iov_base
    if change == ADD:
        own_tag(own, vlan)
        return True
    behind = big16(head + 16)
    if behind == ETHERTYPE_VLAN or (behind == ETHERTYPE_QINQ and change == STRIP):
        return False
    if change == STRIP:
        own_untag(own)
    else:
        put16(head + 14, (big16(head + 14) & ~VID) | vlan)
    return True
