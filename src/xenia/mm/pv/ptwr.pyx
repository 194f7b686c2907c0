"""Page-table writes: a guest kernel's stores to its own L1 tables, which it may only read.

Theory of operation.  A frame in use as a page table is mapped read-only, yet a guest kernel that asked for the assist
VMASST_TYPE_writable_pagetables may go on storing to its L1 tables as if they were its own memory: each store faults,
and is carried out here as the checked update of one entry that it amounts to.  A store the rules refuse, or one to a
table of a higher level, is the guest's page fault.

The assist once meant more.  Xen would *unhook* the written L1 table: take it out of the L2 entry that led to it, map it
writable for the guest, let it write at will, and check the whole table anew when the hole in the address space was next
stepped on.  That paid where entries changed by the hundred, but left a table half-trusted in between; guests came to
batch their changes (mmu_update, multicall), and Xen gave unhooking up for the emulation of single stores.  The assist's
name and number stayed, and what a guest can observe is the same: after a store, the entry reads back as stored.

The instruction is carried out on what the entry held, and then compared and swapped: a locked one is atomic, and an
accessed or dirty bit that a processor has set since is not lost.  Where there is one, the instruction is done again.

A store of a whole entry is checked as it is.  A smaller one is merged with what the entry holds, so that every
intermediate state of an entry written in halves must be one the guest may have.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from xenia.machine.machine cimport FRAME_L1, Frame, frame_exists, frame_words
from xenia.machine.paging cimport PAGE_OFFSET, PAGE_RW
from xenia.mm.memory cimport DomainMemory
from xenia.mm.pv.update cimport MMU_CHANGED, mod_entry
from xenia.mm.walk cimport Walk, entry_read, walk_start, walk_step


cdef bint ptwr_find(PvMmu *mmu, uint64_t root, uint64_t va, unsigned bytes, uint64_t *maddr) noexcept nogil:
    cdef DomainMemory *memory = mmu.memory
    cdef Walk walk
    cdef Frame *frame
    if not mmu.writable_pagetables or bytes > 8 or bytes & (bytes - 1) or va & (bytes - 1):
        return False
    walk_start(&walk, memory.machine, root, memory.levels, va)
    while walk.level:
        if not walk_step(&walk):
            return False
    if not frame_exists(memory.machine, walk.table):
        return False
    if walk.pte & PAGE_RW:      # read-only through an upper level alone: a linear mapping, not ours to write through
        return False
    frame = &memory.machine.frames[walk.table]
    maddr[0] = walk.table << 12 | va & PAGE_OFFSET
    return frame.owner == memory.domid and frame.type == FRAME_L1 and frame.type_refs != 0


cdef int ptwr_write(PvMmu *mmu, uint64_t maddr, unsigned bytes, uint64_t seen, uint64_t value) noexcept nogil:
    cdef unsigned index = (maddr & PAGE_OFFSET) >> 3
    cdef uint64_t old = entry_read(&frame_words(mmu.memory.machine, maddr >> 12)[index]), entry = old
    cdef uint64_t found = 0
    cdef int rc
    memcpy(&found, <uint8_t *>&old + (maddr & 7), bytes)
    if found != seen:
        return MMU_CHANGED
    memcpy(<uint8_t *>&entry + (maddr & 7), &value, bytes)
    rc = mod_entry(mmu, FRAME_L1, maddr >> 12, index, entry, False, False, &old)
    if rc == 0:
        mmu.nr_ptwr += 1
    return rc
