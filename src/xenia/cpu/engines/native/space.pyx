"""Which address space of a guest has which stub.

Theory of operation.  An address space is known by the frame of its top table, for as long as that is one.  A stub
serves one of them: when that ends, or another one needs the stub more, it is killed and a new one is made, so that what
guest code left behind there is gone.  New ones are asked for before they are wanted; until one is there, user code is
emulated.
"""

from libc.stdint cimport uint32_t, uint64_t

from xenia.cpu.engines.native.arena cimport arena_await, stub_ask
from xenia.cpu.engines.native.mapping cimport mapping_drop
from xenia.cpu.engines.native.native cimport Native, Space
from xenia.cpu.engines.native.placement cimport measure_crossings
from xenia.cpu.engines.native.policy cimport bursts_begin
from xenia.cpu.engines.native.stub cimport (
    NR_STUBS, STUB_ASKED, STUB_FRESH, STUB_NONE, STUB_USED, Stub, arena_lets_go, stub_ready, stub_settles,
)

cdef enum:
    SPARE = 2                   # stubs that are there before they are wanted
    MOST_UNRULY = 4             # then there are no more new ones: each takes a processor for a while


cdef Space *space_at(Native *native, uint64_t root) noexcept nogil:
    cdef Space *space = space_slot(native, root)
    if space.root != root or space.dropped:
        space_retire(native, space)
        space.root = root
        space.dropped = False
        space.wanted = 0
        bursts_begin(&space.bursts)
    return space


cdef void space_retire(Native *native, Space *space) noexcept nogil:
    cdef Stub *stub = space.stub
    if stub == NULL:
        return
    space.stub = NULL
    native.of_stub[stub.index] = NULL
    mapping_drop(&native.mapping, stub)
    stub_ask(stub)
    if native.unsettled == stub:
        native.unsettled = NULL
        while stub.state == STUB_ASKED:     # the old one is dead when the new one is there
            arena_await(native.arena)


cdef void settle(Native *native) noexcept nogil:
    quiet(native)
    arena_lets_go(native.arena)


cdef void quiet(Native *native) noexcept nogil:
    cdef Stub *stub = native.unsettled
    if stub != NULL and stub_settles(stub):
        native.unsettled = NULL
    elif stub != NULL:
        native.nr_lost += 1
        space_retire(native, native.of_stub[stub.index])
    native.engine.processor.unsettled = False


cdef bint has_no_more(const Native *native) noexcept nogil:
    return native.arena.over or native.arena.nr_unruly >= MOST_UNRULY


cdef bint is_ready(Native *native, Stub *stub) noexcept nogil:
    if not stub_ready(stub):
        return False
    measure_crossings(native, stub)
    return stub_ready(stub)


cdef bint space_has_stub(Native *native, Space *space) noexcept nogil:
    cdef Space *oldest = NULL
    cdef Stub *stub
    cdef uint32_t i, spare = 0
    if space.stub != NULL or has_no_more(native):
        return space.stub != NULL
    for i in range(NR_STUBS):
        stub = &native.arena.stubs[i]
        if space.stub == NULL and is_ready(native, stub):
            stub.state = STUB_USED
            space.stub = stub
            native.of_stub[i] = space
            native.nr_moves += 1
        elif stub.state == STUB_ASKED or stub.state == STUB_FRESH:
            spare += 1
    for i in range(NR_STUBS):
        stub = &native.arena.stubs[i]
        if spare < SPARE and stub.state == STUB_NONE and native.of_stub[i] == NULL:
            stub_ask(stub)
            spare += 1
        if native.of_stub[i] != NULL and (oldest == NULL or native.of_stub[i].used < oldest.used):
            oldest = native.of_stub[i]
    if spare == 0 and not has_no_more(native) and oldest != NULL and oldest != space:
        space_retire(native, oldest)
    return space.stub != NULL
