"""Which frames may be executed natively where the host's processor does not hide CPUID.

Theory of operation.  Without CPUID faulting nobody is told of a CPUID that runs natively.  So a page in which its two
bytes stand is executed in a stub where they are part of a displacement, by a copy in which they are undefined where
they are that instruction, and else not at all (scan.h); nor is one that begins with the second of them, whose
predecessor may end with the first.  What is not executed there is for the emulated processor, as all else is that a
stub cannot run.  A frame has one copy, for as long as it is clean.

That a page may be executed (it is *clean*) is found out once, and holds as long as nobody writes to it.  So what is
executable is never writable at the same time, at any address in any stub, and whoever else may write to the frame is
seen to:

  - a stub's own code: it does not store there, but the emulated processor for it; then the page may be mapped
    writable, and is looked at again before it is executable again.
  - the emulated processor, which runs the guest's kernel and what of user code is emulated: a frame that was looked at
    is to it as one that it translated code from (`code_frames`).  It tells before it stores there (`on_forgotten`), and
    the frame is executable nowhere before the store is done.
  - Xenia on the processor's own thread: the same, when it tells of what it wrote; user code runs afterwards.  Where
    there are other processors it is lent to Xenia meanwhile (mm/memory).
  - other processors of the domain's: they watch it as well, from before it is looked at (emulated/code.c), and whoever
    of them is about to store there waits until it is executable nowhere else.
  - others, by a reference that lets them write: backends, other domains, Xenia's other threads.  They tell before they
    have it (`frame_lent`), and such a frame is not executable while there is one (Frame.lent).
  - page tables, which are Xenia's to write, frames that Xenia shares with the guest, and frames of other domains are
    never executable.

In which order: the frame is watched, then it is mapped writable nowhere, then it is said to be looked at, then it is
asked whether it is lent or of another kind, then it is looked at.  Who lends it, or makes it a page table, says so
first, and then asks whether it is looked at: if so he waits for the lock, and it is so no longer.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from xenia.cpu.engines.emulated.code cimport announce_code, is_announced, is_being_stored_to
from xenia.cpu.engines.emulated.emulator cimport Emulator
from xenia.cpu.engines.native.mapping cimport (
    AROUND, FRAME_MASK, PLACE_EXECUTABLE, PLACE_SHIFT, PLACE_WRITABLE, mapping_take, read_entry,
)
from xenia.cpu.engines.native.stub cimport NR_COPIES
from xenia.cpu.processor cimport EVERY_FRAME, PFEC_FETCH, full_barrier
from xenia.machine.lock cimport lock, unlock
from xenia.machine.machine cimport FRAME_NONE, FRAME_WRITABLE, Frame
from xenia.machine.paging cimport PAGE_ACCESSED, PAGE_NX, PAGE_PRESENT, PAGE_RW, PAGE_SIZE

cdef extern from "scan.h":
    enum:
        PAGE_CLEAN, PAGE_PATCHABLE
    int scan_next(const uint8_t *page, int length, int at) noexcept nogil
    int page_look(const uint8_t *page, int length) noexcept nogil
    void page_patch(uint8_t *page, int length) noexcept nogil


cdef inline bint is_own_memory(const Mapping *mapping, const Found *found, uint64_t mfn) noexcept nogil:
    # Ordinary memory of the domain that the address space is of, which nobody else may write to.
    cdef const Frame *frame = &mapping.frames[mfn]
    return (frame.owner == mapping.frames[found.root].owner and frame.lent == 0
            and (frame.type == FRAME_NONE or frame.type == FRAME_WRITABLE))


cdef bint executable_is(const Mapping *mapping, const Found *found, uint64_t mfn) noexcept nogil:
    return mapping.looked == NULL or mapping.looked[mfn] == LOOKED_CLEAN and is_own_memory(mapping, found, mfn)


cdef bint executable_since(const Mapping *mapping, const Found *found, uint32_t index, uint64_t mfn) noexcept nogil:
    cdef uint32_t place = found.leaf.frames[index]
    return (mapping.looked != NULL and not place & PLACE_EXECUTABLE and place >> PLACE_SHIFT == mfn
            and not (found.nx | read_entry(&found.entries[index])) & PAGE_NX and executable_is(mapping, found, mfn))


cdef inline bint is_to_be_looked_at(Mapping *mapping, const Found *found, uint32_t index, uint32_t wanted,
                                    uint32_t access) noexcept nogil:
    # What may be written as well is not, unless it is executed now: it would be mapped so, and then so again.
    cdef uint64_t pte = read_entry(&found.entries[index]), mfn = pte >> 12 & FRAME_MASK
    if not pte & PAGE_PRESENT or (pte | found.nx) & PAGE_NX or mfn >= mapping.nr_frames:
        return False
    if mapping.looked[mfn] != LOOKED_NOT or not is_own_memory(mapping, found, mfn):
        return False
    if index == wanted and access & PFEC_FETCH:
        return True
    return (pte & PAGE_ACCESSED or index == wanted) and not found.rights & pte & PAGE_RW and not mapping.writable[mfn]


cdef bint executable_look(Mapping *mapping, Stub *stub, const Found *found, uint32_t wanted, uint32_t access,
                          Unwatched *unwatched) noexcept nogil:
    cdef Emulator *engine = <Emulator *>mapping.processor
    cdef uint32_t first = wanted // AROUND * AROUND, nr = 0, index, i
    cdef uint64_t mfns[AROUND]
    cdef uint64_t mfn, asked = read_entry(&found.entries[wanted]) >> 12 & FRAME_MASK
    unwatched.nr = 0
    for index in range(first, first + AROUND):
        if is_to_be_looked_at(mapping, found, index, wanted, access):
            mfn = read_entry(&found.entries[index]) >> 12 & FRAME_MASK
            if not is_watched(engine, mfn):
                unwatched.mfns[unwatched.nr] = mfn
                unwatched.nr += 1
            if mapping.writable[mfn]:
                mapping_take(mapping, mfn, PLACE_WRITABLE)
            mfns[nr] = mfn
            nr += 1
    if unwatched.nr or nr and stub.arena.owing:
        return False
    for i in range(nr):
        mapping.looked[mfns[i]] = LOOKED_TAINTED
    full_barrier()
    for i in range(nr):
        if (not is_own_memory(mapping, found, mfns[i]) or engine.processor.shared
                and (not is_announced(engine, mfns[i]) or is_being_stored_to(engine, mfns[i]))
                or not is_soon_seen(mapping, mfns[i]) and mfns[i] != asked):
            executable_drop(mapping, mfns[i])
        elif mapping.looked[mfns[i]] == LOOKED_TAINTED and is_executable(mapping, mfns[i]):
            mapping.looked[mfns[i]] = LOOKED_CLEAN
    return True


cdef inline bint is_soon_seen(const Mapping *mapping, uint64_t mfn) noexcept nogil:
    # Others wait for the lock: one page is looked at closely, and those around it when they are wanted themselves.
    return scan_next(mapping.memory + (mfn << 12), PAGE_SIZE, 0) == PAGE_SIZE


cdef bint is_executable(Mapping *mapping, uint64_t mfn) noexcept nogil:
    # As it is or by a copy.  A copy that was another frame's is mapped nowhere any more: nothing is owed.
    cdef const uint8_t *page = mapping.memory + (mfn << 12)
    cdef int verdict = page_look(page, PAGE_SIZE)
    cdef uint8_t *copy
    cdef uint32_t i
    if verdict != PAGE_PATCHABLE:
        return verdict == PAGE_CLEAN
    for i in range(NR_COPIES):
        if not mapping.copied[i]:
            copy = mapping.copies + i * <uint64_t>PAGE_SIZE
            memcpy(copy, page, PAGE_SIZE)
            page_patch(copy, PAGE_SIZE)
            if page_look(copy, PAGE_SIZE) != PAGE_CLEAN:
                return False
            mapping.copied[i] = True
            mapping.copy[mfn] = <uint16_t>(i + 1)
            return True
    return False


cdef inline bint is_watched(const Emulator *engine, uint64_t mfn) noexcept nogil:
    if engine.processor.shared:
        return is_announced(engine, mfn)
    return engine.interposed.code_frames[mfn >> 3] >> (mfn & 7) & 1


cdef void executable_watch(Mapping *mapping, const Unwatched *unwatched) noexcept nogil:
    cdef Emulator *engine = <Emulator *>mapping.processor
    cdef uint32_t i
    if engine.processor.shared and unwatched.nr:
        announce_code(engine, unwatched.mfns, unwatched.nr)     # and who stored there since took it back
    elif unwatched.nr:
        for i in range(unwatched.nr):
            engine.interposed.code_frames[unwatched.mfns[i] >> 3] |= 1 << (unwatched.mfns[i] & 7)
    if unwatched.nr:
        mapping.watch_code(mapping.processor, EVERY_FRAME)


cdef void executable_drop(Mapping *mapping, uint64_t mfn) noexcept nogil:
    mapping.looked[mfn] = LOOKED_NOT
    if mapping.mapped[mfn]:
        mapping_take(mapping, mfn, PLACE_EXECUTABLE)
    if mapping.copy[mfn]:
        mapping.copied[mapping.copy[mfn] - 1] = False
        mapping.copy[mfn] = 0


cdef bint executable_forget(Mapping *mapping, uint64_t mfn) noexcept nogil:
    if mapping.looked == NULL or mapping.looked[mfn] == LOOKED_NOT:
        return False
    lock(&mapping.lock)
    executable_drop(mapping, mfn)
    unlock(&mapping.lock)
    return True
