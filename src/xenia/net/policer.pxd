# How much one guest may send another that is busy with others.  See policer.pyx.
from libc.stdint cimport int64_t, uint32_t
from xenia.net.frame cimport Frame
from xenia.net.pace cimport Pace
from xenia.net.share cimport Share

cdef enum:
    PEERS = 64                      # ports that are told apart

cdef struct Said:
    int64_t window                  # the number of this one
    uint32_t now                    # in it
    uint32_t before                 # and in the last one

cdef struct Peer:
    Pace unanswered                 # frames that came from it, but for those that were answered
    Pace refused                    # those that were too many
    Said said                       # answers to it


cdef class Policer:
    cdef Peer peers[PEERS]
    cdef Said said                  # answers to all of them
    cdef Share share                # of the guest's own card
    cdef Pace excess                # frames that it sent and that were not allowed
    cdef public bint takes_all
    # Whether a frame that came from there may go to the guest.
    cdef bint allow(self, uint32_t peer, int64_t now) noexcept nogil
    # The guest said something there that is an answer.
    cdef void answer(self, uint32_t peer, int64_t now) noexcept nogil
    # A frame that the guest sent was not allowed.
    cdef void lose(self, int64_t now) noexcept nogil
    # Somebody else is there from now on.
    cdef void forget(self, uint32_t peer) noexcept nogil


# Whether a frame says that who sends it wants to be sent something: no errors, no refusals, no first words.
cdef bint is_answer(const Frame *frame) noexcept nogil
