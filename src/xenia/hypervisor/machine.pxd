# A machine and its domains, for those above that reach into a domain: what backends use of it.
from libc.stdint cimport uint64_t
from xenia.cpu.engine cimport Engine
from xenia.domain.domain cimport Directory, Domain
from xenia.machine.machine cimport MachineMemory
from xenia.hypervisor.run_loop cimport RunLoop


cdef class MachineHandle:
    cdef readonly MachineMemory memory
    cdef readonly bint check
    cdef readonly bint confine
    cdef readonly str engine
    cdef public int next_domid      # where the search for the next domain's number begins
    cdef Directory *directory


cdef class DomainHandle:
    cdef readonly MachineHandle hypervisor
    cdef readonly int domid
    cdef readonly int emergency_fd  # what the guest writes with CONSOLEIO_write before it uses its console ring,
    cdef readonly int log_fd        # and from then on
    cdef readonly uint64_t nr_pages
    cdef Engine engine
    cdef Domain *domain
    cdef RunLoop loop
    cdef object threads, ended, failure, on_end, stale, report
    cdef bint running
    cdef ring_alarm(self)
