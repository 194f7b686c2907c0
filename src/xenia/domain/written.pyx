"""Frames of a domain that somebody else wrote to.

A processor that translates code keeps the translation until it sees the code change, and it sees only what its own guest writes.  So whoever
else writes to a frame that code was translated from (a disk's backend, a domain that maps a grant, a grant copy) leaves the frame's number and
kicks the vcpu, and only then tells the guest: the guest's processor obeys a kick before it runs another piece of code, and drops the
translations before it goes on.  It makes no difference to what the guest sees if code changes while it runs.
"""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from xenia.domain.events cimport domain_nudge
from xenia.machine.lock cimport lock, unlock

cdef enum:
    ROOM = 64


cdef void frame_written(Domain *domain, uint64_t mfn) noexcept nogil:
    cdef const unsigned char *code
    if domain.is_dying or domain.vcpu[0].processor == NULL:
        return
    code = domain.vcpu[0].processor.code_frames
    if code == NULL or not code[mfn >> 3] >> (mfn & 7) & 1:
        return
    if domain.nr_written < ROOM:
        domain.written[domain.nr_written] = mfn
    if domain.nr_written <= ROOM:
        domain.nr_written += 1
    domain_nudge(domain)


cdef void written_apply(Domain *domain) noexcept nogil:
    cdef const unsigned char *code = domain.vcpu[0].processor.code_frames
    cdef uint64_t written[ROOM]
    cdef uint64_t i, count
    lock(&domain.mmu.lock)
    count = domain.nr_written
    memcpy(written, domain.written, sizeof(written))
    domain.nr_written = 0
    unlock(&domain.mmu.lock)
    if count <= ROOM:
        for i in range(count):
            domain.mmu.processor.ops.code_dirty(domain.mmu.processor, written[i] << 12, 4096)
    else:
        for i in range(domain.machine.nr_frames):
            if code[i >> 3] >> (i & 7) & 1:
                domain.mmu.processor.ops.code_dirty(domain.mmu.processor, i << 12, 4096)
