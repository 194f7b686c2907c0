# A thread's wait for descriptors and times, compiled.  See loop.pyx.
from libc.stdint cimport int64_t, uint8_t, uint32_t
from xenia.machine.errand cimport POLLERR, POLLHUP, POLLIN, POLLOUT, Errand, pollfd
from xenia.machine.lock cimport Lock
from xenia.machine.clock cimport monotonic


cdef class PollSet:
    cdef pollfd *polls
    cdef int count, room
    cdef int64_t until              # CLOCK_MONOTONIC in ns at which to wake at the latest
    cdef int add(self, int fd, short events) noexcept nogil     # its index in this round; -1: no memory
    cdef short happened(self, int index) noexcept nogil         # of POLL*; 0 for index -1
    cdef void wake_at(self, int64_t when) noexcept nogil


cdef class Loop


# Something that waits.  `fill` and `serve` are called on the loop's thread, with its lock held.
cdef class Source:
    cdef Loop loop                                              # that it was last added to
    cdef volatile uint8_t told
    cdef bint lendable                                          # a vcpu's thread may serve it
    cdef void fill(self, PollSet polls) noexcept nogil          # say what it waits for in this round
    cdef void serve(self, PollSet polls) noexcept nogil         # look at what came
    cdef void wake(self) noexcept nogil                         # have the loop ask again; from any thread
    cdef void tell(self) noexcept nogil                         # have `notice` called soon; from any thread
    # Called on the loop's thread with no lock held but the interpreter's, perhaps once more after a removal.
    cdef void notice(self) noexcept


cdef class Loop(Errand):
    cdef Lock lock                  # guards what follows, and is held but while the thread sleeps
    cdef list sources
    cdef void **entries             # the same
    cdef int count
    cdef uint32_t changes
    cdef volatile bint stopping
    cdef volatile uint8_t told     # a source has something to say to Python
    cdef int wake_fd
    cdef PollSet polls
    cdef bint lendable              # all of them are
    cdef volatile uint8_t missed    # an idle processor's thread would have waited for them
    cdef bint rests                 # the loop's own thread leaves them to such a one
    cdef bint rests_long            # until that has left
    cdef volatile uint8_t left      # it has
    cdef int64_t left_at
    cdef volatile uint8_t lent      # one waits for them now, and for this too:
    cdef int recall_fd
    cdef uint32_t lent_changes
    cdef bint rest(self) noexcept nogil
    cdef void listen(self) noexcept nogil
    cdef void serve_sources(self) noexcept nogil
    cdef become(self, list sources)
    cdef notice_all(self)
    cdef void serve_all(self) noexcept nogil
    cdef void wake(self) noexcept nogil                         # have it ask its sources again; from any thread
