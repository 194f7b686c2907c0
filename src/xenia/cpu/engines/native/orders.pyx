"""What a stub is ordered: system calls for its mapper, in the sequence in which they are to be made.

Theory of operation.  They are collected in memory of Xenia's, by whoever changes a page table, and handed over as one
batch before guest code runs, or where somebody waits for what is taken away.  `Arena.ordering`, which is the mirror's
lock, guards them: its holder gives orders.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from xenia.cpu.engines.native.stub cimport (
    HOST_END, NR_ORDERS, NR_STUBS, STUB_BASE, STUB_COPIES, STUB_END, STUB_MEMORY, Arena, Stub, StubOrder,
)
from xenia.machine.lock cimport lock, unlock
from xenia.machine.paging cimport PAGE_SIZE

cdef extern from *:
    """
    #include <sys/mman.h>
    #include <sys/syscall.h>
    #include <linux/futex.h>
    #define STUB_CONTROL_CPUS (STUB_CONTROL + offsetof(StubControl, cpus))
    #define STUB_CONTROL_GUEST_CPUS (STUB_CONTROL + offsetof(StubControl, guest_cpus))
    #define STUB_CONTROL_GO (STUB_CONTROL + offsetof(StubControl, go))
    #define STUB_CONTROL_PARKED (STUB_CONTROL + offsetof(StubControl, parked))
    enum { ORDER_MAP_FLAGS = MAP_SHARED | MAP_FIXED | MAP_POPULATE };
    """
    enum:
        FUTEX_WAKE, SYS_futex, SYS_mmap, SYS_munmap, SYS_sched_setaffinity, ORDER_MAP_FLAGS, PROT_EXEC
    uint64_t STUB_CONTROL_CPUS, STUB_CONTROL_GUEST_CPUS, STUB_CONTROL_GO, STUB_CONTROL_PARKED

cdef extern from "stub.h":
    uint64_t OF_GUEST_THREAD


cdef enum:
    MOST_OF_ALL = 200000        # mappings of all stubs of a processor: some 200 bytes each, in the host's kernel


cdef inline void owe(Stub *stub) noexcept nogil:
    stub.arena.owing |= <uint32_t>1 << stub.index


cdef void orders_are_void(Stub *stub) noexcept nogil:
    lock(stub.arena.ordering)
    stub.arena.owing &= ~(<uint32_t>1 << stub.index)
    unlock(stub.arena.ordering)


cdef inline void take_everything(Stub *stub) noexcept nogil:
    # Instead of all orders that it has; where it is to run as well, which is said once more.
    stub.everything = True
    stub.nr_orders = 0
    stub.cpus = stub.guest_cpus = 0


cdef inline StubOrder *order(Stub *stub) noexcept nogil:
    if stub.nr_orders == NR_ORDERS - 4:     # two of unmap_everything's, two of wake
        take_everything(stub)
    stub.nr_orders += 1
    stub.nr_mappings += 2       # one in the middle of another leaves three
    return &stub.orders[stub.nr_orders - 1]


cdef Stub *orders_glutton(Arena *arena) noexcept nogil:
    cdef Stub *most = NULL
    cdef Stub *stub
    cdef uint64_t sum = 0
    cdef int i
    for i in range(NR_STUBS):
        stub = &arena.stubs[i]
        if not stub.everything:
            sum += stub.nr_mappings
            most = stub if most == NULL or stub.nr_mappings > most.nr_mappings else most
    return most if sum > MOST_OF_ALL else NULL


cdef void orders_map(Stub *stub, uint64_t va, uint64_t maddr, uint64_t length, int protection) noexcept nogil:
    map_file(stub, va, STUB_MEMORY, maddr, length, protection)


cdef void orders_map_copy(Stub *stub, uint64_t va, uint32_t copy) noexcept nogil:
    map_file(stub, va, STUB_COPIES, <uint64_t>copy * PAGE_SIZE, PAGE_SIZE, PROT_EXEC)


cdef void map_file(Stub *stub, uint64_t va, uint64_t file, uint64_t offset, uint64_t length,
                   int protection) noexcept nogil:
    cdef StubOrder *last = &stub.orders[stub.nr_orders - 1]
    if (stub.nr_orders and last.number == <uint64_t>SYS_mmap and last.arguments[0] + last.arguments[1] == va
            and last.arguments[4] == file and last.arguments[5] + last.arguments[1] == offset
            and last.arguments[2] == <uint64_t>protection):
        last.arguments[1] += length
        return
    last = order(stub)
    last.number = SYS_mmap
    last.arguments[0] = va
    last.arguments[1] = length
    last.arguments[2] = protection
    last.arguments[3] = ORDER_MAP_FLAGS
    last.arguments[4] = file
    last.arguments[5] = offset


cdef void orders_unmap(Stub *stub, uint64_t va, uint64_t length) noexcept nogil:
    cdef StubOrder *last = &stub.orders[stub.nr_orders - 1]
    owe(stub)
    if va < STUB_END and va + length > STUB_BASE:
        take_everything(stub)
        return
    if stub.nr_orders and last.number == <uint64_t>SYS_munmap:
        if last.arguments[0] <= va and va + length <= last.arguments[0] + last.arguments[1]:
            return
        if last.arguments[0] + last.arguments[1] == va:
            last.arguments[1] += length
            return
        if va + length == last.arguments[0]:
            last.arguments[0] = va
            last.arguments[1] += length
            return
    last = order(stub)
    last.number = SYS_munmap
    last.arguments[0] = va
    last.arguments[1] = length


cdef inline void be_there(Stub *stub, uint64_t thread, uint64_t mask) noexcept nogil:
    cdef StubOrder *one = order(stub)
    one.number = SYS_sched_setaffinity
    one.arguments[0] = thread
    one.arguments[1] = 8
    one.arguments[2] = mask


cdef void orders_follow(Stub *stub, uint64_t cpus, uint64_t guest_cpus) noexcept nogil:
    if stub.cpus == cpus and stub.guest_cpus == guest_cpus:
        return
    stub.control.cpus = cpus
    stub.control.guest_cpus = guest_cpus
    lock(stub.arena.ordering)
    if stub.cpus != cpus:
        be_there(stub, 0, STUB_CONTROL_CPUS)
    if stub.guest_cpus != guest_cpus:
        be_there(stub, OF_GUEST_THREAD, STUB_CONTROL_GUEST_CPUS)
    stub.cpus = cpus
    stub.guest_cpus = guest_cpus
    unlock(stub.arena.ordering)


cdef inline void unmap_everything(Stub *stub) noexcept nogil:
    cdef StubOrder *to = <StubOrder *>stub.control.orders
    to[0].number = to[1].number = SYS_munmap
    to[0].arguments[0] = 0
    to[0].arguments[1] = STUB_BASE
    to[1].arguments[0] = STUB_END
    to[1].arguments[1] = HOST_END - STUB_END
    stub.everything = False
    stub.nr_mappings = 0


cdef void orders_forget(Stub *stub) noexcept nogil:
    owe(stub)
    take_everything(stub)


cdef bint orders_take_nothing(Stub *stub) noexcept nogil:
    cdef bint nothing
    lock(stub.arena.ordering)
    nothing = not stub.everything and not stub.arena.owing >> stub.index & 1
    unlock(stub.arena.ordering)
    return nothing


cdef inline void wake(StubOrder *to, uint64_t place) noexcept nogil:
    to.number = SYS_futex
    to.arguments[0] = place
    to.arguments[1] = FUTEX_WAKE
    to.arguments[2] = 1


cdef uint32_t orders_hand_over(Stub *stub, bint wakes) noexcept nogil:
    cdef StubOrder *to = <StubOrder *>stub.control.orders
    cdef uint32_t before = 0, count
    lock(stub.arena.ordering)
    stub.arena.owing &= ~(<uint32_t>1 << stub.index)
    if stub.everything:
        unmap_everything(stub)
        before = 2
    memcpy(to + before, stub.orders, stub.nr_orders * sizeof(StubOrder))
    count = before + stub.nr_orders
    stub.nr_orders = 0
    unlock(stub.arena.ordering)
    if count and wakes:
        wake(to + count, STUB_CONTROL_PARKED)
        wake(to + count + 1, STUB_CONTROL_GO)
        count += 2
    return count
