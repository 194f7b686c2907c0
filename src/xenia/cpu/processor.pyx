"""Several processors over the same memory: what one asks of the others, and when that is done.

Theory of operation.  What a processor has cached (translations of addresses, code that it translated, a page table that
it is just walking) is its own: its thread alone touches it, and nothing there is locked.  So another one that changes
a page table cannot take a translation away; it asks for it, and waits.

A processor is *inside* while its thread may use such things: in guest code, and in exits that are answered without any
lock.  It is *outside* while its thread waits for or holds a lock, sleeps, or does not run it at all.  Going in and out
is one atomic operation each; with one processor, none.

Who asks puts the request into the processor's mailbox and then looks whether it is inside.  Who goes in says so and
then looks into the mailbox.  With a full barrier between the two on either side, one of them sees the other: so a
processor that is seen outside does what was asked of it before it uses anything again, and need not be waited for.  One
that is inside is told to look (`ops.look`); it does so at the next translated block, or at the end of the exit without
a lock, and needs nobody for that.  So whoever waits, waits for a few microseconds of guest code, and there is no
deadlock: who waits for anything is outside, also who waits here.  (That is a rule for all that run on a vcpu's thread:
a lock, another domain's too, is taken outside.)

An engine may lose such a word: one that takes an earlier one back just then does not order that before its next look.
So it is said again to a processor that does not obey.

That a processor has left means that its stores are done: going out is a locked operation after them.  An engine that
has guest code run elsewhere, on another thread, sees to it that it does not run on when its processor is outside
(`ops.settle`): nobody waits for one that is.

Code.  A request to forget code is not waited for.  A processor that runs code which another one writes may run the old
or the new, until it learns of the writing and executes a serialising instruction.  What it learns it by is written
after the code, and so after the request; by then it is asked to look, and looks before it runs other code than it is
in the middle of.  Which frames have code that another processor translated, and how stores there are noticed, is
the engine's (ASK_WATCH_CODE).

A mailbox has room for a few requests.  Where more come, because their processor sleeps, they become one: everything.
"""

from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport memcpy

from xenia.machine.atomic cimport count_add, count_store, half_read
from xenia.machine.lock cimport (
    RANK_ALONE, RANK_MAILBOX, Lock, condition_signal_and_unlock, condition_wait_for, lock, lock_init, unlock,
)

cdef enum:
    MOST = 64               # bits of `which`
    PATIENCE = 200          # looks at a processor that is inside, before one sleeps until it tells
    LOOK_AGAIN_NS = 200000

cdef extern from *:
    """
    static inline void relax(void)
    {
    #ifdef __x86_64__
        __builtin_ia32_pause();
    #endif
    }
    """
    void relax() noexcept nogil


cdef void processor_share(Processor *processor, Processor **siblings, uint32_t *nr_siblings) noexcept nogil:
    processor.siblings = siblings
    processor.nr_siblings = nr_siblings
    lock_init(&processor.exclusion, RANK_ALONE)
    lock_init(&processor.mailbox.lock, RANK_MAILBOX)
    if processor.ops.share != NULL:
        processor.shared = True
        processor.ops.share(processor)


cdef void processor_begin(Processor *processor) noexcept nogil:
    if processor.shared:
        processor.thread = this_thread()
        processor_enter(processor)


cdef void processor_end(Processor *processor) noexcept nogil:
    if processor.shared:
        processor_leave(processor)
        processor.thread = NULL


# --- who is asked


cdef void processor_obey(Processor *processor) noexcept nogil:
    cdef Mailbox *mailbox = &processor.mailbox
    cdef Request requests[MAILBOX_ROOM]
    cdef uint32_t count, ticket, i
    cdef bint all_translations, all_code, stand
    while mailbox.posted != mailbox.applied:
        lock(&mailbox.lock)
        count = mailbox.nr_requests
        memcpy(requests, mailbox.requests, count * sizeof(Request))
        all_translations = mailbox.all_translations
        all_code = mailbox.all_code
        mailbox.nr_requests = 0
        stand = mailbox.stand
        mailbox.all_translations = mailbox.all_code = mailbox.stand = False
        ticket = mailbox.posted
        unlock(&mailbox.lock)
        if all_translations:
            processor.ops.flush_all(processor)
            processor.ops.watch_code(processor, EVERY_FRAME)
        if all_code:
            processor.ops.code_dirty(processor, 0, 0)
        for i in range(count):
            processor_apply(processor, requests[i].what, requests[i].at, requests[i].length)
        count_store(&mailbox.applied, ticket)
        if mailbox.awaited:
            processor_tell(processor)
        if stand:
            stand_outside(processor)


cdef void stand_outside(Processor *processor) noexcept nogil:
    cdef Lock *exclusion = &processor.siblings[0].exclusion
    if processor.alone:         # what another one asked, which has ended since
        return
    processor_leave(processor)
    lock(exclusion)
    unlock(exclusion)
    processor_step(&processor.mailbox.state)


cdef void processor_begin_alone(Processor *processor) noexcept nogil:
    processor_leave(processor)
    lock(&processor.siblings[0].exclusion)
    processor.alone = True
    processors_ask(processor.siblings, processor.nr_siblings[0], processor_others(processor), ASK_STAND, 0, 0)
    processor_enter(processor)


cdef void processor_end_alone(Processor *processor) noexcept nogil:
    processor.alone = False
    unlock(&processor.siblings[0].exclusion)


cdef void processor_tell(Processor *processor) noexcept nogil:
    lock(&processor.mailbox.lock)
    condition_signal_and_unlock(&processor.mailbox.progress, True, &processor.mailbox.lock)


# --- who asks


cdef inline bint is_translation(int what) noexcept nogil:
    return what != ASK_FORGET_CODE


cdef void put_request(Mailbox *mailbox, int what, uint64_t at, uint64_t length) noexcept nogil:
    cdef uint32_t i, kept = 0
    if what == ASK_STAND:
        mailbox.stand = True
        return
    if mailbox.all_translations if is_translation(what) else mailbox.all_code:
        return
    if what != ASK_FLUSH_ALL and mailbox.nr_requests < MAILBOX_ROOM:
        mailbox.requests[mailbox.nr_requests] = Request(what, at, length)
        mailbox.nr_requests += 1
        return
    # All of that kind, in the place of each.
    for i in range(mailbox.nr_requests):
        if is_translation(mailbox.requests[i].what) != is_translation(what):
            mailbox.requests[kept] = mailbox.requests[i]
            kept += 1
    mailbox.nr_requests = kept
    if is_translation(what):
        mailbox.all_translations = True
    else:
        mailbox.all_code = True


cdef inline uint32_t post(Processor *processor, int what, uint64_t at, uint64_t length) noexcept nogil:
    cdef Mailbox *mailbox = &processor.mailbox
    cdef uint32_t ticket
    lock(&mailbox.lock)
    put_request(mailbox, what, at, length)
    mailbox.posted += 1
    ticket = mailbox.posted
    unlock(&mailbox.lock)
    return ticket


cdef inline bint is_done(Processor *processor, uint32_t ticket) noexcept nogil:
    return (not half_read(&processor.mailbox.state) & 1
            or <int32_t>(half_read(&processor.mailbox.applied) - ticket) >= 0)


cdef void await_done(Processor *processor, uint32_t ticket) noexcept nogil:
    cdef Mailbox *mailbox = &processor.mailbox
    cdef int i
    for i in range(PATIENCE):
        if is_done(processor, ticket):
            return
        relax()
        if i % 50 == 49:
            processor.ops.look(processor)
    count_add(&mailbox.awaited, 1)
    lock(&mailbox.lock)
    while not is_done(processor, ticket):
        condition_wait_for(&mailbox.progress, &mailbox.lock, LOOK_AGAIN_NS)
        processor.ops.look(processor)
    unlock(&mailbox.lock)
    count_add(&mailbox.awaited, -1)


cdef void processors_ask(Processor **processors, uint32_t count, uint64_t which, int what, uint64_t at,
                         uint64_t length) noexcept nogil:
    cdef uint32_t tickets[MOST]
    cdef uint64_t waiting = 0
    cdef Processor *own = NULL
    cdef Processor *processor
    cdef uint32_t i
    if what == ASK_FORGET_CODE:
        full_barrier()          # between what was written and the question whose code that was
    for i in range(count):
        processor = processors[i]
        if processor_is_mine(processor):
            own = processor
        if not which >> i & 1:
            continue
        if not processor.shared or processor == own:
            processor_apply(processor, what, at, length)
        elif what != ASK_FORGET_CODE or processor_has_code(processor, at, length):
            tickets[i] = post(processor, what, at, length)
            waiting |= <uint64_t>1 << i
    if not waiting:
        return
    full_barrier()
    for i in range(count):
        if waiting >> i & 1:
            if half_read(&processors[i].mailbox.state) & 1:
                processors[i].ops.look(processors[i])
            else:
                waiting &= ~(<uint64_t>1 << i)
    if what == ASK_FORGET_CODE or not waiting:
        return
    if own != NULL and processor_is_inside(own):
        processor_leave(own)
    else:
        own = NULL
    for i in range(count):
        if waiting >> i & 1:
            await_done(processors[i], tickets[i])
    if own != NULL:
        processor_enter(own)
