# What runs the code of one vcpu, and how one is made: all that is known of it above cpu/.
from xenia.cpu.processor cimport Processor
from xenia.machine.machine cimport MachineMemory


cdef class Engine:
    cdef Processor *processor       # the boundary; as long as the engine lives
    cdef readonly MachineMemory memory      # that it runs over, and keeps
    cdef readonly object capabilities       # type: Capabilities


# A processor of the engine of that name (registry.py).  ConfigError where there is none, or the host has no room.
cdef Engine engine_new(str name, MachineMemory memory)
