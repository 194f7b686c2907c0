# A domain whose vcpu stands still, for other aids that act on it.
from libc.stdint cimport uint64_t
from xenia.domain.domain cimport Domain, Vcpu
from xenia.domain.event_state cimport Listener
from xenia.hypervisor.machine cimport MachineHandle
from xenia.machine.machine cimport MachineMemory
from xenia.testing.recorder cimport RecordingProcessor


cdef class StillDomain:
    cdef MachineMemory memory
    cdef MachineHandle home
    cdef Domain *domain
    cdef int wake_fd
    cdef uint64_t waits_since       # ns of the host's clock, 0 it does not
    cdef int nr_wakes[32]           # of each vcpu beyond the first
    cdef int running                # the vcpu that makes hypercalls
    cdef RecordingProcessor processor
    cdef list more_processors       # of the vcpus beyond the first
    cdef Listener listener
    cdef bint sends_back
    cdef readonly int nr_heard      # events that the listener answered
    cdef uint64_t frames[64]
    cdef load(self, uint64_t *args, arguments)
    cdef RecordingProcessor recorder(self, int vcpu)
    cdef bint hear(self) noexcept nogil
    cdef Vcpu *create_vcpu(self) except NULL
