"""What a core dump takes of a domain: its own frames, its vcpus' registers, its shared_info.

A frame is the domain's own as long as the frame table says so and the M2P has the number that the domain knows it by,
which is looked at again whenever it is copied, with the domain's memory locked.  So what it maps of others, and what it
has given away since, is in no dump; nor are frames that Xen shares with it.
"""

from array import array

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memcmp, memcpy

from xenia.abi.xen cimport vcpu_guest_context_t
from xenia.domain.domain cimport Domain
from xenia.domain.pv.guest_context cimport guest_context_give
from xenia.hypervisor.domain cimport DomainHandle
from xenia.machine.lock cimport lock, unlock
from xenia.machine.machine cimport FRAME_L1, FRAME_L4, FRAME_SHARED, FRAME_VALIDATED, Frame, Machine, frame_words
from xenia.machine.paging cimport PAGE_PRESENT, PAGE_SIZE, TABLE_ENTRIES

cdef enum:
    FRAMES_AT_ONCE = 65536      # of the frame table, with the memory locked
    BATCH_FRAMES = 64           # copied with the memory locked
    XEN_L4_FIRST = 256          # entries of an L4 that are Xen's
    XEN_L4_AFTER = 272
    NOTE_HEAD = 12 + 11 + 1     # a note's sizes and type, and its name

cdef extern from *:
    """
    #define XENIA_MOST_PFNS (1ULL << 32)
    #define XENIA_PTE_FRAME 0x000ffffffffff000ULL
    """
    const uint64_t MOST_PFNS "XENIA_MOST_PFNS"
    const uint64_t PTE_FRAME "XENIA_PTE_FRAME"

BATCH = BATCH_FRAMES

cdef enum:                      # what became of a frame that was to be copied
    IS_GONE                     # it is not the domain's any more
    IS_EMPTY                    # zeros
    IS_FULL
    IS_NOTE                     # it begins as Linux's VMCOREINFO does

GONE = IS_GONE
EMPTY = IS_EMPTY
NOTE = IS_NOTE

cdef struct Place:
    uint64_t pfn
    uint64_t mfn


cdef inline bint is_own(Domain *domain, uint64_t mfn) noexcept nogil:
    cdef Frame *frame = &domain.machine.frames[mfn]
    return (frame.refs != 0 and frame.owner == domain.domid and frame.type != FRAME_SHARED
            and domain.machine.m2p[mfn] < MOST_PFNS)


cdef uint64_t list_frames(Domain *domain, Place *places, uint64_t room) noexcept nogil:
    cdef uint64_t first = 0, mfn, nr = 0
    while first < domain.machine.nr_frames and nr < room:
        lock(&domain.memory.lock)
        if not domain.life.is_dying:
            for mfn in range(first, min(first + FRAMES_AT_ONCE, domain.machine.nr_frames)):
                if is_own(domain, mfn) and nr < room:
                    places[nr].pfn, places[nr].mfn = domain.machine.m2p[mfn], mfn
                    nr += 1
        unlock(&domain.memory.lock)
        first += FRAMES_AT_ONCE
    return nr


cdef int by_pfn(const void *one, const void *other) noexcept nogil:
    cdef uint64_t a = (<const Place *>one).pfn, b = (<const Place *>other).pfn
    return (a > b) - (a < b)


def own_frames(DomainHandle handle) -> tuple[array[int], array[int]]:
    """The domain's frames by their pseudo-physical numbers, ascending: those, and the machine frames.

    Where a domain says of two frames that they are the same one, it is one of them.
    """
    cdef uint64_t room = handle.domain.memory.tot_pages + 1, nr, i, kept = 0
    cdef Place *places = <Place *>malloc(room * sizeof(Place))
    cdef uint64_t[::1] to_pfns, to_mfns
    if places == NULL:
        raise MemoryError
    try:
        with nogil:
            nr = list_frames(handle.domain, places, room)
            qsort(places, nr, sizeof(Place), by_pfn)
            for i in range(nr):
                if kept == 0 or places[i].pfn != places[kept - 1].pfn:
                    places[kept] = places[i]
                    kept += 1
        pfns, mfns = array("Q", bytes(8 * kept)), array("Q", bytes(8 * kept))
        if kept:
            to_pfns, to_mfns = pfns, mfns
            for i in range(kept):
                to_pfns[i], to_mfns[i] = places[i].pfn, places[i].mfn
    finally:
        free(places)
    return pfns, mfns


cdef inline bint is_empty(const uint8_t *page) noexcept nogil:
    return (<const uint64_t *>page)[0] == 0 and memcmp(page, page + 8, PAGE_SIZE - 8) == 0


cdef inline bint is_note(const uint8_t *page) noexcept nogil:
    # An ELF note of that name with type 0; what it holds begins with the kernel's release.
    cdef const uint32_t *words = <const uint32_t *>page
    return (words[0] == 11 and words[2] == 0 and memcmp(page + 12, b"VMCOREINFO", 11) == 0
            and memcmp(page + NOTE_HEAD, b"OSRELEASE=", 10) == 0)


cdef void translate(Domain *domain, uint64_t mfn, uint64_t *entries) noexcept nogil:
    # The entries of a page table name the domain's frames as it numbers them; those that map anything else are none.
    cdef Frame *frame = &domain.machine.frames[mfn]
    cdef uint64_t i, target
    if not FRAME_L1 <= frame.type <= FRAME_L4 or frame.type_refs == 0 or not frame.flags & FRAME_VALIDATED:
        return
    for i in range(TABLE_ENTRIES):
        if not entries[i] & PAGE_PRESENT:
            continue
        target = (entries[i] & PTE_FRAME) >> 12
        if frame.type == FRAME_L4 and XEN_L4_FIRST <= i < XEN_L4_AFTER:
            entries[i] = 0
        elif target >= domain.machine.nr_frames or not is_own(domain, target):
            entries[i] = 0
        else:
            entries[i] = entries[i] & ~PTE_FRAME | domain.machine.m2p[target] << 12


cdef int copy_frame(Domain *domain, uint64_t pfn, uint64_t mfn, uint8_t *page, bint translated) noexcept nogil:
    cdef Machine *machine = domain.machine
    if mfn >= machine.nr_frames or not is_own(domain, mfn) or machine.m2p[mfn] != pfn:
        return IS_GONE
    memcpy(page, frame_words(machine, mfn), PAGE_SIZE)
    if translated:
        translate(domain, mfn, <uint64_t *>page)
    if is_empty(page):
        return IS_EMPTY
    return IS_NOTE if is_note(page) else IS_FULL


def copy_frames(DomainHandle handle, const uint64_t[::1] pfns, const uint64_t[::1] mfns, Py_ssize_t first,
                uint8_t[::1] buffer, translated: bool) -> bytes:
    """Copy frames, from number `first` of `own_frames` on, BATCH at the most, to the buffer one behind the other; what
    became of each (GONE, EMPTY, NOTE, or another: something).

    translated   page tables name frames by their pseudo-physical numbers, and map nothing of Xen's or of others
    """
    cdef uint8_t kinds[BATCH_FRAMES]
    cdef Py_ssize_t i, nr = min(<Py_ssize_t>BATCH_FRAMES, pfns.shape[0] - first)
    cdef Domain *domain = handle.domain
    cdef bint is_translated = translated
    if first < 0 or nr <= 0 or mfns.shape[0] < first + nr or buffer.shape[0] < nr * PAGE_SIZE:
        raise IndexError(first)
    with nogil:
        lock(&domain.memory.lock)
        for i in range(nr):
            if domain.life.is_dying:
                kinds[i] = IS_GONE
            else:
                kinds[i] = copy_frame(domain, pfns[first + i], mfns[first + i], &buffer[i * PAGE_SIZE], is_translated)
        unlock(&domain.memory.lock)
    return bytes(kinds[:nr])


def vcpu_context(DomainHandle handle, number: int) -> bytes:
    """What there is of a vcpu, as struct vcpu_guest_context.  Precondition: none of the domain's runs."""
    cdef vcpu_guest_context_t context
    if not 0 <= number < handle.max_vcpus:
        raise IndexError(number)
    guest_context_give(handle.domain.vcpus[<int>number], &context)
    return bytes((<uint8_t *>&context)[:sizeof(context)])


def shared_info(DomainHandle handle) -> bytes:
    """The page that Xen shares with the domain; nothing once it is destroyed."""
    cdef Domain *domain = handle.domain
    page = bytearray(PAGE_SIZE)
    cdef uint8_t[::1] target = page
    cdef bint is_there = False
    with nogil:
        lock(&domain.memory.lock)
        if not domain.life.is_dying and domain.shared_info != NULL:
            memcpy(&target[0], domain.shared_info, PAGE_SIZE)
            is_there = True
        unlock(&domain.memory.lock)
    return bytes(page) if is_there else b""
