# A processor that runs nothing: it notes what the core tells it, and keeps translations as a real one would.
from libc.stdint cimport int32_t, uint32_t, uint64_t
from xenia.cpu.processor cimport Context, Processor
from xenia.machine.machine cimport Machine

cdef enum:
    NOTES = 1024            # the last so many are kept
    TLB_ENTRIES = 256

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
    uint64_t root
    uint64_t nr_notes
    Note notes[NOTES]
    Translation tlb[TLB_ENTRIES]

cdef class RecordingProcessor:
    cdef RecordingState state
    cdef void attach(self, Machine *machine) noexcept
    # Use `va` as guest code would, filling the translation cache: the machine address, or ~0 on a fault.
    cdef uint64_t touch(self, uint64_t va, bint write) noexcept nogil
    # Cached translations that a guest could do harm with.
    cdef list dangerous(self, int domid)
