# One emulated processor: the boundary's struct, Unicorn's objects, and the little that the engine has to remember.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from xenia.cpu.engines.emulated.unicorn cimport CPUX86State, Interposed, uc_engine
from xenia.cpu.processor cimport Exit, Processor
from xenia.machine.lock cimport Lock

# For what runs user code elsewhere, beside this one (cpu/engines/native): NULL, nothing does.
cdef struct Beside:
    void *owner
    # In the place of the core's, which it calls: it may run user code before it answers, in the vcpu's context.
    int (*on_exit)(Emulator *engine, Exit *exit) noexcept nogil
    # The vcpu begins, or goes on, in user mode: a Verdict.
    int (*enters)(Emulator *engine) noexcept nogil
    # Its own: it runs user code for as long as that stays on the page there, and asks `enters` again.
    void (*visit)(Interposed *interposed, uint64_t va) noexcept nogil

cdef struct Emulator:
    Processor processor
    Interposed interposed
    uc_engine *uc
    void *cpu
    CPUX86State *env
    int left                # the core answered LEAVE to the exit that ended run()
    bint resuming           # one instruction runs alone, and the guest does not learn of it: see step
    uint64_t hidden         # flags that it has for that, and that are not the guest's
    uint64_t step_from      # where a debugger's step began
    uint32_t moves_flags    # the instruction there is a pushf or a popf: see debug.c
    uint64_t resumed_dr6    # dr6 before it
    uint32_t deferred       # watchpoints (dr6 bits) that the one that loaded SS touched
    # Of the first of several, for all: frames that any has translations from (see code.c).
    uint8_t *watched
    Lock announcing         # who is about to translate from a frame that is new to it
    Beside beside
