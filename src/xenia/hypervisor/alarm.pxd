# Alarms: each a timer, and one thread that rings them all.
from libc.stdint cimport int32_t, uint32_t, uint64_t
from xenia.machine.lock cimport Lock

cdef struct Alarm:
    int fd                  # timerfd, -1 none
    int32_t place           # among those that are watched, -1 none
    # On the thread of all alarms; perhaps once too often.  It must not wait.
    void (*ring)(void *argument) noexcept nogil
    void *argument

# 0 or an errno.
cdef int alarm_create(Alarm *alarm, void (*ring)(void *argument) noexcept nogil, void *argument) noexcept nogil
cdef void alarm_close(Alarm *alarm) noexcept nogil                  # it is not watched
cdef void alarm_set(Alarm *alarm, uint64_t wait) noexcept nogil     # ns from now on; 0: never


cdef class Alarms:
    cdef Lock lock          # guards all but `thread`, and is held while an alarm rings
    cdef Alarm **watched
    cdef uint32_t room
    cdef uint32_t nr_watched
    cdef bint running       # the thread; it ends with the last alarm
    cdef int epoll_fd
    cdef int end_fd         # written when there is none left to watch
    cdef object starting, thread
    # The alarm has a thread to ring it.  OSError where the host gives none.
    cdef watch(self, Alarm *alarm)
    # From any thread: it does not ring any more, nor is it ringing; what it rings for may go.
    cdef void unwatch(self, Alarm *alarm) noexcept nogil
    cdef listen(self, int fd, uint64_t place)
    cdef int free_place(self) noexcept nogil
    cdef void serve(self) noexcept nogil
