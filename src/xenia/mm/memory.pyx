"""The flush clock: when a frame that was writable may be used as something else.

Theory of operation.  A translation that a processor has cached outlives the entry it came from.  When a frame loses its
last writable reference, each of the domain's processors may still have one that lets it write there, until it flushes.
Flushing the frame then and there would cost as much as all the flushes that guests save; so the frame is stamped with
the time, and when it is next wanted as a page table, it is flushed unless every processor has dropped everything since.

With one processor the time is the number of its full flushes: another number, flushed.

With several it is an epoch.  One ends when every processor has flushed since it began.  A frame stamped in epoch e may
have lost its reference after some processor's flush of that epoch, so the end of e says nothing; but epoch e + 1 began
afterwards, and when it ends all have flushed since.  So a stamp that is two epochs old needs no flush.  Epochs advance
only when somebody asks the time; who asks seldom flushes once too often, and never once too little.  Numbers that come
round after 2^32 flushes do the same.

A processor that nobody runs, a vcpu's that sleeps or was never brought up, would let no epoch end.  It is asked to
flush before it runs again, which is as good.

A processor counts a flush in the middle of it, on its own thread, outside of the guest.  Reading a count that is new
means therefore that the guest does not run there until the flush is complete; and a full barrier between the change of
an entry and the reading of a count that is old means that a flush to come will read the changed entry.
"""

from libc.stdint cimport uint32_t

from xenia.cpu.processor cimport full_barrier, processor_share

cdef extern from *:
    """
    static inline uint32_t clock_load(uint32_t *clock) { return __atomic_load_n(clock, __ATOMIC_SEQ_CST); }
    """
    uint32_t clock_load(uint32_t *clock) noexcept nogil


cdef void memory_add_processor(DomainMemory *memory, Processor *processor) noexcept nogil:
    if memory.nr_processors == 1:       # stamps of the one so far are as old in the new reckoning
        memory.epoch = memory.processors[0].flush_clock
        memory.seen[0] = memory.processors[0].flush_clock
        processor_share(memory.processors[0], memory.processors, &memory.nr_processors)
    memory.processors[memory.nr_processors] = processor
    memory.seen[memory.nr_processors] = processor.flush_clock
    memory.nr_processors += 1
    if memory.nr_processors > 1:
        processor_share(processor, memory.processors, &memory.nr_processors)


cdef uint32_t epoch_of_many(DomainMemory *memory) noexcept nogil:
    cdef uint64_t idle = 0
    cdef uint32_t i
    full_barrier()
    for i in range(memory.nr_processors):
        if clock_load(&memory.processors[i].flush_clock) == memory.seen[i]:
            if not memory.processors[i].shared or memory.processors[i].thread != NULL:
                return memory.epoch
            idle |= <uint64_t>1 << i
    if idle:
        mm_flush_all(memory, idle)
    for i in range(memory.nr_processors):
        memory.seen[i] = clock_load(&memory.processors[i].flush_clock)
    memory.epoch += 1
    return memory.epoch
