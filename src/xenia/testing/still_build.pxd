# How a domain that stands still begins: anew, or as one that was saved.
from libc.stdint cimport uint64_t
from xenia.domain.domain cimport Domain, Vcpu
from xenia.testing.recorder cimport RecordingState

cdef enum:
    NR_PAGES = 32
    NR_FRAMES = 36          # the data pages, and the L1, L2, L3 and L4 that map them
    STORE_PAGE = 22
    CONSOLE_PAGE = 23
    SLOT = 273

# What wakes a vcpu that nothing runs: it counts, or writes to an eventfd.  And Vcpu.waits_since, as its argument says.
cdef void count_wake(void *count) noexcept nogil
cdef void wake_by_fd(void *fd) noexcept nogil
cdef uint64_t told_to_wait(void *since) noexcept nogil
# Gives `domain` NR_FRAMES frames, noted in `frames`, and leave to ask for `spare` more.
cdef void still_take_memory(Domain *domain, uint64_t *frames, uint64_t spare) noexcept
# Builds page tables in them, and starts vcpu and clock.
cdef int still_build(Domain *domain, RecordingState *recorder, const uint64_t *frames, bint warped) except -1
# Puts one vcpu more on the first one's page tables: 0 or -XEN_E*.
cdef int still_begin_vcpu(Vcpu *vcpu) noexcept
# SavedStill: all its nouns.
cdef object still_save(Domain *domain, RecordingState *recorder)
# In the place of `still_build`: it goes on as the one that was saved.  It has as many vcpus already.
cdef int still_restore(Domain *domain, RecordingState *recorder, const uint64_t *frames, object saved) except -1
