# A PV domain's memory, saved, and put into other frames.  Precondition of all: the domain does not run.
from libc.stdint cimport uint64_t
from xenia.mm.memory cimport DomainMemory

# The domain's frames by page number, as an array of 64-bit numbers: 0 where it has none.  ConfigError where a frame has
# no number of its own.
cdef object pages_of(DomainMemory *memory)
# What it has, as a SavedMemory; `pages` is pages_of's.  ConfigError where a page table maps what is not its own.
cdef object memory_save(DomainMemory *memory, uint64_t[::1] pages)
# The same into frames that the domain owns and nothing uses yet: M2P and contents.  `frames` has one for each saved
# page, in order.  The frames by page number, as in pages_of.
cdef object memory_restore(DomainMemory *memory, object saved, uint64_t[::1] frames)
# And then, once the contents are as they shall be: the page tables that were pinned are again.  ConfigError where one
# does not validate.
cdef int memory_pin(DomainMemory *memory, object saved, uint64_t[::1] frames) except -1
