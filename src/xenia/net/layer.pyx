"""Layers: ports over other ports, after the manner of storage's.

A layer stands between who is at it and a port below.  What is sent into it it passes on, drops or keeps for later, and
so it does with what comes from below.  The base class passes on all that `judge` lets go, whole batches where it can,
and tells whoever sends how much of a batch is done with: what was dropped, and what the port below took.  A layer that
has more to do than to judge one frame at a time takes `send` and `came` over itself.

A layer is attached to the port below as long as somebody is at it.  It calls on with no lock of its own held, so that
layers may be stacked in any order, and a frame may meet as many of them as there are.
"""

from typing import Any

from libc.stdint cimport uint64_t
from xenia.machine.lock cimport RANK_LAYER, lock_init
from xenia.net.frame cimport Frame
from xenia.net.port cimport Port, Receiver
from xenia.net.share cimport waste

cdef extern from *:
    """
    #include <stdint.h>
    static inline void layer_count(uint64_t *count) { __atomic_fetch_add(count, 1, __ATOMIC_RELAXED); }
    """
    void layer_count(uint64_t *count) noexcept nogil


cdef class Layer(Port):
    """Over a port, which is the layer's own to close from now on."""

    def __cinit__(self):
        lock_init(&self.lock, RANK_LAYER)

    def __init__(self, Port lower not None) -> None:
        self.lower = lower

    def close(self) -> None:
        """See Port.close: of the layer, and of all that is below it."""
        self.lower.close()

    @property
    def kind(self) -> str:
        """What it is, in a word."""
        return "layer"

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it may drop a frame."""
        return ()

    @property
    def asleep(self) -> bool:
        """Whether it does nothing for now: frames pass as if it were not there."""
        return self.off

    def counts(self) -> dict[str, Any]:
        """What it has done, as plain data: how many frames it dropped of each direction, by reason.

        `in` is towards who is at the port, `out` towards the network; what never happened is left out.
        """
        dropped = {}
        for direction, name in enumerate(("in", "out")):
            found = {reason: self.dropped[direction][index + 1] for index, reason in enumerate(self.reasons)}
            if found := {reason: count for reason, count in found.items() if count}:
                dropped[name] = found
        return {"layer": self.kind, "dropped": dropped}

    cdef int judge(self, Frame *frame, int direction) noexcept nogil:
        return PASS

    cdef bint looks_inward(self) noexcept nogil:
        return True

    cdef int send(self, Frame *frames, int count) noexcept nogil:
        cdef int index, reason, first = 0, taken
        if self.off:
            return self.lower.send(frames, count)
        for index in range(count):
            reason = self.judge(&frames[index], OUTWARD)
            if reason == PASS:
                continue
            if first < index:
                taken = self.lower.send(frames + first, index - first)
                if taken < index - first:
                    return first + taken
            self.drop(OUTWARD, reason)
            first = index + 1
        return count if first == count else first + self.lower.send(frames + first, count - first)

    cdef void came(self, Frame *frames, int count) noexcept nogil:
        cdef int index, reason, first = 0
        if self.off:
            self.hand_on(frames, count)
            return
        for index in range(count):
            reason = self.judge(&frames[index], INWARD)
            if reason == PASS:
                continue
            if first < index:
                self.deliver(frames + first, index - first)
            self.drop(INWARD, reason)
            first = index + 1
        if first < count:
            self.deliver(frames + first, count - first)

    cdef void hand_on(self, Frame *frames, int count) noexcept nogil:
        self.receiver.deliver(self.receiver.self, frames, count)

    cdef void lower_ready(self) noexcept nogil:
        self.ready()

    cdef void drop(self, int direction, int reason) noexcept nogil:
        layer_count(&self.dropped[direction][reason])
        waste(1)

    cdef void attach(self, Receiver *receiver) noexcept nogil:
        cdef Receiver between
        if not self.looks_inward():
            self.lower.attach(receiver)
            return
        Port.attach(self, receiver)
        between.self, between.deliver, between.ready = <void *>self, deliver_to_layer, ready_to_layer
        self.lower.attach(&between)

    cdef void detach(self) noexcept nogil:
        self.lower.detach()
        Port.detach(self)


cdef void deliver_to_layer(void *layer, Frame *frames, int count) noexcept nogil:
    (<Layer>layer).came(frames, count)


cdef void ready_to_layer(void *layer) noexcept nogil:
    (<Layer>layer).lower_ready()
