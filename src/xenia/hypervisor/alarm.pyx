"""Alarms: a timer for each pcpu, and one thread that rings them all.

Theory of operation.  Each alarm is a timerfd, so that its owner sets it with one system call and asks nobody.  The
thread waits for all of them with one epoll, which tells it once of each expiry (edge-triggered: nothing needs to be
read).  What comes back is a place in a table, not an address: the thread looks it up and rings with the lock held, and
whoever takes an alarm out of the table holds the lock as well.  So an alarm that is not watched any more can go,
whatever the kernel still has to tell of it; at worst whoever has its place by now is rung for nothing.

There is a thread as long as there is an alarm.  The last one to go wakes it, on a descriptor of its own, to end.
"""

import os
import threading

from libc.errno cimport EEXIST, errno
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from posix.unistd cimport close, write

from xenia.machine.lock cimport RANK_ALARMS, lock, lock_init, unlock

from xenia.jail.kinds import Kind
from xenia.machine.thread import HostThread

cdef extern from "<sys/timerfd.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    struct itimerspec:
        timespec it_interval
        timespec it_value
    int timerfd_create(int clock, int flags)
    int timerfd_settime(int fd, int flags, const itimerspec *new, itimerspec *old)
    int TFD_CLOEXEC

cdef extern from "<time.h>" nogil:
    int CLOCK_MONOTONIC

cdef extern from "<sys/epoll.h>" nogil:
    union epoll_data_t:
        uint64_t u64
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event *event)
    int epoll_wait(int epfd, epoll_event *events, int maxevents, int timeout)
    int EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLLIN
    uint32_t EPOLLET

cdef enum:
    NS = 1000000000
    AT_ONCE = 32            # expiries told of in one go


cdef int alarm_create(Alarm *alarm, void (*ring)(void *argument) noexcept nogil, void *argument) noexcept nogil:
    alarm.place = -1
    alarm.ring = ring
    alarm.argument = argument
    alarm.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC)
    return errno if alarm.fd < 0 else 0


cdef void alarm_close(Alarm *alarm) noexcept nogil:
    if alarm.fd >= 0:
        close(alarm.fd)
    alarm.fd = -1


cdef void alarm_set(Alarm *alarm, uint64_t wait) noexcept nogil:
    cdef itimerspec setting
    setting.it_interval.tv_sec = 0
    setting.it_interval.tv_nsec = 0
    setting.it_value.tv_sec = wait // NS
    setting.it_value.tv_nsec = wait % NS
    timerfd_settime(alarm.fd, 0, &setting, NULL)


cdef class Alarms:
    """The alarms of a machine's pcpus."""

    def __cinit__(self):
        self.epoll_fd = self.end_fd = -1
        lock_init(&self.lock, RANK_ALARMS)
        self.starting = threading.Lock()
        self.end_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.epoll_fd = epoll_create1(EPOLL_CLOEXEC)
        if self.epoll_fd < 0:
            raise OSError(errno, os.strerror(errno))
        self.listen(self.end_fd, ~<uint64_t>0)

    def __dealloc__(self):
        for fd in (self.epoll_fd, self.end_fd):
            if fd >= 0:
                close(fd)
        free(self.watched)

    cdef listen(self, int fd, uint64_t place):
        cdef epoll_event event
        event.events = <uint32_t>EPOLLIN | EPOLLET
        event.data.u64 = place
        if epoll_ctl(self.epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0:
            return
        if errno != EEXIST or epoll_ctl(self.epoll_fd, EPOLL_CTL_MOD, fd, &event) != 0:    # it was watched before
            raise OSError(errno, os.strerror(errno))

    cdef watch(self, Alarm *alarm):
        cdef int place
        cdef bint start
        with self.starting:
            with nogil:
                lock(&self.lock)
                place = self.free_place()
                if place >= 0:
                    self.watched[place] = alarm
                    alarm.place = place
                    self.nr_watched += 1
                start = not self.running
                self.running = self.running or place >= 0
                unlock(&self.lock)
            if place < 0:
                raise MemoryError
            try:
                if start:
                    self.thread = HostThread(self._ring, "alarms", Kind.ALARM)
                    self.thread.start()
                    start = False
                self.listen(alarm.fd, place)
            except BaseException:
                with nogil:
                    if start:
                        self.running = False
                    self.unwatch(alarm)
                raise

    cdef int free_place(self) noexcept nogil:
        cdef uint32_t place, room
        cdef Alarm **watched
        for place in range(self.room):
            if self.watched[place] == NULL:
                return place
        room = 2 * self.room + 8
        watched = <Alarm **>realloc(self.watched, room * sizeof(Alarm *))
        if watched == NULL:
            return -1
        for place in range(self.room, room):
            watched[place] = NULL
        self.watched = watched
        place = self.room
        self.room = room
        return place

    cdef void unwatch(self, Alarm *alarm) noexcept nogil:
        cdef uint64_t one = 1
        lock(&self.lock)
        if alarm.place >= 0:
            self.watched[alarm.place] = NULL
            alarm.place = -1
            self.nr_watched -= 1
            if self.nr_watched == 0:
                write(self.end_fd, &one, 8)
        unlock(&self.lock)

    def settle(self) -> None:
        """Wait until the thread has ended, where there is nothing left that it would ring."""
        with self.starting:
            if self.thread is not None and self.nr_watched == 0:
                self.thread.end()
                self.thread = None

    def _ring(self) -> None:
        with nogil:
            self.serve()

    cdef void serve(self) noexcept nogil:
        cdef epoll_event[AT_ONCE] told
        cdef int i, nr
        cdef bint over = False
        while not over:
            nr = epoll_wait(self.epoll_fd, told, AT_ONCE, -1)
            lock(&self.lock)
            for i in range(nr):
                if told[i].data.u64 < self.room and self.watched[told[i].data.u64] != NULL:
                    self.watched[told[i].data.u64].ring(self.watched[told[i].data.u64].argument)
            if self.nr_watched == 0:
                over = True
                self.running = False
            unlock(&self.lock)
