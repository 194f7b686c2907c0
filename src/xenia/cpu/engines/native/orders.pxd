# What a stub is ordered: see orders.pyx.
from libc.stdint cimport uint32_t, uint64_t
from xenia.cpu.engines.native.stub cimport Arena, Stub

# For the next batch, with the lock held.  Mappings of whole pages, adjacent ones become one.
cdef void orders_map(Stub *stub, uint64_t va, uint64_t maddr, uint64_t length, int protection) noexcept nogil
# The page of that copy, which may be executed and no more.
cdef void orders_map_copy(Stub *stub, uint64_t va, uint32_t copy) noexcept nogil
cdef void orders_unmap(Stub *stub, uint64_t va, uint64_t length) noexcept nogil
# Nothing is mapped: instead of all orders that it has.
cdef void orders_forget(Stub *stub) noexcept nogil
# The one that is to forget, where all together have more mappings than the host is to keep; NULL: they have not.
cdef Stub *orders_glutton(Arena *arena) noexcept nogil
# Without the lock: its mapper and its guest thread run there from now on.
cdef void orders_follow(Stub *stub, uint64_t cpus, uint64_t guest_cpus) noexcept nogil
# Whether they take nothing away that is mapped.
cdef bint orders_take_nothing(Stub *stub) noexcept nogil
# The batch that there is, to the mapper's page: how many.  Others may give more at any time.  If there is any, and it
# `wakes`, the guest thread is woken when it has been carried out.
cdef uint32_t orders_hand_over(Stub *stub, bint wakes) noexcept nogil
# Where there is no mapper: nothing is mapped.
cdef void orders_are_void(Stub *stub) noexcept nogil
