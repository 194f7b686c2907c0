# Which address space of a guest has which stub: see space.pyx.
from libc.stdint cimport uint64_t
from xenia.cpu.engines.native.native cimport NR_SPACES, Native, Space


cdef inline Space *space_slot(Native *native, uint64_t root) noexcept nogil:
    return &native.spaces[(root * <uint64_t>0x9e3779b97f4a7c15) >> 56]


# What is known of the address space under that top table.
cdef Space *space_at(Native *native, uint64_t root) noexcept nogil
# Its stub ends, and another one is made in its place.
cdef void space_retire(Native *native, Space *space) noexcept nogil
# No address space gets one any more that has none.
cdef bint has_no_more(const Native *native) noexcept nogil
# Whether it has a stub, by now.
cdef bint space_has_stub(Native *native, Space *space) noexcept nogil
# Guest code runs in no stub when this returns, and nothing is on its way there.
cdef void quiet(Native *native) noexcept nogil
# And what was taken away is mapped in none.
cdef void settle(Native *native) noexcept nogil
