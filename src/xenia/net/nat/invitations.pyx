"""Whom the host itself spoke to over UDP: a guest may answer, and so reaches ports of the host that it may not else.

Somebody on the host sends to a forwarded port; the guest's answer goes to a port of the host's that nobody named.  TCP
needs no such memory: only a SYN begins something.
"""

import os

from libc.stdint cimport int64_t, uint64_t
from xenia.net.parse cimport Headers, flow_hash

cdef enum:
    LASTS = 240                     # seconds: as long as libslirp keeps a socket that is not used (socket.h: SO_EXPIRE)

cdef int64_t NS = 1000000000


cdef class Invitations:
    """The latest ones."""

    def __init__(self) -> None:
        self.seed = int.from_bytes(os.urandom(4), "little")

    cdef uint64_t flow_of(self, const Headers *headers) noexcept nogil:
        return <uint64_t>flow_hash(headers, self.seed) << 32 | flow_hash(headers, ~self.seed)

    cdef void note(self, const Headers *headers, int64_t now) noexcept nogil:
        cdef uint64_t flow = self.flow_of(headers)
        self.flows[flow % INVITATIONS] = flow
        self.until[flow % INVITATIONS] = now + LASTS * NS

    cdef bint has(self, const Headers *headers, int64_t now) noexcept nogil:
        cdef uint64_t flow = self.flow_of(headers)
        return self.flows[flow % INVITATIONS] == flow and self.until[flow % INVITATIONS] > now
