# A stub as Xenia sees it: a process that runs user code of one address space, and what is ordered of it.  See stub.pyx.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from xenia.cpu.context cimport Context
from xenia.machine.lock cimport Lock

cdef extern from "stub.h":
    ctypedef struct StubOrder:
        uint64_t number
        uint64_t arguments[6]
    ctypedef struct StubControl:
        uint32_t go, parked, bell, batch, kicks, count, waits, spins
        uint64_t one, fs, gs, cpus, guest_cpus
        StubOrder *orders
    ctypedef struct StubRequest:
        uint32_t index, number, make
    ctypedef struct StubNews:
        uint32_t index, number, process
    ctypedef struct StubReport:
        uint32_t exit, signal
        uint64_t context, info, fs, gs
        uint32_t asleep
    const uint64_t STUB_BASE, STUB_END, HOST_END
    enum:
        HOST_CS32 "0x23"
        HOST_CS64 "0x33"
        HOST_SS "0x2b"
        MAKE_NONE, MAKE_FAULTING, MAKE_LOOKED_AT
        STUB_SLOT, STUB_MEMORY, STUB_COPIES, NR_STUBS, NR_COPIES, NR_ORDERS, CONTROL_SIZE, REPORT_SIZE, AREA_SIZE

cdef enum:                  # Stub.state
    STUB_NONE               # there is no process
    STUB_ASKED              # the maker was asked for one, or for the end of it
    STUB_FRESH              # it has run no guest code
    STUB_USED               # it serves an address space

cdef enum:                  # Left.why
    LEFT_KICKED             # for nothing that guest code did
    LEFT_SYSCALL            # rip is past it
    LEFT_OLD_SYSCALL        # int $0x80, rip is past it; or sysenter, and it is nowhere
    LEFT_PAGE_FAULT         # error, address
    LEFT_INTERRUPT          # int3 or int $4: vector; rip is past it
    LEFT_STEPPED            # #DB after an instruction
    LEFT_OTHER              # whatever it is, the instruction at rip comes to it once more
    LEFT_FORGED             # by a report that user mode cannot come to
    LEFT_NOT                # it did not leave guest code in time, or is no more

cdef struct Left:
    int why
    uint32_t vector
    uint32_t error
    uint16_t cs             # the host's selector, or so it says: another one after a far jump
    uint64_t address
    uint64_t fs, gs

cdef struct Stub:
    Arena *arena
    uint32_t index
    StubControl *control
    StubReport *report
    int event               # that the mapper writes to
    int state
    uint32_t process
    uint32_t number         # of the last request
    uint32_t entry          # number of the last one
    bint settled            # the guest thread sleeps since, for certain
    uint32_t kicks          # when it was entered
    uint32_t heard          # of these: the guest thread has had what they sent
    uint64_t cpus           # where its mapper may run
    uint64_t guest_cpus     # and its guest thread
    bint apart              # not where the vcpu's thread is: each looks for the other before it sleeps
    uint32_t turns          # entries since that was chosen
    uint32_t missed         # how often one of them slept before the other came
    uint32_t away           # choices for which they stay together
    uint32_t penalty        # and the next time
    int64_t ran             # ns from entries to what they ended with, since `busy` was asked for
    int64_t had             # of a processor, then
    int64_t busy
    bint everything         # all of its mappings go before the orders
    uint32_t nr_orders
    StubOrder orders[NR_ORDERS]
    uint64_t nr_mappings    # as many as the host has to keep at the most

# The stubs of one virtual processor.
cdef struct Arena:
    uint8_t *base
    int requests, answers   # pipes: the maker is at the other ends
    int area
    int copies
    uint8_t *copied         # NR_COPIES pages, which stubs may only execute
    uint32_t make           # MAKE_*
    bint over               # there are no more
    uint32_t nr_refused     # that were asked for and could not be made
    uint32_t nr_unruly      # that did not stop when they were told
    Lock *ordering          # guards orders, and what is owed: the mirror's
    uint32_t owing          # a bit for each: what was taken from it may still be mapped there
    Stub stubs[NR_STUBS]

# Its orders (orders.pxd) are carried out when this returns; False: the stub is no more.
cdef bint stub_obeys(Stub *stub) noexcept nogil
# What was taken from any of them is mapped there no longer when this returns.
cdef void arena_lets_go(Arena *arena) noexcept nogil
# It is there, and waits to run guest code.
cdef bint stub_ready(Stub *stub) noexcept nogil
# Guest code with these registers runs until it leaves it, which is what is answered.
cdef void stub_run(Stub *stub, Context *context, uint64_t fs, uint64_t gs, Left *left) noexcept nogil
# What a crossing takes of the host's processor in this one, which is ready: ns, 0 where it is no more.
cdef int64_t stub_crossing(Stub *stub) noexcept nogil
# From any thread: guest code is left soon.
cdef void stub_kick(Stub *stub) noexcept nogil
# Nanoseconds of the host's processor that it has had; and of these, what it did not spend looking for an entry.
cdef int64_t stub_time(const Stub *stub) noexcept nogil
cdef int64_t stub_busy(Stub *stub) noexcept nogil
# The guest thread sleeps when this returns, and nothing is on its way to it; False: it does not, or is no more.
cdef bint stub_settles(Stub *stub) noexcept nogil
