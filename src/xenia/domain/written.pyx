"""Frames of a domain that somebody else wrote to.

A processor that translates code keeps the translation until it sees the code change, and it sees only what its own
guest writes.  So whoever else writes to a frame that code was translated from (a disk's backend, a domain that maps a
grant, a grant copy) leaves the frame's number and kicks the vcpu, and only then tells the guest: the guest's processor
obeys a kick before it runs another piece of code, and drops the translations before it goes on.  It makes no difference
to what the guest sees if code changes while it runs.  Where a domain has several processors, each has a mailbox for
that (cpu/processor).
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from xenia.cpu.processor cimport Processor, processor_has_code
from xenia.domain.domain cimport WRITTEN_ROOM
from xenia.domain.upcall cimport vcpu_nudge
from xenia.machine.lock cimport lock, unlock
from xenia.machine.paging cimport PAGE_SIZE
from xenia.mm.memory cimport mm_dirty, mm_forget_code


cdef void frame_written(Domain *domain, uint64_t mfn) noexcept nogil:
    mm_dirty(&domain.memory, mfn)
    if domain.life.is_dying or not is_code(domain, mfn):
        return
    if domain.memory.nr_processors > 1:
        mm_forget_code(&domain.memory, mfn << 12, PAGE_SIZE)
        return
    if domain.written.nr < WRITTEN_ROOM:
        domain.written.frames[domain.written.nr] = mfn
    if domain.written.nr <= WRITTEN_ROOM:
        domain.written.nr += 1
    vcpu_nudge(domain.vcpus[0])


cdef bint is_code(Domain *domain, uint64_t mfn) noexcept nogil:
    cdef Processor *processor
    cdef uint32_t id
    for id in range(domain.nr_vcpus):
        processor = domain.vcpus[id].processor
        if processor != NULL and processor_has_code(processor, mfn << 12, PAGE_SIZE):
            return True
    return False


cdef void written_apply(Domain *domain) noexcept nogil:
    cdef uint64_t written[WRITTEN_ROOM]
    cdef uint64_t count, i
    lock(&domain.memory.lock)
    count = domain.written.nr
    memcpy(written, domain.written.frames, sizeof(written))
    domain.written.nr = 0
    unlock(&domain.memory.lock)
    if count <= WRITTEN_ROOM:
        for i in range(count):
            mm_forget_code(&domain.memory, written[i] << 12, PAGE_SIZE)
    else:
        for i in range(domain.machine.free.fresh):
            if is_code(domain, i):
                mm_forget_code(&domain.memory, i << 12, PAGE_SIZE)
