# A domain that runs, for those above that reach into it: what backends use of it.
from libc.stdint cimport uint64_t
from xenia.domain.domain cimport MAX_VCPUS, Domain
from xenia.hypervisor.machine cimport MachineHandle
from xenia.hypervisor.pcpus cimport PcpuPool
from xenia.hypervisor.pool cimport Party


cdef struct Checked:            # a vcpu that the debug mode looks at
    void *handle                # the DomainHandle, and the vcpu's number
    int number


cdef class DomainHandle:
    cdef readonly MachineHandle machine
    cdef readonly int domid
    cdef readonly int emergency_fd  # what the guest writes with CONSOLEIO_write before it uses its console ring,
    cdef readonly int log_fd        # and from then on
    cdef readonly uint64_t nr_pages
    cdef readonly int max_vcpus
    cdef readonly str engine        # its name
    cdef list engines               # of each vcpu  # type: list[Engine]
    cdef Domain *domain
    cdef Party party                # its vcpus
    cdef Checked *checked           # each of them
    cdef PcpuPool pool              # where they run: the machine's, or its own
    cdef object threads, ended, failure, on_end, stale, report
    cdef readonly bint paused
    cdef finish(self)
