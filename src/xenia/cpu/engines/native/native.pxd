# A native processor: what it adds to the emulated one that it is.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from xenia.cpu.engines.emulated.emulator cimport Emulator
from xenia.cpu.engines.native.mapping cimport Mapping
from xenia.cpu.engines.native.policy cimport Bursts
from xenia.cpu.engines.native.stub cimport NR_STUBS, Arena, Stub
from xenia.cpu.processor cimport ProcessorOps
from xenia.machine.lock cimport Lock

cdef enum:
    NR_SPACES = 256             # that are remembered

cdef struct Space:              # an address space, by its top table
    uint64_t root               # 0: none
    volatile uint8_t dropped    # it is no more; whoever has this number now is another one
    Bursts bursts
    Stub *stub
    uint64_t used               # when it ran natively last
    uint64_t wanted             # the last page that user code did not find; 0 none

cdef struct Native:
    Emulator *engine
    ProcessorOps ops            # of the emulated processor, with those here in the place of some
    ProcessorOps *inner
    Mapping mapping
    Arena *arena
    Space spaces[NR_SPACES]
    Space *of_stub[NR_STUBS]
    bint eager                  # all user code that can
    int64_t since               # user code runs on the emulated processor; 0: it does not
    Lock kicking                # guards `running`: none is kicked that is not in guest code
    volatile uint32_t running            # number + 1 of the stub in which guest code is: it is to be kicked
    Stub *unsettled             # it may still run
    uint64_t home               # host processors that this thread may use
    int pinned                  # number + 1 of the one that it is kept on now
    bint root_dropped           # and that the guest had no flush for
    bint emulated_next          # what stopped it is for the emulated processor
    volatile uint32_t entries   # counts how often it was set
    uint64_t time               # counts stays
    uint64_t nr_syscalls, nr_faults, nr_mapped, nr_others, nr_lost, nr_moves
