# A network that is slow, far away and loses frames.  See netem.pyx.
from libc.stdint cimport int64_t, uint64_t
from xenia.net.frame cimport Frame
from xenia.net.layer cimport Layer
from xenia.net.layers.held cimport Held
from xenia.machine.loop cimport PollSet, Source

cdef struct Shaping:                # words.Shape, made ready: chances are of 2 to the power of 64
    int64_t delay
    int64_t jitter
    bint normal
    uint64_t loss                   # where runs are of one
    uint64_t begins_run
    uint64_t ends_run               # 0: runs are of one
    uint64_t reorder
    uint64_t duplicate
    uint64_t rate
    int64_t burst                   # ns of the rate
    int64_t queue                   # ns of it

cdef struct Way:                    # one direction
    Shaping shaping
    Held held
    uint64_t random
    bint in_run
    int64_t rate_time               # when the rate would have carried all that was taken
    int64_t last_due                # of a frame that keeps its place
    bint refused                    # somebody waits to be called
    bint lower_full                 # the port below takes nothing until it calls
    uint64_t nr_ready               # how often it did
    bint through                    # frames pass without a look: nothing is asked for, and nothing waits
    bint draining                   # a thread is passing on what is due
    int64_t planned                 # when the timers look next
    uint64_t delayed
    uint64_t reordered
    uint64_t duplicated


cdef class Netem(Layer):
    cdef Way ways[2]
    cdef Alarm alarm
    cdef readonly object spec
    cdef bint timed
    cdef volatile bint slept        # it was off at some time
    cdef int pass_through(self, Frame *frames, int count, int direction) noexcept nogil
    cdef int64_t now(self) noexcept nogil
    cdef int take(self, Frame *frames, int count, int direction) noexcept nogil
    cdef int decide(self, Way *way, Frame *frame, int64_t now, int direction) noexcept nogil
    cdef int pass_on(self, Frame *frames, int count, int direction, int64_t now) noexcept nogil
    cdef void drain(self, int direction) noexcept nogil
    cdef int drain_some(self, Way *way, int direction) noexcept nogil
    cdef int64_t next_look(self) noexcept nogil
    cdef void look_earlier(self, Way *way, bint anew) noexcept nogil


cdef class Alarm(Source):
    cdef Netem netem
