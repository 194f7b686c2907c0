"""The credit policy's queues: one for each affinity that a vcpu has."""

from libc.stdlib cimport calloc, free
from libc.string cimport memcmp

from xenia.sched.heap cimport heap_free, heap_room


cdef CreditQueue *queue_for(CreditQueue **queues, const PcpuMask *hard, const PcpuMask *soft) noexcept nogil:
    cdef CreditQueue *queue = queues[0]
    while queue != NULL:
        if (memcmp(&queue.hard, hard, sizeof(PcpuMask)) == 0 and memcmp(&queue.soft, soft, sizeof(PcpuMask)) == 0):
            break
        queue = queue.next
    if queue == NULL:
        queue = <CreditQueue *>calloc(1, sizeof(CreditQueue))
        if queue == NULL:
            return NULL
        queue.hard = hard[0]
        queue.soft = soft[0]
        queue.next = queues[0]
        queues[0] = queue
    if not heap_room(&queue.waiting, queue.nr_vcpus + 1):
        drop_queue(queues, queue)
        return NULL
    return queue


cdef void drop_queue(CreditQueue **queues, CreditQueue *queue) noexcept nogil:
    cdef CreditQueue **link = queues
    if queue.nr_vcpus:
        return
    while link[0] != queue:
        link = &link[0].next
    link[0] = queue.next
    heap_free(&queue.waiting)
    free(queue)
