"""Frames that wait for their guest's pages, by who sent them.

Whoever sends a guest more than it takes fills no more of this than all together leave free, and has no more than a turn
of what the guest takes: the frames of others do not stand behind a flood.  Turns are those of a deficit round robin:
what a sender's last frame took beyond its turn is taken from its next one.  What one sent while nobody else did may be
seconds of the guest's work, of which a turn stands before each of the others' frames; so there only as many wait as a
network card's queue holds (`line_thin`).  Senders are told apart by their addresses,
which a network's guard vouches for; some have one place together, as some flows have in other fair queues.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from xenia.net.parse cimport big32

cdef enum:
    TURN = 16 * 1024            # bytes of a sender's, and
    EACH = 4096                 # how many a frame counts for beyond its own: what a guest does for each
    MANY = 256                  # frames


cdef bint line_keep(Line *line, const Frame *frame, const Hash *hash) noexcept nogil:
    cdef uint32_t size = sizeof(Kept) + frame.length, number = sender_of(frame), index
    cdef Sender *sender = &line.senders[number]
    cdef uint8_t *at
    cdef Kept *kept = NULL
    if sender.size + line.size + size <= MOST_KEPT:
        kept = <Kept *>malloc(size)
    if kept == NULL:
        return False
    at = <uint8_t *>kept + sizeof(Kept)
    kept.next, kept.frame, kept.hash = NULL, frame[0], hash[0]
    kept.part.iov_base, kept.part.iov_len = at, frame.length
    kept.frame.parts, kept.frame.nr_parts = &kept.part, 1
    for index in range(frame.nr_parts):
        memcpy(at, frame.parts[index].iov_base, frame.parts[index].iov_len)
        at += frame.parts[index].iov_len
    if sender.first == NULL:
        sender.first = kept
        line.nonempty |= <uint32_t>1 << number
    else:
        sender.last.next = kept
    sender.last = kept
    sender.size += size
    sender.count += 1
    line.size += size
    return True


cdef Kept *line_first(Line *line) noexcept nogil:
    if not line.nonempty:
        return NULL
    while line.senders[line.turn].first == NULL or line.senders[line.turn].left <= 0:
        line.turn = (line.turn + 1) % SENDERS
        if line.nonempty >> line.turn & 1:
            line.senders[line.turn].left += TURN
    return line.senders[line.turn].first


cdef void line_drop(Line *line) noexcept nogil:
    cdef Sender *sender = &line.senders[line.turn]
    sender.left -= sender.first.frame.length + EACH
    forget(line, sender)
    if sender.first == NULL:
        line.nonempty &= ~(<uint32_t>1 << line.turn)
        sender.left = min(sender.left, 0)


cdef uint32_t line_thin(Line *line) noexcept nogil:
    cdef Sender *sender = &line.senders[line.turn]
    cdef uint32_t count = sender.count
    while sender.count > MANY:
        forget(line, sender)
    return count - sender.count


cdef void forget(Line *line, Sender *sender) noexcept nogil:
    cdef Kept *kept = sender.first
    sender.first = kept.next
    sender.size -= sizeof(Kept) + kept.frame.length
    sender.count -= 1
    line.size -= sizeof(Kept) + kept.frame.length
    free(kept)


cdef uint32_t sender_of(const Frame *frame) noexcept nogil:
    # Addresses that Xenia makes differ in all of their last 24 bits; those of a rack, often in the last few only.
    return (big32(<const uint8_t *>frame.parts[0].iov_base + 8) * <uint32_t>0x9E3779B1) >> 27
