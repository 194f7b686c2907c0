# A domain that runs, for those above that reach into it: what backends use of it.
from libc.stdint cimport uint64_t
from xenia.cpu.engine cimport Engine
from xenia.domain.domain cimport Domain
from xenia.hypervisor.machine cimport MachineHandle
from xenia.hypervisor.pcpu cimport Pcpu, Seat
from xenia.sched.null cimport NullPolicy
from xenia.sched.policy cimport SchedVcpu


cdef class DomainHandle:
    cdef readonly MachineHandle machine
    cdef readonly int domid
    cdef readonly int emergency_fd  # what the guest writes with CONSOLEIO_write before it uses its console ring,
    cdef readonly int log_fd        # and from then on
    cdef readonly uint64_t nr_pages
    cdef Engine engine
    cdef Domain *domain
    cdef Pcpu pcpu                  # its vcpu's own
    cdef Seat seat
    cdef NullPolicy policy
    cdef SchedVcpu *places[1]
    cdef object threads, ended, failure, on_end, stale, report
    cdef bint running
