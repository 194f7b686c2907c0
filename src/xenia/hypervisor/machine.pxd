# A machine and its domains, for those above that reach into a domain: what backends use of it.
from libc.stdint cimport uint64_t
from xenia.cpu.engine cimport Engine
from xenia.domain.domain cimport Directory, Domain
from xenia.machine.machine cimport MachineMemory
from xenia.hypervisor.alarm cimport Alarms
from xenia.hypervisor.pcpu cimport Pcpu, Seat
from xenia.sched.null cimport NullPolicy
from xenia.sched.policy cimport SchedVcpu


cdef class MachineHandle:
    cdef readonly MachineMemory memory
    cdef readonly bint check
    cdef readonly bint confine
    cdef readonly str engine
    cdef public int next_domid      # where the search for the next domain's number begins
    cdef Directory *directory
    cdef Alarms alarms


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
