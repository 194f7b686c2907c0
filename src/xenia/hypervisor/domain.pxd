# A domain that runs, for those above that reach into it: what backends use of it.
from libc.stdint cimport int32_t, uint64_t
from xenia.domain.domain cimport MAX_VCPUS, Domain
from xenia.hypervisor.machine cimport MachineHandle
from xenia.hypervisor.pcpu cimport Pcpu, Seat
from xenia.sched.null cimport NullPolicy
from xenia.sched.policy cimport SchedVcpu


cdef struct Place:              # a vcpu's own pcpu
    Pcpu pcpu
    Seat seat
    NullPolicy policy
    SchedVcpu *seats[1]
    void *handle            # the DomainHandle, and the vcpu's number
    int number


cdef class DomainHandle:
    cdef readonly MachineHandle machine
    cdef readonly int domid
    cdef readonly int emergency_fd  # what the guest writes with CONSOLEIO_write before it uses its console ring,
    cdef readonly int log_fd        # and from then on
    cdef readonly uint64_t nr_pages
    cdef readonly int max_vcpus
    cdef list engines               # of each vcpu  # type: list[Engine]
    cdef Domain *domain
    cdef Place *places              # of each vcpu
    cdef object threads, ended, failure, on_end, stale, report
    cdef int32_t running            # threads that run
    cdef count_out(self, int nr)
