"""A network that is slow, far away and loses frames, after the manner of Linux's netem and tbf.

Each direction is shaped on its own.  A frame is lost or not, waits until the rate has room for it, and then for the
delay; frames keep their order, but for those that `reorder` lets go without a delay.  What waits is copied.  Towards
the network nothing is lost by waiting: what has no room is not taken, and whoever sends is called when there is room.
Towards the guest, who cannot be told to wait, it is dropped and counted as `full`.

A frame counts as what it is on a wire, the headers of its segments included, but is delayed, lost and doubled whole,
however many segments it stands for.

All chances are drawn from one generator for each direction (SplitMix64), and only those that are asked for, so that the
same seed makes the same of the same frames.  One thread of the process wakes for all layers of this kind.
"""

import os
from typing import Any

from libc.math cimport M_PI, cos, log, sqrt
from libc.stdint cimport INT64_MAX, UINT64_MAX, int64_t, uint64_t
from libc.stdlib cimport free
from xenia.machine.lock cimport lock, unlock
from xenia.net.frame cimport BATCH, Frame
from xenia.net.layer cimport INWARD, OUTWARD, Layer
from xenia.net.layers.held cimport (
    MOST_HELD_FRAME, HeldFrame, held_drop_all, held_has_room, held_keep, held_next, held_return, held_take)
from xenia.machine.loop cimport PollSet, Source, monotonic
from xenia.net.port cimport Port

from xenia.net.layers.timers import add_timer, remove_timer
from xenia.net.layers.words import NetemSpec

cdef extern from *:
    """
    #include <sched.h>
    """
    int sched_yield() nogil

cdef enum:                          # reasons
    LOSS = 1
    FULL = 2

cdef enum:                          # what becomes of a frame
    GONE = 0                        # lost, dropped or held back
    AT_ONCE = 1
    REFUSED = 2

cdef enum:
    NS = 1000000000
    LEAST_QUEUE = 64 << 10          # bytes


cdef inline uint64_t draw(uint64_t *state) noexcept nogil:
    cdef uint64_t mixed
    state[0] += 0x9E3779B97F4A7C15ULL
    mixed = state[0]
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9ULL
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EBULL
    return mixed ^ mixed >> 31


# From -jitter to jitter, or normally distributed with that deviation.
cdef int64_t draw_jitter(Way *way) noexcept nogil:
    cdef double one = <double>(draw(&way.random) >> 11) / <double>(1ULL << 53), other
    if not way.shaping.normal:
        return <int64_t>((2 * one - 1) * way.shaping.jitter)
    other = <double>((draw(&way.random) >> 11) + 1) / <double>(1ULL << 53)
    return <int64_t>(sqrt(-2 * log(other)) * cos(2 * M_PI * one) * way.shaping.jitter)


cdef bint is_lost(Way *way) noexcept nogil:
    cdef Shaping *shaping = &way.shaping
    if shaping.ends_run:            # two states, after Gilbert
        way.in_run = draw(&way.random) >= shaping.ends_run if way.in_run else draw(&way.random) < shaping.begins_run
        return way.in_run
    return shaping.loss != 0 and draw(&way.random) <= shaping.loss - 1


cdef uint64_t chance(double share):
    return UINT64_MAX if share >= 1 else <uint64_t>(share * 18446744073709551616.0)


cdef Shaping shaping_of(object shape):
    cdef Shaping shaping
    shaping.delay, shaping.jitter, shaping.normal = shape.delay, shape.jitter, shape.normal
    shaping.loss = chance(shape.loss)
    shaping.ends_run = chance(1 / shape.loss_run) if shape.loss_run > 1 and 0 < shape.loss < 1 else 0
    shaping.begins_run = chance(shape.loss / (1 - shape.loss) / shape.loss_run) if shaping.ends_run else 0
    shaping.reorder, shaping.duplicate = chance(shape.reorder), chance(shape.duplicate)
    shaping.rate = shape.rate
    shaping.burst = shape.burst * 8 * NS // shape.rate if shape.rate else 0
    queue = shape.queue or max(LEAST_QUEUE, shape.rate // 80)
    shaping.queue = queue * 8 * NS // shape.rate if shape.rate else 0
    return shaping


cdef class Alarm(Source):
    """Wakes a layer when something is due."""

    def __init__(self, Netem netem) -> None:
        self.netem = netem

    cdef void fill(self, PollSet polls) noexcept nogil:
        polls.wake_at(self.netem.next_look())

    cdef void serve(self, PollSet polls) noexcept nogil:
        self.netem.drain(INWARD)
        self.netem.drain(OUTWARD)


cdef class Netem(Layer):
    """Over a port, shaped as `spec` says; where that says nothing it is not there."""

    def __init__(self, Port lower not None, spec: NetemSpec, bint timed=True) -> None:
        """timed   the timers wake it"""
        Layer.__init__(self, lower)
        self.ways[0].planned = self.ways[1].planned = INT64_MAX
        self.timed = timed
        self.configure(spec)

    def __dealloc__(self):
        held_drop_all(&self.ways[0].held)
        held_drop_all(&self.ways[1].held)

    def close(self) -> None:
        """See Layer.close."""
        if self.alarm is not None:
            alarm, self.alarm = self.alarm, None
            remove_timer(alarm)
        Layer.close(self)

    @property
    def kind(self) -> str:
        """See Layer.kind."""
        return "netem"

    @property
    def reasons(self) -> tuple[str, ...]:
        """See Layer.reasons."""
        return ("loss", "full")

    def configure(self, spec: NetemSpec) -> None:
        """From now on that one; what is held back already comes when it would have come, before all that comes later.

        OSError(EAGAIN): the host gives no thread to wake it.
        """
        cdef Shaping inward = shaping_of(spec.inward), outward = shaping_of(spec.outward)
        cdef bint off = spec == NetemSpec()
        cdef uint64_t seed = int.from_bytes(os.urandom(8)) if spec.seed is None else spec.seed
        if self.timed and self.alarm is None and not off:
            alarm = Alarm(self)
            add_timer(alarm)
            self.alarm = alarm
        with nogil:
            lock(&self.lock)
            self.off, self.slept = off, self.slept or off
            self.ways[INWARD].through = self.ways[OUTWARD].through = False
            self.ways[INWARD].shaping, self.ways[OUTWARD].shaping = inward, outward
            self.ways[INWARD].random, self.ways[OUTWARD].random = draw(&seed), draw(&seed)
            self.ways[0].rate_time = self.ways[1].rate_time = 0
            self.ways[0].in_run = self.ways[1].in_run = False
            unlock(&self.lock)
        self.spec = spec

    def counts(self) -> dict[str, Any]:
        """See Layer.counts; of each direction also what waits (`held`, `bytes`), and what was `delayed`, `reordered`
        and `duplicated` so far."""
        ways = {name: {"held": self.ways[direction].held.count, "bytes": self.ways[direction].held.nr_bytes,
                       "delayed": self.ways[direction].delayed, "reordered": self.ways[direction].reordered,
                       "duplicated": self.ways[direction].duplicated} for direction, name in enumerate(("in", "out"))}
        return {**Layer.counts(self), **ways, "words": dict(self.spec.words)}

    cdef int64_t now(self) noexcept nogil:
        return monotonic()

    cdef int send(self, Frame *frames, int count) noexcept nogil:
        return self.take(frames, count, OUTWARD)

    cdef void came(self, Frame *frames, int count) noexcept nogil:
        self.take(frames, count, INWARD)

    # What may go at once is passed on uncopied, in runs.  How many are done with.
    cdef int take(self, Frame *frames, int count, int direction) noexcept nogil:
        cdef Way *way = &self.ways[direction]
        cdef int verdicts[BATCH]
        cdef int index, first = 0, done = 0
        cdef bint newly = False
        cdef int64_t now
        if way.through:
            return self.pass_through(frames, count, direction)
        now = self.now()
        lock(&self.lock)
        if self.off and way.held.count == 0 and not way.draining and not way.lower_full:
            way.through = True
            unlock(&self.lock)
            return self.pass_through(frames, count, direction)
        while done < count:
            verdicts[done] = self.decide(way, &frames[done], now, direction)
            if verdicts[done] == REFUSED:
                newly, way.refused = not way.refused, True
                break
            done += 1
        self.look_earlier(way, newly)
        for index in range(done):
            if verdicts[index] == AT_ONCE:
                continue
            if first < index:
                self.pass_on(frames + first, index - first, direction, now)
            first = index + 1
        if first < done:
            self.pass_on(frames + first, done - first, direction, now)
        return done

    cdef int pass_through(self, Frame *frames, int count, int direction) noexcept nogil:
        if direction == OUTWARD:
            return self.lower.send(frames, count)
        self.hand_on(frames, count)
        return count

    # With the lock held: lose it, hold it back, or let it go.
    cdef int decide(self, Way *way, Frame *frame, int64_t now, int direction) noexcept nogil:
        cdef Shaping *shaping = &way.shaping
        cdef int64_t leaves = now, due
        cdef uint64_t bits
        cdef bint overtakes = False, twice
        if not held_has_room(&way.held, 2 * frame.length) or (
                shaping.rate and way.rate_time - shaping.burst - now > shaping.queue):
            if direction == OUTWARD:
                return REFUSED
            self.drop(direction, FULL)
            return GONE
        if is_lost(way):
            self.drop(direction, LOSS)
            return GONE
        twice = shaping.duplicate != 0 and draw(&way.random) <= shaping.duplicate - 1
        if shaping.rate:
            bits = wire_bytes(frame) * (16 if twice else 8)
            leaves = max(now, way.rate_time - shaping.burst)
            way.rate_time = max(way.rate_time, leaves) + <int64_t>(bits * NS // shaping.rate)
        due = leaves
        if shaping.reorder and draw(&way.random) <= shaping.reorder - 1:
            overtakes = True
            way.reordered += 1
        else:
            due += max(0, shaping.delay + (draw_jitter(way) if shaping.jitter else 0))
            due = way.last_due = max(due, way.last_due)
        way.duplicated += twice
        if due <= now and not twice and not way.lower_full and not way.draining and (
                way.held.count == 0 or (overtakes and held_next(&way.held) > now)):
            return AT_ONCE
        way.delayed += 1
        if not held_keep(&way.held, frame, due) or (twice and not held_keep(&way.held, frame, due)):
            self.drop(direction, FULL)
        return GONE

    # What the port below does not take waits here.
    cdef int pass_on(self, Frame *frames, int count, int direction, int64_t now) noexcept nogil:
        cdef Way *way = &self.ways[direction]
        cdef uint64_t nr_ready = way.nr_ready
        cdef int taken, index
        if direction == INWARD:
            self.deliver(frames, count)
            return count
        taken = self.lower.send(frames, count)
        if taken < count:
            lock(&self.lock)
            for index in range(taken, count):
                if not held_keep(&way.held, &frames[index], now):
                    self.drop(direction, FULL)
            way.lower_full = nr_ready == way.nr_ready
            unlock(&self.lock)
            if not way.lower_full:
                self.drain(direction)
        return count

    cdef void lower_ready(self) noexcept nogil:
        cdef Way *way = &self.ways[OUTWARD]
        lock(&self.lock)
        way.nr_ready += 1
        way.lower_full = False
        unlock(&self.lock)
        self.drain(OUTWARD)
        if self.slept:                  # it may have been refused while nobody looked
            self.ready()

    # Pass on what is due, on one thread at a time.
    cdef void drain(self, int direction) noexcept nogil:
        cdef Way *way = &self.ways[direction]
        cdef bint call = False
        lock(&self.lock)
        if not way.draining:
            way.draining = True
            while not way.lower_full and self.drain_some(way, direction):
                pass
            way.draining = False
            call = way.refused and held_has_room(&way.held, MOST_HELD_FRAME) and (
                way.shaping.rate == 0
                or way.rate_time - way.shaping.burst - self.now() <= way.shaping.queue // 2)
            way.refused = way.refused and not call
        unlock(&self.lock)
        if call:
            self.ready()

    # With the lock held, which is let go of meanwhile.  How many went.
    cdef int drain_some(self, Way *way, int direction) noexcept nogil:
        cdef Frame frames[BATCH]
        cdef HeldFrame *held[BATCH]
        cdef int count = 0, taken, index
        cdef int64_t now = self.now()
        cdef uint64_t nr_ready = way.nr_ready
        while count < BATCH:
            held[count] = held_take(&way.held, now)
            if held[count] == NULL:
                break
            frames[count] = held[count].frame
            count += 1
        if count == 0:
            return 0
        unlock(&self.lock)
        if direction == INWARD:
            self.deliver(frames, count)
            taken = count
        else:
            taken = self.lower.send(frames, count)
        for index in range(taken):
            free(held[index])
        lock(&self.lock)
        for index in range(taken, count):
            held_return(&way.held, held[index])
        if taken < count:
            way.lower_full = nr_ready == way.nr_ready
        return taken

    # When the timers have something to do.
    cdef int64_t next_look(self) noexcept nogil:
        cdef int64_t when = INT64_MAX
        cdef Way *way
        cdef int direction
        lock(&self.lock)
        for direction in range(2):
            way = &self.ways[direction]
            way.planned = INT64_MAX if way.lower_full else held_next(&way.held)
            if way.refused and way.shaping.rate and held_has_room(&way.held, MOST_HELD_FRAME):
                way.planned = min(way.planned, max(self.now(), way.rate_time - way.shaping.burst
                                                   - way.shaping.queue // 2))
            when = min(when, way.planned)
        unlock(&self.lock)
        return when

    # With the lock held, which this lets go of.
    cdef void look_earlier(self, Way *way, bint anew) noexcept nogil:
        if not way.lower_full and held_next(&way.held) < way.planned:
            way.planned = held_next(&way.held)
            anew = True
        unlock(&self.lock)
        if anew and self.alarm is not None:
            self.alarm.wake()

    cdef void detach(self) noexcept nogil:
        cdef int direction
        Layer.detach(self)
        lock(&self.lock)
        while self.ways[0].draining or self.ways[1].draining:
            unlock(&self.lock)
            sched_yield()
            lock(&self.lock)
        for direction in range(2):
            held_drop_all(&self.ways[direction].held)
            self.ways[direction].refused = self.ways[direction].lower_full = False
        unlock(&self.lock)


# With the headers of all the segments that it stands for.
cdef inline uint64_t wire_bytes(const Frame *frame) noexcept nogil:
    cdef uint64_t size = frame.header.gso_size, headers = frame.header.hdr_len
    if frame.header.gso_type == 0 or size == 0 or frame.length <= headers:
        return frame.length
    return frame.length + headers * ((frame.length - headers - 1) // size)
