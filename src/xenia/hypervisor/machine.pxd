# A machine, in which domains live.
from libc.stdint cimport uint64_t
from xenia.domain.domain cimport Directory, Domain
from xenia.hypervisor.alarm cimport Alarms
from xenia.hypervisor.pcpus cimport PcpuPool
from xenia.machine.machine cimport MachineMemory

cdef enum:
    SLACK_PAGES = 256   # that a domain may have beyond its memory, as xl sets it


cdef class MachineHandle:
    cdef readonly MachineMemory memory
    cdef readonly bint check
    cdef readonly bint confine
    cdef readonly str engine
    cdef public int next_domid      # where the search for the next domain's number begins
    cdef Directory *directory
    cdef Alarms alarms
    # Frames that this domain may have more (NULL: a new one): those that are free, and nobody else's to ask for.
    cdef uint64_t left_for(self, Domain *domain) noexcept nogil
    cdef readonly str scheduler
    cdef PcpuPool pool              # None: each domain has its own
    cdef PcpuPool pool_for(self, int domid, int nr_vcpus)
