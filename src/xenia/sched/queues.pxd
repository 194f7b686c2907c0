# The credit policy's queues.
from libc.stdint cimport uint32_t
from xenia.sched.heap cimport Heap
from xenia.sched.policy cimport PcpuMask

cdef struct CreditQueue:    # who waits, of the vcpus that may run on the same pcpus
    PcpuMask hard
    PcpuMask soft
    Heap waiting            # who has paid least comes first
    uint32_t nr_vcpus       # that belong to it, waiting or not
    CreditQueue *next

# The one of that affinity, with room for one more.  NULL: there is no memory.
cdef CreditQueue *queue_for(CreditQueue **queues, const PcpuMask *hard, const PcpuMask *soft) noexcept nogil
# Unless somebody belongs to it.
cdef void drop_queue(CreditQueue **queues, CreditQueue *queue) noexcept nogil
