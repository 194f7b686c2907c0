"""The mirror: what of guests' address spaces is mapped in stubs, and how that is taken back.

Theory of operation.  A stub's mappings are a cache of a guest's page tables, as a TLB is, filled one page fault at a
time, and some pages around it.  A TLB is emptied whenever another address space is loaded; filling this one again is
far too dear, so it lasts, and whatever makes a mapping untrue takes away that mapping.  For that it remembers which
page tables each mapping came from (`Table`), and is told of each entry there that changes.

A table is watched from before its entry is read.  Whoever changes an entry does so before telling of it, and each does
his two things with a full barrier between: so an entry that was read is either the new one, or its change is told of to
somebody who finds the table watched.

What is taken away becomes an order to the stub, and orders are carried out in the sequence in which they were given,
before guest code runs there again, and before a flush is over (engine.pyx).  A mapping that is remembered and is not
there costs an order for nothing, no more.

Accessed bits are set when a page is mapped that was asked for, and dirty ones when it is mapped writable, which it is
only then.  What is mapped with it has these bits already.  A frame from which the emulated processor translated code is
not mapped writable before that is forgotten; and when it translates from one that is, that is taken away
(`mapping_protect_frame`).
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from xenia.cpu.engines.native.executable cimport (
    executable_drop, executable_forget, executable_is, executable_look, executable_since, executable_watch,
)
from xenia.cpu.engines.native.orders cimport orders_forget, orders_glutton, orders_map, orders_map_copy, orders_unmap
from xenia.cpu.engines.native.stub cimport HOST_END, STUB_BASE, STUB_END, STUB_USED, arena_lets_go
from xenia.cpu.processor cimport EVERY_FRAME, PFEC_FETCH, PFEC_PRESENT, PFEC_USER, PFEC_WRITE, full_barrier
from xenia.machine.atomic cimport flag_read
from xenia.machine.lock cimport lock, unlock
from xenia.machine.paging cimport (
    PAGE_ACCESSED, PAGE_DIRTY, PAGE_NX, PAGE_PRESENT, PAGE_PSE, PAGE_RW, PAGE_SIZE, TABLE_ENTRIES,
)

cdef extern from *:
    """
    #include <sys/mman.h>
    static inline int swap_entry(uint64_t *entry, uint64_t *expected, uint64_t value)
    {
        return __atomic_compare_exchange_n(entry, expected, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    static inline void *sparse(size_t bytes)
    {
        void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        return at == MAP_FAILED ? NULL : at;
    }
    """
    bint swap_entry(uint64_t *entry, uint64_t *expected, uint64_t value) noexcept nogil
    void *sparse(size_t bytes) noexcept nogil
    int munmap(void *at, size_t bytes) noexcept nogil
    enum:
        PROT_READ, PROT_WRITE, PROT_EXEC

cdef enum:
    NR_TABLES = 8192
    MOST_FRAMES = 1 << 29
    MOST_MAPPINGS = 50000       # vm.max_map_count is 65530 everywhere
    LOWEST = 0x10000            # vm.mmap_min_addr at the most
    AGAIN = -1                  # once what was taken away is gone
    TRIES = 8                   # for a page that other processors store to all the time


cdef bint mapping_init(Mapping *mapping, Processor *processor, const Machine *machine, Stub *stubs,
                       bint looks) noexcept nogil:
    cdef uint64_t nr_frames = machine.nr_frames
    cdef uint32_t i
    mapping.processor = processor
    mapping.memory = machine.base
    mapping.frames = machine.frames
    mapping.nr_frames = nr_frames
    mapping.stubs = stubs
    mapping.copies = stubs[0].arena.copied
    mapping.tables = <Table *>sparse(NR_TABLES * sizeof(Table))
    mapping.places = <uint32_t *>sparse(NR_TABLES * PAGE_SIZE // 2)
    mapping.watched = <uint32_t *>sparse(4 * nr_frames)
    mapping.mapped = <uint32_t *>sparse(4 * nr_frames)
    mapping.writable = <uint32_t *>sparse(4 * nr_frames)
    mapping.latest = <uint32_t *>sparse(4 * nr_frames)
    if looks:
        mapping.looked = <uint8_t *>sparse(nr_frames)
        mapping.copy = <uint16_t *>sparse(2 * nr_frames)
    if (mapping.tables == NULL or mapping.places == NULL or mapping.watched == NULL or mapping.mapped == NULL
            or mapping.writable == NULL or mapping.latest == NULL or nr_frames > MOST_FRAMES
            or looks and (mapping.looked == NULL or mapping.copy == NULL)):
        return False
    for i in range(1, NR_TABLES):
        mapping.tables[i].next = i + 1 if i + 1 < NR_TABLES else 0
    mapping.unused = 1
    mapping.nr_unused = NR_TABLES - 1
    return True


cdef void mapping_end(Mapping *mapping) noexcept nogil:
    give_back(mapping.tables, NR_TABLES * sizeof(Table))
    give_back(mapping.places, NR_TABLES * PAGE_SIZE // 2)
    give_back(mapping.watched, 4 * mapping.nr_frames)
    give_back(mapping.mapped, 4 * mapping.nr_frames)
    give_back(mapping.writable, 4 * mapping.nr_frames)
    give_back(mapping.latest, 4 * mapping.nr_frames)
    give_back(mapping.looked, mapping.nr_frames)
    give_back(mapping.copy, 2 * mapping.nr_frames)


cdef inline void give_back(void *at, size_t bytes) noexcept nogil:
    if at != NULL:
        munmap(at, bytes)


# --- tables


cdef inline unsigned shift_of(int level) noexcept nogil:
    return 3 + 9 * level


cdef Table *watch(Mapping *mapping, Stub *stub, uint64_t mfn, int level, uint64_t va) noexcept nogil:
    # The table of `level` there, of which `va` is in reach; from now on its changes are seen.
    # NULL where it is one of another level as well.
    cdef uint64_t first = va >> (shift_of(level) + 9) << (shift_of(level) + 9)
    cdef uint32_t number = mapping.watched[mfn]
    cdef Table *table
    while number:
        table = &mapping.tables[number]
        if table.stub == stub.index and table.level != <uint32_t>level:     # a linear one
            return NULL
        if table.stub == stub.index and table.va == first:
            return table
        number = table.next
    number = mapping.unused
    table = &mapping.tables[number]
    mapping.unused = table.next
    mapping.nr_unused -= 1
    table.mfn = <uint32_t>mfn
    table.stub = stub.index
    table.level = level
    table.va = first
    table.frames = mapping.places + number * <uint64_t>TABLE_ENTRIES if level == 1 else NULL
    table.sibling = mapping.of_stub[stub.index]
    mapping.of_stub[stub.index] = number
    table.next = mapping.watched[mfn]
    mapping.watched[mfn] = number
    full_barrier()
    return table


cdef void unwatch(Mapping *mapping, Table *table) noexcept nogil:
    # It is taken out of its frame's list; from its stub's by who calls.
    cdef uint32_t number = <uint32_t>(table - mapping.tables)
    cdef uint32_t *link = &mapping.watched[table.mfn]
    cdef uint32_t i
    while link[0] != number:
        link = &mapping.tables[link[0]].next
    link[0] = table.next
    if table.frames != NULL:
        for i in range(TABLE_ENTRIES):
            if table.frames[i]:
                forget_place(mapping, table, i)
    table.next = mapping.unused
    mapping.unused = number
    mapping.nr_unused += 1


cdef inline void forget_place(Mapping *mapping, Table *table, uint32_t index) noexcept nogil:
    cdef uint32_t place = table.frames[index]
    table.frames[index] = 0
    mapping.mapped[place >> PLACE_SHIFT] -= 1
    if place & PLACE_WRITABLE:
        mapping.writable[place >> PLACE_SHIFT] -= 1
    mapping.nr_unmapped += 1


cdef inline void unmap_place(Mapping *mapping, Table *table, uint32_t index) noexcept nogil:
    forget_place(mapping, table, index)
    orders_unmap(&mapping.stubs[table.stub], table.va + (<uint64_t>index << 12), PAGE_SIZE)


cdef void unmap_range(Mapping *mapping, Stub *stub, uint64_t va, uint64_t length) noexcept nogil:
    # With all tables that lie in it.
    cdef uint32_t *link = &mapping.of_stub[stub.index]
    cdef Table *table
    cdef bint any_place = False
    while link[0]:
        table = &mapping.tables[link[0]]
        if table.va - va < length and table.va + (<uint64_t>TABLE_ENTRIES << shift_of(table.level)) - va <= length:
            any_place |= table.level == 1
            link[0] = table.sibling
            unwatch(mapping, table)
        else:
            link = &table.sibling
    if any_place:
        orders_unmap(stub, va, min(length, HOST_END - va))


cdef void drop(Mapping *mapping, Stub *stub) noexcept nogil:
    cdef Table *table
    if mapping.of_stub[stub.index]:
        orders_forget(stub)
    while mapping.of_stub[stub.index]:
        table = &mapping.tables[mapping.of_stub[stub.index]]
        mapping.of_stub[stub.index] = table.sibling
        unwatch(mapping, table)


cdef void mapping_drop(Mapping *mapping, Stub *stub) noexcept nogil:
    lock(&mapping.lock)
    drop(mapping, stub)
    unlock(&mapping.lock)


# --- filling it


cdef int walk(Mapping *mapping, Stub *stub, uint64_t root, uint64_t va, bint mark, Found *found) noexcept nogil:
    cdef uint64_t mfn = root, pte
    cdef uint64_t *entry
    cdef int level
    found.root = root
    found.rights = PAGE_RW
    found.nx = 0
    for level in range(TOP, 0, -1):
        if mfn >= mapping.nr_frames:
            return ELSEWHERE
        found.leaf = watch(mapping, stub, mfn, level, va)
        if found.leaf == NULL:
            return ELSEWHERE
        found.entries = <uint64_t *>(mapping.memory + (mfn << 12))
        if level == 1:
            return MAPPED
        entry = &found.entries[va >> shift_of(level) & 511]
        pte = read_entry(entry)
        while pte & PAGE_PRESENT and mark and not pte & PAGE_ACCESSED:
            if swap_entry(entry, &pte, pte | PAGE_ACCESSED):
                break
        if not pte & PAGE_PRESENT:
            return REFUSED
        if pte & PAGE_PSE:
            return ELSEWHERE
        found.rights &= pte
        found.nx |= pte & PAGE_NX
        mfn = pte >> 12 & FRAME_MASK
    return ELSEWHERE


cdef inline bint has_code(Mapping *mapping, uint64_t mfn) noexcept nogil:
    cdef uint8_t bits = mapping.processor.code_frames[mfn >> 3]
    if mapping.code_of_all != NULL:
        bits |= flag_read(&mapping.code_of_all[mfn >> 3])
    return bits >> (mfn & 7) & 1


cdef void put(Mapping *mapping, Stub *stub, Found *found, uint32_t index, uint64_t pte) noexcept nogil:
    cdef uint64_t mfn = pte >> 12 & FRAME_MASK
    cdef uint32_t place = 0
    cdef int protection = PROT_READ
    if found.rights & pte & PAGE_RW and pte & PAGE_DIRTY and not has_code(mapping, mfn):
        protection |= PROT_WRITE
        place |= PLACE_WRITABLE
        mapping.writable[mfn] += 1
    if not (found.nx | pte) & PAGE_NX and executable_is(mapping, found, mfn):
        protection |= PROT_EXEC
        place |= PLACE_EXECUTABLE
    mapping.mapped[mfn] += 1
    mapping.nr_mapped += 1
    mapping.latest[mfn] = <uint32_t>(found.leaf - mapping.tables) << INDEX_SHIFT | index
    found.leaf.frames[index] = <uint32_t>(mfn << PLACE_SHIFT) | place
    if place & PLACE_EXECUTABLE and mapping.looked != NULL and mapping.copy[mfn]:
        orders_map_copy(stub, found.leaf.va + (<uint64_t>index << 12), mapping.copy[mfn] - 1)
    else:
        orders_map(stub, found.leaf.va + (<uint64_t>index << 12), mfn << 12, PAGE_SIZE, protection)


# The access itself: the entry's bits, as the processor sets them.
cdef int touch(Mapping *mapping, Found *found, uint32_t index, uint32_t access, uint32_t *error) noexcept nogil:
    cdef uint64_t *entry = &found.entries[index]
    cdef uint64_t pte = read_entry(entry)
    cdef uint64_t bits = PAGE_ACCESSED | (PAGE_DIRTY if access & PFEC_WRITE else 0)
    cdef uint64_t mfn
    while True:
        if not pte & PAGE_PRESENT:
            return REFUSED
        error[0] |= PFEC_PRESENT
        if access & PFEC_WRITE and not found.rights & pte & PAGE_RW:
            return REFUSED
        if access & PFEC_FETCH and (found.nx | pte) & PAGE_NX:
            return REFUSED
        mfn = pte >> 12 & FRAME_MASK
        if mfn >= mapping.nr_frames:
            return ELSEWHERE
        if access & PFEC_WRITE and mapping.code_of_all != NULL and has_code(mapping, mfn):
            return ELSEWHERE        # the emulated processor tells the others of that store
        if access & PFEC_FETCH and not executable_is(mapping, found, mfn):
            return ELSEWHERE
        if pte & bits == bits or swap_entry(entry, &pte, pte | bits):
            break
        error[0] &= ~<uint32_t>PFEC_PRESENT
    if access & PFEC_WRITE and mapping.code_of_all == NULL and has_code(mapping, mfn):
        if mapping.looked != NULL:
            executable_drop(mapping, mfn)
        mapping.processor.ops.code_dirty(mapping.processor, mfn << 12, PAGE_SIZE)
    make_room(mapping, found, index)
    return MAPPED


cdef inline void make_room(Mapping *mapping, Found *found, uint32_t index) noexcept nogil:
    # It is mapped anew.
    if found.leaf.frames[index] and mapping.code_of_all == NULL:
        forget_place(mapping, found.leaf, index)
    elif found.leaf.frames[index]:  # a sibling may change it before
        unmap_place(mapping, found.leaf, index)


cdef void put_around(Mapping *mapping, Stub *stub, Found *found, uint32_t wanted) noexcept nogil:
    # From the first on, so that frames in a row are one mapping.
    cdef uint32_t first = wanted // AROUND * AROUND, index
    cdef uint64_t pte, mfn
    for index in range(first, first + AROUND):
        pte = read_entry(&found.entries[index])
        mfn = pte >> 12 & FRAME_MASK
        if (pte & (PAGE_PRESENT | PAGE_ACCESSED) == PAGE_PRESENT | PAGE_ACCESSED and mfn < mapping.nr_frames
                and found.leaf.va + (<uint64_t>index << 12) >= LOWEST
                and (not found.leaf.frames[index] or executable_since(mapping, found, index, mfn))):
            make_room(mapping, found, index)
            put(mapping, stub, found, index, pte)


cdef int want(Mapping *mapping, Stub *stub, uint64_t root, uint64_t va, uint32_t access, uint32_t *error,
              Unwatched *unwatched) noexcept nogil:
    cdef Found found
    cdef uint32_t index = va >> 12 & 511
    cdef int outcome
    error[0] = access & (PFEC_WRITE | PFEC_FETCH) | PFEC_USER
    if orders_glutton(stub.arena) != NULL:
        drop(mapping, orders_glutton(stub.arena))
    if mapping.nr_unused < TOP or stub.nr_mappings > MOST_MAPPINGS:
        drop(mapping, stub)
    if mapping.nr_unused < TOP:         # the others have them all
        return ELSEWHERE
    outcome = walk(mapping, stub, root, va, True, &found)
    if (outcome == MAPPED and mapping.looked != NULL
            and not executable_look(mapping, stub, &found, index, access, unwatched)):
        return AGAIN
    if outcome == MAPPED:
        outcome = touch(mapping, &found, index, access, error)
    if outcome == MAPPED:
        put_around(mapping, stub, &found, index)
    return outcome


cdef int mapping_want(Mapping *mapping, Stub *stub, uint64_t root, uint64_t va, uint32_t access,
                      uint32_t *error) noexcept nogil:
    cdef Unwatched unwatched
    cdef int outcome
    if va >= HOST_END or STUB_BASE <= va < STUB_END or va < LOWEST:
        error[0] = access & (PFEC_WRITE | PFEC_FETCH) | PFEC_USER
        return ELSEWHERE
    for _ in range(TRIES):
        lock(&mapping.lock)
        outcome = want(mapping, stub, root, va, access, error, &unwatched)
        unlock(&mapping.lock)
        if outcome != AGAIN:
            return outcome
        executable_watch(mapping, &unwatched)
        arena_lets_go(stub.arena)
        if stub.state != STUB_USED:     # it may have ended meanwhile
            break
    return ELSEWHERE


# --- taking it back


cdef void mapping_entry_changed(Mapping *mapping, uint64_t table, unsigned index, uint64_t old,
                                uint64_t new) noexcept nogil:
    cdef uint32_t number, next
    cdef uint64_t kept = ~<uint64_t>(PAGE_ACCESSED | PAGE_DIRTY)
    cdef Table *it
    if mapping.watched[table] == 0 or not old & PAGE_PRESENT:
        return
    if (old ^ new) & kept == 0 and (old & ~new) == 0:
        return
    lock(&mapping.lock)
    number = mapping.watched[table]
    while number:
        it = &mapping.tables[number]
        next = it.next
        if it.level == 1:
            if it.frames[index]:
                unmap_place(mapping, it, index)
        else:
            unmap_range(mapping, &mapping.stubs[it.stub], it.va + (<uint64_t>index << shift_of(it.level)),
                        <uint64_t>1 << shift_of(it.level))
        number = next
    unlock(&mapping.lock)


cdef void mapping_untyped(Mapping *mapping, uint64_t table) noexcept nogil:
    cdef Table *it
    if mapping.watched[table] == 0:
        return
    lock(&mapping.lock)
    while mapping.watched[table]:
        it = &mapping.tables[mapping.watched[table]]
        if it.level == TOP:
            drop(mapping, &mapping.stubs[it.stub])
            continue
        unmap_range(mapping, &mapping.stubs[it.stub], it.va, <uint64_t>TABLE_ENTRIES << shift_of(it.level))
    unlock(&mapping.lock)


cdef void mapping_forget_frame(Mapping *mapping, uint64_t mfn) noexcept nogil:
    executable_forget(mapping, mfn)
    if mapping.mapped[mfn]:
        lock(&mapping.lock)
        mapping_take(mapping, mfn, PLACE_ANY)
        unlock(&mapping.lock)


cdef void mapping_protect_frame(Mapping *mapping, uint64_t mfn) noexcept nogil:
    if mfn == EVERY_FRAME or mapping.writable[mfn]:
        lock(&mapping.lock)
        mapping_take(mapping, mfn, PLACE_WRITABLE)
        unlock(&mapping.lock)


cdef inline bint is_meant(Mapping *mapping, uint64_t mfn, uint64_t wanted) noexcept nogil:
    return mfn == wanted or wanted == EVERY_FRAME and has_code(mapping, mfn)


cdef void mapping_take(Mapping *mapping, uint64_t mfn, uint32_t rights) noexcept nogil:
    cdef uint32_t stub, number, i, index
    cdef Table *table
    if mfn != EVERY_FRAME and mapping.mapped[mfn] == 1:
        table = &mapping.tables[mapping.latest[mfn] >> INDEX_SHIFT]
        index = mapping.latest[mfn] & (TABLE_ENTRIES - 1)
        if table.frames != NULL and table.frames[index] >> PLACE_SHIFT == mfn:
            if table.frames[index] & rights:
                unmap_place(mapping, table, index)
            return
    for stub in range(NR_STUBS):
        number = mapping.of_stub[stub]
        while number:
            table = &mapping.tables[number]
            number = table.sibling
            if table.frames == NULL:
                continue
            for i in range(TABLE_ENTRIES):
                if table.frames[i] & rights and is_meant(mapping, table.frames[i] >> PLACE_SHIFT, mfn):
                    unmap_place(mapping, table, i)
