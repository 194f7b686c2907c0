"""What is asked of the maker of a virtual processor's stubs, and what it says of them.

Theory of operation.  A request is a number and which stub's place it is for; what became of it is told by the same
number, so what is told of one before it counts for nothing.  Stubs hold the end of the pipe of answers that the maker
writes to: it is closed when none of them is left, whatever became of the maker.
"""

from libc.stdint cimport uint32_t, uint64_t
from posix.unistd cimport read, write

from xenia.cpu.engines.native.stub cimport (
    MAKE_NONE, NR_STUBS, STUB_ASKED, STUB_FRESH, STUB_NONE, Arena, Stub, StubNews, StubRequest,
)


cdef inline void request(Stub *stub, uint32_t make) noexcept nogil:
    cdef StubRequest what
    stub.number += 1
    stub.state = STUB_ASKED
    what.index = stub.index
    what.number = stub.number
    what.make = make
    write(stub.arena.requests, &what, sizeof(what))     # where the maker is no more, the answers say so


cdef void stub_ask(Stub *stub) noexcept nogil:
    stub.entry = 0
    stub.cpus = 0
    stub.settled = False
    stub.heard = 0
    stub.everything = True      # there is nothing; but the mapper is there when it says so
    stub.nr_orders = 0
    stub.nr_mappings = 0
    stub.guest_cpus = 0
    stub.apart = False
    stub.turns = stub.missed = stub.away = stub.penalty = 0
    stub.ran = stub.had = stub.busy = 0
    if stub.arena.over:
        stub.state = STUB_NONE
    else:
        request(stub, stub.arena.make)


cdef void arena_look(Arena *arena) noexcept nogil:
    cdef StubNews news
    cdef ssize_t got = sizeof(StubNews)
    cdef int i
    while got == sizeof(StubNews):
        got = read(arena.answers, &news, sizeof(StubNews))
        if got == sizeof(StubNews):
            hear(&arena.stubs[news.index % NR_STUBS], &news)
    if got == 0:                # the maker is no more, and none of them
        arena.over = True
        arena.nr_refused += 1
        for i in range(NR_STUBS):
            arena.stubs[i].state = STUB_NONE


cdef inline void hear(Stub *stub, const StubNews *news) noexcept nogil:
    cdef uint64_t done
    if news.number != stub.number:      # of one before it
        return
    if news.process == 0:
        stub.arena.nr_refused += stub.state == STUB_ASKED
        stub.state = STUB_NONE
    elif stub.state == STUB_ASKED:
        stub.state = STUB_FRESH
        stub.process = news.process
        if readable(stub.event, 0):     # of the one before it
            read(stub.event, &done, 8)


cdef void arena_await(Arena *arena) noexcept nogil:
    readable(arena.answers, LOOK_NS // 1000000)
    arena_look(arena)


cdef void arena_end(Arena *arena) noexcept nogil:
    cdef int i
    for i in range(NR_STUBS):
        if not arena.over and arena.stubs[i].state != STUB_NONE:
            request(&arena.stubs[i], MAKE_NONE)
    arena.over = True
    for i in range(NR_STUBS):
        while arena.stubs[i].state == STUB_ASKED:
            arena_await(arena)
    arena.owing = 0
