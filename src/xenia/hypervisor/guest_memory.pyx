"""A domain's memory, as whoever looks into it from outside reads and writes it: an operator's program, a debugger.

Nothing that the guest could see is changed by looking: no accessed or dirty bits, no reference.  A write goes where the
guest's kernel could write if it mapped the page so: also to pages that it has mapped read-only, as its own text; but
not to what Xen holds it to (page tables, descriptors), nor to others' frames that it may only read.  Each page is
found, checked and copied under the memory's lock, by which page tables change and frames change hands.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from xenia.domain.domain cimport Domain, Vcpu
from xenia.domain.pv.segments cimport is_canonical
from xenia.domain.written cimport frame_written
from xenia.hypervisor.domain cimport DomainHandle
from xenia.machine.lock cimport lock, unlock
from xenia.machine.machine cimport FRAME_SEG_DESC, FRAME_SHARED, Frame, frame_exists, frame_words
from xenia.machine.paging cimport PAGE_OFFSET, PAGE_PSE, PAGE_RW, PAGE_SIZE, UPPER_HALF_START
from xenia.mm.memory cimport mm_given_back, mm_lent
from xenia.mm.walk cimport Walk, walk_index, walk_start, walk_step

cdef extern from *:
    """
    #define XENIA_NO_FRAME (~0ULL)
    """
    const uint64_t NO_FRAME "XENIA_NO_FRAME"

cdef enum Outcome:
    IS_DONE
    IS_UNMAPPED         # nothing is there
    IS_TABLE            # a page table, or descriptors: the guest itself may write there by hypercalls alone
    IS_FOREIGN          # another's frame, that the guest may only read

DONE = IS_DONE
UNMAPPED = IS_UNMAPPED
TABLE = IS_TABLE
FOREIGN = IS_FOREIGN


cdef struct Place:
    uint64_t mfn
    uint64_t rights     # of all entries on the way


# --- finding a page.  With the memory's lock.


cdef bint walk_to(Domain *domain, uint64_t root, uint64_t va, Place *place) noexcept nogil:
    cdef Walk walk
    if root == 0 or domain.life.is_dying:
        return False
    place.rights = PAGE_RW
    walk_start(&walk, domain.machine, root, domain.memory.levels, va)
    while walk.level:
        if not walk_step(&walk):
            return False
        place.rights &= walk.pte
        if walk.level == 1 and walk.pte & PAGE_PSE:     # Xen's own: of the M2P
            place.mfn = walk.table + walk_index(va, 1)
            return frame_exists(domain.machine, place.mfn)
    place.mfn = walk.table
    return frame_exists(domain.machine, place.mfn)


cdef bint find(Vcpu *vcpu, uint64_t va, Place *place) noexcept nogil:
    # By what the vcpu runs on, and then what it would run on in its other mode.
    if not is_canonical(va):
        return False
    if va >= UPPER_HALF_START and walk_to(vcpu.domain, vcpu.mmu.root_kernel, va, place):
        return True
    return (walk_to(vcpu.domain, vcpu.mmu.root_loaded, va, place)
            or walk_to(vcpu.domain, vcpu.mmu.root_kernel, va, place)
            or walk_to(vcpu.domain, vcpu.mmu.root_user, va, place))


cdef inline bint is_own(Domain *domain, uint64_t mfn) noexcept nogil:
    cdef Frame *frame = &domain.machine.frames[mfn]
    return frame.refs != 0 and frame.owner == domain.domid


cdef int may_write(Domain *domain, Place *place) noexcept nogil:
    cdef Frame *frame = &domain.machine.frames[place.mfn]
    if place.rights & PAGE_RW:
        return IS_DONE
    if not is_own(domain, place.mfn) or frame.type == FRAME_SHARED:
        return IS_FOREIGN
    return IS_TABLE if frame.type_refs and frame.type <= FRAME_SEG_DESC else IS_DONE


cdef inline uint8_t *byte_at(Domain *domain, Place *place, uint64_t at) noexcept nogil:
    return <uint8_t *>frame_words(domain.machine, place.mfn) + (at & PAGE_OFFSET)


cdef void store(Domain *domain, Place *place, uint64_t at, const uint8_t *data, uint64_t length) noexcept nogil:
    mm_lent(&domain.memory, place.mfn)
    memcpy(byte_at(domain, place, at), data, length)
    mm_given_back(&domain.memory, place.mfn)
    frame_written(domain, place.mfn)


# --- by virtual address


cdef inline Vcpu *vcpu_of(DomainHandle handle, int number) except NULL:
    if not 0 <= number < handle.max_vcpus:
        raise IndexError(f"the domain has no vcpu {number}")
    return handle.domain.vcpus[number]


def read_virtual(DomainHandle handle, number: int, address: int, uint8_t[::1] buffer) -> int:
    """Read from what a vcpu has mapped at a virtual address; how many bytes are there before something is not mapped.

    Precondition: the vcpu does not run.
    """
    cdef Vcpu *vcpu = vcpu_of(handle, number)
    cdef uint64_t va = address, done = 0, chunk, length = buffer.shape[0]
    cdef Place place
    cdef bint there = True
    with nogil:
        while done < length and there:
            chunk = min(length - done, PAGE_SIZE - (va + done & PAGE_OFFSET))
            lock(&vcpu.domain.memory.lock)
            there = find(vcpu, va + done, &place)
            if there:
                memcpy(&buffer[done], byte_at(vcpu.domain, &place, va + done), chunk)
                done += chunk
            unlock(&vcpu.domain.memory.lock)
    return done


def write_virtual(DomainHandle handle, number: int, address: int, const uint8_t[::1] data) -> tuple[int, int]:
    """Write to what a vcpu has mapped at a virtual address: how many bytes, and why no more (DONE: all).

    Precondition: the vcpu does not run.
    """
    cdef Vcpu *vcpu = vcpu_of(handle, number)
    cdef uint64_t va = address, done = 0, chunk, length = data.shape[0]
    cdef Place place
    cdef int outcome = IS_DONE
    with nogil:
        while done < length and outcome == IS_DONE:
            chunk = min(length - done, PAGE_SIZE - (va + done & PAGE_OFFSET))
            lock(&vcpu.domain.memory.lock)
            outcome = may_write(vcpu.domain, &place) if find(vcpu, va + done, &place) else IS_UNMAPPED
            if outcome == IS_DONE:
                store(vcpu.domain, &place, va + done, &data[done], chunk)
                done += chunk
            unlock(&vcpu.domain.memory.lock)
    return done, outcome


def translate(DomainHandle handle, number: int, address: int) -> tuple[int, int | None] | None:
    """The machine frame that a vcpu has mapped at a virtual address, and by what number the domain knows it, None where
    it is not its own; None where nothing is mapped.

    Precondition: the vcpu does not run.
    """
    cdef Vcpu *vcpu = vcpu_of(handle, number)
    cdef uint64_t va = address, pfn = NO_FRAME
    cdef Place place
    cdef bint there
    with nogil:
        lock(&vcpu.domain.memory.lock)
        there = find(vcpu, va, &place)
        if there and is_own(vcpu.domain, place.mfn):
            pfn = vcpu.domain.machine.m2p[place.mfn]
        unlock(&vcpu.domain.memory.lock)
    return (place.mfn, None if pfn == NO_FRAME else pfn) if there else None


def walk(DomainHandle handle, number: int, address: int) -> list[tuple[int, int, int, int]]:
    """How a vcpu's page tables lead to a virtual address: of each the level, the machine frame, which entry is looked
    at, and what that says.  The last one does not lead on, or maps the page.

    Precondition: the vcpu does not run.
    """
    cdef Vcpu *vcpu = vcpu_of(handle, number)
    cdef uint64_t va = address
    cdef uint64_t tables[4]
    cdef uint64_t entries[4]
    cdef Place place
    cdef Walk cursor
    cdef int nr = 0
    cdef bint further
    with nogil:
        lock(&vcpu.domain.memory.lock)
        further = not vcpu.domain.life.is_dying and vcpu.mmu.root_kernel != 0
        if further:
            walk_start(&cursor, vcpu.domain.machine, vcpu.mmu.root_loaded, vcpu.domain.memory.levels, va)
            if not walk_to(vcpu.domain, vcpu.mmu.root_loaded, va, &place) and find(vcpu, va, &place):
                cursor.table = vcpu.mmu.root_kernel
        while further and cursor.level:
            tables[nr] = cursor.table
            further = walk_step(&cursor) and not (cursor.level == 1 and cursor.pte & PAGE_PSE)
            if cursor.entry == NULL:
                break
            entries[nr] = cursor.pte
            nr += 1
        unlock(&vcpu.domain.memory.lock)
    levels = vcpu.domain.memory.levels
    return [(levels - i, tables[i], walk_index(va, levels - i), entries[i]) for i in range(nr)]


# --- by pseudo-physical address


cdef bint is_there(Domain *domain, uint64_t pfn, uint64_t mfn) noexcept nogil:
    # It is the domain's own still, by that number.
    return (not domain.life.is_dying and frame_exists(domain.machine, mfn) and is_own(domain, mfn)
            and domain.machine.frames[mfn].type != FRAME_SHARED and domain.machine.m2p[mfn] == pfn)


def read_frame(DomainHandle handle, pfn: int, mfn: int, offset: int, uint8_t[::1] buffer) -> bool:
    """Read from a frame of the domain's, from `offset` on.  False where that frame is not its own by that number."""
    cdef Domain *domain = handle.domain
    cdef uint64_t number = pfn, at = offset, length = buffer.shape[0]
    cdef Place place = Place(mfn, 0)
    cdef bint there
    if at + length > PAGE_SIZE:
        raise IndexError(offset)
    with nogil:
        lock(&domain.memory.lock)
        there = is_there(domain, number, place.mfn)
        if there and length:
            memcpy(&buffer[0], byte_at(domain, &place, at), length)
        unlock(&domain.memory.lock)
    return there


def write_frame(DomainHandle handle, pfn: int, mfn: int, offset: int, const uint8_t[::1] data) -> int:
    """Write to a frame of the domain's, from `offset` on: DONE, UNMAPPED where it is not its own by that number, or
    TABLE."""
    cdef Domain *domain = handle.domain
    cdef uint64_t number = pfn, at = offset, length = data.shape[0]
    cdef Place place = Place(mfn, 0)
    cdef int outcome
    if at + length > PAGE_SIZE:
        raise IndexError(offset)
    with nogil:
        lock(&domain.memory.lock)
        outcome = may_write(domain, &place) if is_there(domain, number, place.mfn) else IS_UNMAPPED
        if outcome == IS_DONE and length:
            store(domain, &place, at, &data[0], length)
        unlock(&domain.memory.lock)
    return outcome
