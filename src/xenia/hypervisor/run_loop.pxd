# The run loop: one host thread runs one domain's vcpu until it shuts down or is told to stop.
from libc.stdint cimport uint64_t
from xenia.domain.domain cimport Domain

cdef struct RunLoop:
    Domain *domain
    int alarm_fd                # timerfd that kicks the vcpu at its next deadline
    uint64_t alarm_at           # ns of system time it is set to, 0 off
    uint64_t slice_ns           # kick at least this often; 0: only at deadlines
    int (*check)(void *) noexcept nogil     # debug mode: called before each entry, non-zero ends the run
    void *check_argument
    uint64_t nr_entries
    uint64_t nr_idle

cdef void run(RunLoop *loop) noexcept nogil
cdef void alarm_thread(RunLoop *loop) noexcept nogil
cdef void wake(Domain *domain) noexcept nogil
