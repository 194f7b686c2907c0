# A switch in this process.  See bridge.pyx.
from libc.stdint cimport uint32_t
from xenia.net.forwarding cimport Member, Switch
from xenia.net.policer cimport Policer
from xenia.net.port cimport Port

cdef class Bridge
cdef class Joint


cdef class BridgePort(Port):
    cdef readonly str name
    cdef Bridge bridge
    cdef Joint joint                # what is plugged in, if that is another port
    cdef Member member
    cdef Policer policer            # of what other guests send it; None: it is no guest's
    cdef uint32_t promised          # addresses that it may have


cdef class Bridge(Switch):
    cdef dict members_by_name       # type: dict[str, BridgePort]
    cdef uint32_t promised          # addresses that all may have
    cdef enter(self, BridgePort port, list fixed)
    cdef void find_place(self, Member *member) noexcept nogil
    cdef leave(self, BridgePort port)


cdef class Joint:
    cdef readonly BridgePort inner
    cdef readonly Port outer
