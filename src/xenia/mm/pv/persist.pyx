"""A PV domain's memory as a value, and back again.

Theory of operation.  A PV guest knows machine frames: its page tables name them.  A saved guest gets other ones, so
frame numbers are replaced by page numbers (pfns) wherever Xen knows that they are frame numbers: in the entries of what
is a page table now, by its type.  What page a frame is says the M2P; it is the guest's to write, so it is believed only
where it gives each frame of the domain a number of its own.  An entry that names a frame of another domain, or of
Xen's, cannot be saved: a guest that suspends itself has unmapped those before (grants, shared_info), and one that has
not is refused.

On the way back nothing that was saved is believed either.  All of it is written into frames that are ordinary memory
still, page numbers replaced by the new frames, and only then are page tables pinned as by a guest's own request:
validated, entry by entry (pvmmu).  So what was damaged, or forged, is refused there.
"""

from array import array

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcmp, memcpy

from xenia.machine.lock cimport give_way, lock, unlock
from xenia.machine.machine cimport (
    FRAME_ALLOCATED, FRAME_L1, FRAME_L4, FRAME_PINNED, FRAME_SHARED, FRAME_VALIDATED, Frame, frame_exists, frame_words,
)
from xenia.machine.paging cimport PAGE_PRESENT, PAGE_SIZE, TABLE_ENTRIES
from xenia.mm.memory cimport DomainMemory
from xenia.mm.pv.pvmmu cimport is_guest_l4_slot
from xenia.mm.references cimport get_page_and_type
from xenia.mm.walk cimport pte_mfn

from xenia.errors import ConfigError
from xenia.mm.pv import saved as _saved
from xenia.mm.pv.saved import SavedMemory

cdef uint64_t ADDRESS = <uint64_t>0xffffffffff << 12
cdef uint64_t NONE = <uint64_t>-1
cdef uint64_t MAX_PAGES = <uint64_t>1 << 28     # 1 TiB
cdef uint8_t PINNED = _saved.PINNED
cdef uint8_t ZEROES = _saved.ZEROES
cdef uint64_t[TABLE_ENTRIES] ZERO_PAGE
# All that may be said of a page.
KINDS = {level | pin | zero for level in range(5) for pin in (0, PINNED) for zero in (0, ZEROES) if level or not pin}


cdef inline bint is_own(DomainMemory *memory, uint64_t mfn) noexcept nogil:
    # Memory of the domain's, and not what Xen shares with it.
    cdef Frame *frame = &memory.machine.frames[mfn]
    return frame.owner == memory.domid and frame.refs != 0 and frame.type != FRAME_SHARED


cdef inline int level_of(DomainMemory *memory, uint64_t mfn) noexcept nogil:
    cdef Frame *frame = &memory.machine.frames[mfn]
    if frame.type_refs and frame.flags & FRAME_VALIDATED and FRAME_L1 <= frame.type <= FRAME_L4:
        return frame.type
    return 0


# --- saved ---


cdef object pages_of(DomainMemory *memory):
    cdef uint64_t mfn, pfn, bad = NONE, limit = memory.machine.nr_frames + memory.max_pages
    cdef uint64_t[::1] pages
    found = array("Q", bytes(8 * limit))
    pages = found
    with nogil:
        lock(&memory.lock)
        for mfn in range(memory.machine.nr_frames):
            if mfn % 512 == 0:
                give_way(&memory.lock)
            if not is_own(memory, mfn):
                continue
            pfn = memory.machine.m2p[mfn]
            if pfn >= limit or pages[pfn] or not memory.machine.frames[mfn].flags & FRAME_ALLOCATED:
                bad = mfn
                break
            pages[pfn] = mfn
        unlock(&memory.lock)
    if bad != NONE:
        raise ConfigError(f"the guest cannot be saved: its frame {bad:#x} has no page number of its own")
    return found


cdef object memory_save(DomainMemory *memory, uint64_t[::1] pages):
    # Backends may write to pages that the guest granted them all the while: what is a page of zeroes is decided once.
    cdef uint64_t pfn, count = 0, filled = 0, bad = NONE
    cdef uint64_t[::1] numbers
    cdef uint8_t[::1] types, contents
    with nogil:
        for pfn in range(<uint64_t>pages.shape[0]):
            count += pages[pfn] != 0
    if count == 0:
        return SavedMemory(memory.max_pages, b"", b"", b"")
    pfns, kinds = array("Q", bytes(8 * count)), bytearray(count)
    numbers, types = pfns, kinds
    count = 0
    with nogil:
        for pfn in range(<uint64_t>pages.shape[0]):
            if pages[pfn]:
                numbers[count] = pfn
                if memcmp(frame_words(memory.machine, pages[pfn]), ZERO_PAGE, PAGE_SIZE) == 0:
                    types[count] = ZEROES
                else:
                    filled += 1
                count += 1
    stored = bytearray(filled * PAGE_SIZE)
    contents = stored
    count = filled = 0
    with nogil:
        lock(&memory.lock)
        for pfn in range(<uint64_t>pages.shape[0]):
            if not pages[pfn]:
                continue
            types[count] |= level_of(memory, pages[pfn])
            if memory.machine.frames[pages[pfn]].flags & FRAME_PINNED:
                types[count] |= PINNED
            if types[count] & ZEROES:
                pass
            elif not save_page(memory, pages[pfn], types[count] & 7, pages, <uint64_t *>&contents[filled * PAGE_SIZE]):
                bad = pfn
                break
            else:
                filled += 1
            count += 1
            give_way(&memory.lock)
        unlock(&memory.lock)
    if bad != NONE:
        raise ConfigError(f"the guest cannot be saved: the page table in its page {bad:#x} maps a frame of others")
    return SavedMemory(memory.max_pages, pfns.tobytes(), bytes(kinds), bytes(stored))


cdef bint save_page(DomainMemory *memory, uint64_t mfn, int level, uint64_t[::1] pages,
                    uint64_t *target) noexcept nogil:
    cdef uint64_t entry, other, pfn
    cdef unsigned i
    memcpy(target, frame_words(memory.machine, mfn), PAGE_SIZE)
    if not level:
        return True
    for i in range(TABLE_ENTRIES):
        if level == FRAME_L4 and not is_guest_l4_slot(i):
            target[i] = 0
            continue
        entry = target[i]
        if not entry & PAGE_PRESENT:
            continue
        other = pte_mfn(entry)
        if not frame_exists(memory.machine, other) or not is_own(memory, other):
            return False
        pfn = memory.machine.m2p[other]
        if pfn >= <uint64_t>pages.shape[0] or pages[pfn] != other:
            return False
        target[i] = entry & ~ADDRESS | pfn << 12
    return True


# --- restored ---


cdef object memory_restore(DomainMemory *memory, object saved, uint64_t[::1] frames):
    cdef const uint64_t[::1] pfns
    cdef const uint8_t[::1] types = saved.types, contents = saved.contents
    cdef uint64_t[::1] pages
    cdef uint64_t i, count = frames.shape[0], filled = 0, limit, bad = NONE
    numbers = array("Q", saved.pfns)
    if (not count <= saved.max_pages <= MAX_PAGES or len(numbers) != count or len(saved.types) != count
            or any(kind not in KINDS for kind in set(saved.types))
            or len(saved.contents) != PAGE_SIZE * sum(not kind & ZEROES for kind in saved.types)):
        raise ConfigError("the saved guest is damaged: its pages are not as it says")
    limit = min(memory.machine.nr_frames + saved.max_pages, max(numbers, default=0) + 1)
    found = array("Q", bytes(8 * limit))
    if count == 0:
        return found
    pages, pfns = found, numbers
    with nogil:
        for i in range(count):
            if pfns[i] >= limit or pages[pfns[i]]:
                bad = i
                break
            pages[pfns[i]] = frames[i]
            memory.machine.m2p[frames[i]] = pfns[i]
        for i in range(count if bad == NONE else 0):
            if types[i] & ZEROES:
                continue
            if not restore_page(frame_words(memory.machine, frames[i]), types[i] & 7, pages,
                                <const uint64_t *>&contents[filled * PAGE_SIZE]):
                bad = i
                break
            filled += 1
    if bad != NONE:
        raise ConfigError(f"the saved guest is damaged: page {numbers[bad]:#x} cannot be")
    return found


cdef bint restore_page(uint64_t *target, int level, uint64_t[::1] pages, const uint64_t *source) noexcept nogil:
    cdef uint64_t pfn
    cdef unsigned i
    memcpy(target, source, PAGE_SIZE)
    if not level:
        return True
    for i in range(TABLE_ENTRIES):
        if not target[i] & PAGE_PRESENT:
            continue
        pfn = pte_mfn(target[i])
        if pfn >= <uint64_t>pages.shape[0] or not pages[pfn]:
            return False
        target[i] = target[i] & ~ADDRESS | pages[pfn] << 12
    return True


cdef int memory_pin(DomainMemory *memory, object saved, uint64_t[::1] frames) except -1:
    # A table that maps another of its level (a linear page table) comes after that one: what is refused may only be too
    # early.
    cdef uint64_t mfn
    cdef int rc, level
    waiting = [i for i, kind in enumerate(saved.types) if kind & PINNED]
    while waiting:
        refused = []
        for i in waiting:
            mfn, level = frames[i], saved.types[i] & 7
            with nogil:
                lock(&memory.lock)
                rc = get_page_and_type(memory, mfn, level)
                if rc == 0:
                    memory.machine.frames[mfn].flags |= FRAME_PINNED
                unlock(&memory.lock)
            if rc:
                refused.append(i)
        if len(refused) == len(waiting):
            raise ConfigError(f"the saved guest is damaged: {len(refused)} of its page tables do not validate")
        waiting = refused
    return 0
