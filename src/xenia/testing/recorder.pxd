# A processor that runs nothing: it notes what the core tells it, keeps registers and translations as a real one would.
from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t, uint64_t
from xenia.cpu.context cimport Context
from xenia.cpu.processor cimport Processor
from xenia.machine.machine cimport Machine

cdef enum:
    NOTES = 1024            # the last so many are kept
    TLB_ENTRIES = 256
    TSC_PER_US = 2000

cdef struct Note:
    int32_t kind            # index into NAMES
    uint64_t arguments[4]

cdef struct Translation:    # a cached one; va bit 0 set: the entry is used
    uint64_t va
    uint64_t mfn
    uint32_t writable

cdef struct RecordingState:
    Processor processor
    Context context
    Machine *machine
    uint64_t nr_root_loads
    uint64_t lent_mfn       # the frame that others were let write to last, and its first word then
    uint64_t lent_word
    uint64_t kicks
    Context inside          # the processor's own registers, but for those that are in its context all the time
    # what its TSC has counted, from the host's clock; and how far each look at that clock moves it on
    uint64_t host_ns
    uint64_t step
    uint64_t nr_notes
    Note notes[NOTES]
    Translation tlb[TLB_ENTRIES]


cdef class RecordingProcessor:
    cdef RecordingState state
    cdef void attach(self, Machine *machine, Context *context=*) noexcept
    # Use `va` as guest code would, filling the translation cache: the machine address, or ~0 on a fault.
    cdef uint64_t touch(self, uint64_t va, bint write) noexcept nogil
    # Cached translations that a guest could do harm with.
    cdef list dangerous(self, int domid)


# The host's clock for domain/time's clock_start_with, by `host_ns` and `step` of the RecordingState that `argument` is.
cdef uint64_t recorded_host_clock(void *argument) noexcept nogil
