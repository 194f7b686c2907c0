"""How full a guest's receive ring may be.

What is in the ring stands before whatever comes next, and nobody can overtake it there.  A guest posts 256 pages; a
flood of short frames fills them all, and an answer that the guest waits for comes after the milliseconds that it needs
for each.  So where several send to a guest, only as much is put into its ring as keeps it busy: the rest waits where
senders take turns (kept.pyx).  One that has a guest to itself fills the ring.

What the guest has not taken yet is what is missing of the pages that it posts: a driver posts a page for each that it
takes.  That it will do so again is not believed for longer than PATIENCE.
"""

from libc.stdint cimport int64_t, uint32_t

cdef enum:
    SHORT = 16                  # pages that may be filled when a frame of one page comes,
    LONG = 128                  # and when a longer one does
    WINDOW = 50000000           # ns


cdef void depth_heard(Depth *depth, uint32_t sender, int64_t now) noexcept nogil:
    if now - depth.window >= WINDOW:
        depth.heard_before = depth.heard if now - depth.window < 2 * WINDOW else 0
        depth.heard, depth.window = 0, now
    depth.heard |= <uint32_t>1 << sender


cdef bint depth_shared(const Depth *depth) noexcept nogil:
    cdef uint32_t heard = depth.heard | depth.heard_before
    return heard & (heard - 1) != 0


cdef int depth_wanted(Depth *depth, int waiting, int needed, int64_t now) noexcept nogil:
    depth.posted = max(depth.posted, waiting)
    if not depth_shared(depth):
        return needed
    if now - depth.put_at > PATIENCE:
        depth.posted = waiting
    return max(needed, depth.posted - (SHORT if needed == 1 else LONG))
