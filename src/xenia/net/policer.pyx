"""How much one guest may send another that is busy with others: as much as is answered, and a little more.

A guest's kernel has work with each frame that is for it, wanted or not, so that a neighbour who sends it short frames
without end has its time.  A switch cannot know what a guest wants; but the guest says so, by answering: TCP is
acknowledged, a request has its reply.  What nobody answers is limited, while its receiver has a conversation with
others, and what is beyond the limit is dropped.  Of who sends twice as much and more, little passes any more, for each
frame that does is one more interrupt for its receiver; and unless others take what he sends, he waits: his card does,
as for his share of the loop's time (share.pyx), so that his processor rests, and for so long at once that what he sends
comes in few batches.  Without such a conversation nothing is limited: a stream of datagrams that nobody answers is all
that the guest is there for.

An answer is no ICMP, no reset and neither of the first two segments of a connection: a guest says these to whoever asks
for them.

All is a matter of the times that are handed in; there are no clocks here.  It is guarded by the bridge's lock.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memset
from xenia.net.frame cimport HEAD, Frame
from xenia.net.pace cimport pace_allows
from xenia.net.parse cimport (
    ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_VLAN, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, TCP_RST, TCP_SYN,
    big16,
)
from xenia.net.share cimport Share

cdef enum:
    INTERVAL = 1000000              # ns between two frames that are not answered, in the long run
    BURST = 250                     # how many at once after a rest
    SCARCE = 8 * INTERVAL           # instead of INTERVAL, where as many were too many
    PAUSE = 32 * INTERVAL           # how long who sends so many waits at once
    ANSWERED = 64                   # frames that one answer is for: all the segments that Linux acknowledges at once
    WINDOW_SHIFT = 27               # 134 ms
    CONVERSATION = 10               # answers to others, in this window and the last one


cdef class Policer:
    """Of one guest's card; its peers are known by their numbers.

    share   of the loop's time, of that guest; None: of whoever hands in the times

    `takes_all`: the guest is to be sent what it does not answer, however much.
    """

    def __init__(self, Share share = None) -> None:
        self.share = share
        self.takes_all = False

    def allows(self, peer: int, now: int) -> bool:
        """Whether a frame that comes from that peer, at that time, may go to the guest."""
        return self.allow(peer, now)

    def answered(self, peer: int, now: int) -> None:
        """The guest answered it."""
        self.answer(peer, now)

    def lost(self, now: int) -> int:
        """A frame that the guest sent was not allowed: until when the guest is to wait; 0: not at all."""
        self.lose(now)
        return self.excess.next + PAUSE if self.excess.next > now else 0

    cdef bint allow(self, uint32_t peer, int64_t now) noexcept nogil:
        cdef Peer *sender = &self.peers[peer]
        cdef int64_t interval = INTERVAL
        if self.takes_all:
            return True
        roll(&self.said, now)
        roll(&sender.said, now)
        if self.said.now + self.said.before < sender.said.now + sender.said.before + CONVERSATION:
            sender.unanswered.next = min(max(sender.unanswered.next, now - BURST * INTERVAL) + INTERVAL, now)
            return True
        if sender.refused.next > now - 2 * PAUSE:
            interval = SCARCE
        if pace_allows(&sender.unanswered, now, interval, BURST * INTERVAL // interval):
            return True
        sender.refused.next = min(max(sender.refused.next, now - BURST * INTERVAL) + INTERVAL, now + PAUSE)
        return False

    cdef void answer(self, uint32_t peer, int64_t now) noexcept nogil:
        cdef Peer *receiver = &self.peers[peer]
        roll(&self.said, now)
        roll(&receiver.said, now)
        self.said.now += 1
        receiver.said.now += 1
        receiver.unanswered.next = max(receiver.unanswered.next - ANSWERED * INTERVAL, now - BURST * INTERVAL)

    cdef void lose(self, int64_t now) noexcept nogil:
        self.excess.next = max(self.excess.next, now - BURST * INTERVAL) + INTERVAL
        if self.excess.next > now and self.share is not None:
            self.share.hold_until(self.excess.next + PAUSE)

    cdef void forget(self, uint32_t peer) noexcept nogil:
        memset(&self.peers[peer], 0, sizeof(Peer))


cdef void roll(Said *said, int64_t now) noexcept nogil:
    cdef int64_t window = now >> WINDOW_SHIFT
    if window > said.window:    # who waited for the lock has an older one
        said.before = said.now if window == said.window + 1 else 0
        said.now, said.window = 0, window


cdef bint is_answer(const Frame *frame) noexcept nogil:
    cdef const uint8_t *bytes = <const uint8_t *>frame.parts[0].iov_base
    cdef uint32_t length = min(frame.length, <uint32_t>HEAD)
    cdef uint32_t network = 14, transport
    cdef uint8_t protocol
    if length >= 18 and big16(bytes + 12) == ETHERTYPE_VLAN:
        network = 18
    if length < network + 20:
        return False
    if big16(bytes + network - 2) == ETHERTYPE_IPV4:
        protocol, transport = bytes[network + 9], network + 4 * (bytes[network] & 15)
    elif big16(bytes + network - 2) == ETHERTYPE_IPV6:
        protocol, transport = bytes[network + 6], network + 40
    else:
        return False
    if protocol == PROTOCOL_TCP:
        return length >= transport + 14 and not bytes[transport + 13] & (TCP_SYN | TCP_RST)
    return protocol != PROTOCOL_ICMP and protocol != PROTOCOL_ICMPV6
