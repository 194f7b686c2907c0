"""What an idle processor's thread may do for others: wait for their descriptors beside its own, and serve them.

What comes for a guest whose processor sleeps then wakes one thread instead of two: the processor's own, which sees to
it and goes on with what it meant.  Whose descriptors those are has a thread of its own too, for when no processor
sleeps, and says at each sleep whether they are to be waited for (`begin_idle`).
"""

from xenia.machine.atomic cimport count_add, word_or, word_read, word_take


cdef class Errand:
    """Something that an idle processor's thread may do."""

    cdef int begin_idle(self, pollfd *polls, int room) noexcept nogil:
        return -1

    cdef void end_idle(self, pollfd *polls) noexcept nogil:
        pass


cdef bint errands_add(Errands *errands, Errand errand) noexcept nogil:
    cdef int index
    for index in range(ROOM_FOR_ERRANDS):
        # Who took the last one back waits until nobody is inside.
        if word_read(&errands.slots[index].errand) == 0 and errands.slots[index].inside == 0:
            word_or(&errands.slots[index].errand, <uint64_t><void *>errand)
            return True
    return False


cdef ErrandSlot *errands_remove(Errands *errands, Errand errand) noexcept nogil:
    cdef int index
    for index in range(ROOM_FOR_ERRANDS):
        if word_read(&errands.slots[index].errand) == <uint64_t><void *>errand:
            word_take(&errands.slots[index].errand)
            return &errands.slots[index]
    return NULL


cdef void sleeper_init(Sleeper *sleeper, int fd) noexcept nogil:
    sleeper.polls[0].fd = fd
    sleeper.polls[0].events = POLLIN
    sleeper.polls[0].revents = 0
    sleeper.nr_polls = 1
    sleeper.nr_begun = 0


cdef void errands_begin(Errands *errands, Sleeper *sleeper) noexcept nogil:
    cdef ErrandSlot *slot
    cdef void *errand
    cdef int index, count
    for index in range(ROOM_FOR_ERRANDS):
        slot = &errands.slots[index]
        if slot.errand == 0:
            continue
        # Whoever takes it back looks at `inside` afterwards.
        count_add(&slot.inside, 1)
        errand = <void *>word_read(&slot.errand)
        count = -1
        if errand != NULL:
            count = (<Errand>errand).begin_idle(&sleeper.polls[sleeper.nr_polls],
                                                sizeof(sleeper.polls) // sizeof(pollfd) - sleeper.nr_polls)
        if count < 0:
            count_add(&slot.inside, -1)
            continue
        sleeper.begun[sleeper.nr_begun] = slot
        sleeper.errands[sleeper.nr_begun] = errand
        sleeper.first[sleeper.nr_begun] = sleeper.nr_polls
        sleeper.nr_begun += 1
        sleeper.nr_polls += count


cdef void errands_end(Sleeper *sleeper) noexcept nogil:
    cdef int index
    for index in range(sleeper.nr_begun):
        (<Errand>sleeper.errands[index]).end_idle(&sleeper.polls[sleeper.first[index]])
        count_add(&sleeper.begun[index].inside, -1)
    sleeper.nr_begun = 0
