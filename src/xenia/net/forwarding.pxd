# Where a bridge's frames go.  See forwarding.pyx.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from xenia.machine.lock cimport Lock
from xenia.net.addresses cimport Addresses, Owner
from xenia.net.frame cimport Frame
from xenia.net.pace cimport Pace
from xenia.net.port cimport Receiver

cdef enum:
    MOST_PORTS = 1024
    MOST_MIRRORS = 4
    NR_VLANS = 4096
    VLAN_BYTES = 512                # of a set of them

cdef enum:                          # why a frame was dropped; bridge.pyx has their names, in this order
    DROP_MALFORMED
    DROP_RESERVED
    DROP_VLAN
    DROP_MOVED
    DROP_LIMIT
    DROP_ISOLATED
    DROP_NOBODY
    DROP_UNANSWERED
    DROP_DEPTH
    DROP_UNTAKEN
    NR_DROPS

# A port as its bridge sees it.  What is not said to be set before it joins is guarded by the bridge's lock.
cdef struct Member:
    Owner owner                     # its addresses.  The first field: an owner is a member
    volatile uint32_t *inside       # of its port; set before
    Receiver *receiver              # the same
    bint isolated                   # the same
    bint mirror                     # the same
    uint16_t vlan                   # of untagged frames; 0: that of no number.  Set before
    uint8_t allowed[VLAN_BYTES]     # VLANs whose frames are tagged here; set before
    int64_t flood_interval          # ns between two frames for everybody, in the long run; set before
    Pace flood
    uint32_t number                 # of its port; set before
    void *policer                   # of what others send it, a Policer; NULL: it is no guest's.  Set before
    uint32_t place                  # by which others' policers know it
    bint joined
    uint64_t sent, sent_bytes       # by who is at it
    uint64_t delivered, delivered_bytes
    uint64_t flooded                # of those sent: to everybody
    uint64_t drops[NR_DROPS]


cdef class Switch:
    cdef Lock lock                  # "bridge": guards what follows, and is not held while frames are delivered
    cdef Addresses table
    cdef Member *members[MOST_PORTS]
    cdef int nr_members, nr_mirrors
    cdef uint32_t last_number       # of a port
    cdef void forward(self, Member *source, Frame *frames, int count) noexcept nogil
    cdef void count_drops(self, Member *member, int reason, int count) noexcept nogil
