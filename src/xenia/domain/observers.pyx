"""Watching what a domain does, for who asks, and at no price where nobody does.

A domain that is observed has another GuestAbi, whose column of the hypercall table is filled with functions that note a
call and make it, and its first processor other operations, which note a changed entry and pass it on: nothing on those
paths asks whether somebody looks.  Raising an event does, in the one word that it has at hand.

What is watched is noted, without waiting for anybody, in a ring; who takes it from there is another thread, so that
whatever that does holds up no vcpu and no lock.  Where it does not keep up, what there is no room for is counted.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy
from posix.unistd cimport write
from xenia.cpu.processor cimport Processor
from xenia.domain.domain cimport Domain, Vcpu
from xenia.machine.atomic cimport flag_take, word_read
from xenia.machine.clock cimport monotonic
from xenia.machine.lock cimport lock, unlock

cdef extern from *:
    """
    #include <stdint.h>
    /* The next number, where there is room for it. */
    static inline int claim(volatile uint64_t *head, volatile uint64_t *tail, uint64_t room, uint64_t *got) {
        uint64_t next = __atomic_load_n(head, __ATOMIC_SEQ_CST);
        do {
            if (next - __atomic_load_n(tail, __ATOMIC_SEQ_CST) >= room)
                return 0;
        } while (!__atomic_compare_exchange_n(head, &next, next + 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
        *got = next;
        return 1;
    }
    static inline void word_add(volatile uint64_t *word, uint64_t n) { __atomic_fetch_add(word, n, __ATOMIC_SEQ_CST); }
    static inline void word_store(volatile uint64_t *word, uint64_t n) { __atomic_store_n(word, n, __ATOMIC_SEQ_CST); }
    static inline void pointer_store(void *place, const void *to) {
        __atomic_store_n((const void **)place, to, __ATOMIC_SEQ_CST);
    }
    """
    bint claim(volatile uint64_t *head, volatile uint64_t *tail, uint64_t room, uint64_t *got) noexcept nogil
    void word_add(volatile uint64_t *word, uint64_t n) noexcept nogil
    void word_store(volatile uint64_t *word, uint64_t n) noexcept nogil
    void pointer_store(void *place, const void *to) noexcept nogil


cdef void observers_begin(Observers *it, Domain *domain) noexcept nogil:
    cdef Processor *processor = domain.memory.processors[0]
    it.plain = domain.abi
    it.abi = domain.abi[0]
    it.abi.column = OBSERVED
    it.ops.plain = processor.ops
    it.ops.ops = processor.ops[0]
    it.ops.ops.pte_changed = op_pte_changed
    it.ops.observers = it
    lock(&domain.memory.lock)
    pointer_store(&processor.ops, &it.ops)
    unlock(&domain.memory.lock)
    pointer_store(&domain.abi, it)


cdef void observers_end(Observers *it, Domain *domain) noexcept nogil:
    pointer_store(&domain.abi, it.plain)
    lock(&domain.memory.lock)
    pointer_store(&domain.memory.processors[0].ops, it.ops.plain)
    unlock(&domain.memory.lock)


cdef Observation *observers_next(Observers *it) noexcept nogil:
    cdef Observation *found = &it.ring[it.tail % NR_OBSERVATIONS]
    return found if word_read(&found.ticket) == it.tail + 1 else NULL


cdef void observers_taken(Observers *it) noexcept nogil:
    word_store(&it.tail, it.tail + 1)


cdef void note(Observers *it, uint32_t kind, uint32_t vcpu, uint64_t number, const uint64_t *args, int nr_args,
               int64_t result) noexcept nogil:
    cdef uint64_t one = 1, at = 0
    cdef Observation *free
    if not claim(&it.head, &it.tail, NR_OBSERVATIONS, &at):
        word_add(&it.lost, 1)
        return
    free = &it.ring[at % NR_OBSERVATIONS]
    free.time = monotonic()
    free.kind = kind
    free.vcpu = vcpu
    free.number = number
    if nr_args:
        memcpy(free.args, args, nr_args * sizeof(uint64_t))
    free.result = result
    word_store(&free.ticket, at + 1)
    if it.asleep and flag_take(&it.asleep):
        write(it.wake_fd, &one, sizeof(one))


cdef void observe_hypercall(Vcpu *vcpu, uint64_t number, const uint64_t *args, int64_t result) noexcept nogil:
    cdef Observers *it = <Observers *>vcpu.domain.abi
    if it.abi.column == OBSERVED and it.hypercalls >> number & 1:
        note(it, SEEN_HYPERCALL, vcpu.id, number, args, 6, result)


cdef void observe_event(Domain *domain, uint32_t port, uint32_t vcpu) noexcept nogil:
    cdef Observers *it = <Observers *>domain.abi
    if it.abi.column == OBSERVED and (it.all_events or (port < NR_PORTS and it.ports[port >> 6] >> (port & 63) & 1)):
        note(it, SEEN_EVENT, vcpu, port, NULL, 0, 0)


# With the memory's lock held, under which the operations are exchanged.
cdef void op_pte_changed(Processor *processor, uint64_t table, unsigned index, uint64_t old,
                         uint64_t new) noexcept nogil:
    cdef ObservedOps *ops = <ObservedOps *>processor.ops
    cdef Observers *it = ops.observers
    cdef uint64_t entry[4]
    cdef uint64_t level = (<Vcpu *>processor.vcpu).domain.machine.frames[table].type
    ops.plain.pte_changed(processor, table, index, old, new)
    if it.levels >> level & 1:
        entry[0] = table
        entry[1] = index
        entry[2] = old
        entry[3] = new
        note(it, SEEN_UPDATE, 0, level, entry, 4, 0)
