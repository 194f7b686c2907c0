# A machine, in which domains live.
from xenia.domain.domain cimport Directory
from xenia.hypervisor.alarm cimport Alarms
from xenia.machine.machine cimport MachineMemory


cdef class MachineHandle:
    cdef readonly MachineMemory memory
    cdef readonly bint check
    cdef readonly bint confine
    cdef readonly str engine
    cdef public int next_domid      # where the search for the next domain's number begins
    cdef Directory *directory
    cdef Alarms alarms
