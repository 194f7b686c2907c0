# An engine that interprets a few dozen instructions: what its parts share.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from xenia.cpu.context cimport Context
from xenia.cpu.processor cimport Exit, Processor

cdef struct Interpreter:
    Processor processor
    Context inside          # all registers but the first part, which is in the vcpu's context all the time
    uint8_t *memory
    uint64_t bytes
    volatile uint8_t kicked
    Exit exit               # what ends the instruction

# An instruction ends with an exit.  False, for a caller to hand on.
cdef bint leave(Interpreter *engine, int kind, int vector, uint32_t error, uint64_t address) noexcept nogil
# Guest memory, as the mode may use it; False where it may not, with an exit: a fault, and nothing was done.
cdef bint fetch(Interpreter *engine, uint8_t *code, unsigned *length) noexcept nogil
cdef bint read(Interpreter *engine, uint64_t va, void *to, unsigned size, bint write) noexcept nogil
cdef bint write(Interpreter *engine, uint64_t va, const void *source, unsigned size) noexcept nogil
