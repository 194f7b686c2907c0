"""A capture that is being written: blocks of pcapng in memory, and a thread that has the time for a disk.

Who captures puts blocks into one chunk of memory while the thread writes the other one, whole blocks in each write, so
that a reader may follow the file.  What has no room, because the disk is slow, or cannot be written, because it is
full, is lost and counted: in the next block that is written, and in the statistics at the end.

A batch is recorded before it is sent, for its answer may come before `send` returns.  What turns out not to have been
sent is made void, and skipped: it will come again.
"""

import os
from typing import Any

from libc.errno cimport EAGAIN, EINTR, EPIPE, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec
from posix.unistd cimport SEEK_SET, ftruncate, lseek, write
from xenia.machine.lock cimport Lock, condition_signal_and_unlock, condition_wait, lock, unlock
from xenia.net.frame cimport Frame
from xenia.net.layer cimport INWARD
from xenia.machine.loop cimport POLLERR, POLLHUP, POLLOUT, pollfd

from xenia.jail.kinds import Kind
from xenia.machine.thread import HostThread
from xenia.net.layers.pcapng import head, statistics

cdef extern from *:
    """
    #include <sched.h>
    static inline void recording_claim(volatile uint32_t *claims, int n)
    { __atomic_fetch_add(claims, n, __ATOMIC_ACQ_REL); }
    static inline void recording_await(volatile uint32_t *claims)
    { while (__atomic_load_n(claims, __ATOMIC_ACQUIRE)) sched_yield(); }
    """
    void recording_claim(volatile uint32_t *claims, int n) noexcept nogil
    void recording_await(volatile uint32_t *claims) noexcept nogil

cdef extern from "<poll.h>" nogil:
    int poll(pollfd *fds, unsigned long count, int timeout)

PATIENCE = 5.0  # seconds that a write may take when a capture is stopped

cdef enum:
    ENHANCED_PACKET = 6
    VOID = 0                        # instead: it is not written
    FLAGS = 2                       # epb_flags: bits 0 and 1 the direction, 2 to 4 to whom
    DROPCOUNT = 4
    END_OF_BLOCK = 4 + 8 + 12 + 4 + 4       # flags, a count of drops, the end of options, the length once more
    SPARE = 256                     # bytes of the limit that are left for the statistics


cdef int64_t realtime() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_REALTIME, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec


# Reception type of epb_flags, by the destination: 1 unicast, 2 multicast, 3 broadcast.
cdef inline uint32_t to_whom(const uint8_t *frame, uint32_t kept) noexcept nogil:
    if kept < 6 or not frame[0] & 1:
        return 1
    return 3 if frame[0] & frame[1] & frame[2] & frame[3] & frame[4] & frame[5] == 0xff else 2


cdef class Recording:
    """Into `descriptor`, which is its own to close from now on."""

    def __cinit__(self):
        self.fd = -1

    def __init__(self, int descriptor, str name, uint32_t snaplen, object limit=None, bytes mac=b"") -> None:
        """name      the interface's
        snaplen   bytes that are kept of each frame
        limit     bytes after which it ends; None: none
        mac       the interface's, where it has one
        """
        cdef int index
        for index in range(2):
            self.chunks[index].blocks = <uint8_t *>malloc(ROOM)
            if self.chunks[index].blocks == NULL:
                raise MemoryError
        self.snaplen = snaplen
        self.limit = -1 if limit is None else limit
        system = os.uname()
        self.head = head(name, hardware=system.machine, system=f"{system.sysname} {system.release}",
                         application="xenia", snaplen=snaplen, mac=mac)
        self.head_bytes, self.head_length = <const uint8_t *><char *>self.head, <uint32_t>len(self.head)
        try:
            self.position = os.lseek(descriptor, 0, os.SEEK_CUR)
            self.seekable = True
        except OSError:
            pass
        self.thread = HostThread(self._run, f"capture {name}", Kind.WORKER)
        self.fd = descriptor

    cdef start(self, object layer, Lock *its_lock):
        self.layer, self.lock = layer, its_lock
        self.began = realtime()
        self.thread.start()

    def __dealloc__(self):
        free(self.chunks[0].blocks)
        free(self.chunks[1].blocks)

    def stop(self) -> None:
        """Write what there is, and end.  Where that takes longer than PATIENCE it goes on behind the caller's back.

        Precondition: nobody takes anything any more.
        """
        cdef int index
        with nogil:
            for index in range(2):
                recording_await(&self.chunks[index].claims)
            lock(self.lock)
            self.over = self.stopping = True
            condition_signal_and_unlock(&self.waits, True, self.lock)
        self.thread.join(PATIENCE)

    cdef bint is_left(self):
        """Whether it goes into a pipe that nobody reads any more."""
        cdef pollfd end
        end.fd, end.events, end.revents = self.fd, 0, 0
        with nogil:
            poll(&end, 1, 0)
        return end.revents & (POLLERR | POLLHUP) != 0

    def counts(self) -> dict[str, Any]:
        """Frames that came by, that are written, and that are lost; why a write failed, if one did."""
        failed = {} if not self.error else {"error": os.strerror(self.error)}
        return {"received": self.received, "written": self.written, "lost": self.lost, "bytes": self.position,
                "over": self.over, **failed}

    def _run(self) -> None:
        cdef const uint8_t *blocks
        cdef uint32_t length
        with nogil:
            self.write_all()
        end = statistics(self.began, realtime(), self.received, self.lost)
        blocks, length = <const uint8_t *><char *>end, <uint32_t>len(end)
        if self.begun and not self.broken:
            with nogil:
                self.write_whole(blocks, length)
        descriptor, self.fd = self.fd, -1
        os.close(descriptor)

    cdef void take(self, Frame *frames, int count, int direction, Claim *claim) noexcept nogil:
        cdef int64_t now = realtime()
        cdef int index
        claim.recording, claim.chunk = <void *>self, NULL
        if self.over:
            return
        claim.chunk = &self.chunks[self.current]
        recording_claim(&claim.chunk.claims, 1)
        self.received += count
        for index in range(count):
            self.put(&frames[index], direction, now, &claim.at[index])

    cdef void put(self, Frame *frame, int direction, int64_t now, uint32_t *at) noexcept nogil:
        cdef Chunk *chunk = &self.chunks[self.current]
        cdef uint32_t kept = min(frame.length, self.snaplen), padded = (kept + 3) & ~3u, left = kept, size, part = 0
        cdef uint32_t *word
        cdef uint8_t *data
        if padded + 28 + END_OF_BLOCK > ROOM - chunk.used:
            at[0] = NOT_THERE
            self.lost += 1
            self.lost_since += 1
            return
        at[0] = chunk.used
        word = <uint32_t *>(chunk.blocks + chunk.used)
        word[0] = ENHANCED_PACKET
        word[2] = 0
        word[3], word[4] = <uint32_t>(<uint64_t>now >> 32), <uint32_t>now
        word[5], word[6] = kept, frame.length
        data = <uint8_t *>(word + 7)
        while left and part < frame.nr_parts:
            size = <uint32_t>min(<size_t>left, frame.parts[part].iov_len)
            memcpy(data, frame.parts[part].iov_base, size)
            data += size
            left -= size
            part += 1
        memset(data, 0, padded - kept + left)
        data = <uint8_t *>(word + 7)
        word = <uint32_t *>(data + padded)
        word[0], word[1] = 4 << 16 | FLAGS, (1 if direction == INWARD else 2) | to_whom(data, kept) << 2
        word += 2
        if self.lost_since:
            word[0] = 8 << 16 | DROPCOUNT
            memcpy(word + 1, &self.lost_since, 8)
            word += 3
            self.lost_since = 0
        word[0] = 0
        size = <uint32_t>(<uint8_t *>(word + 2) - (chunk.blocks + chunk.used))
        word[1] = size
        (<uint32_t *>(chunk.blocks + chunk.used))[1] = size
        chunk.used += size

    cdef void settle(self, Claim *claim, int count, int taken) noexcept nogil:
        cdef int index
        for index in range(taken, count):
            if claim.at[index] != NOT_THERE:
                (<uint32_t *>(claim.chunk.blocks + claim.at[index]))[0] = VOID
        lock(self.lock)
        for index in range(taken, count):
            self.received -= 1
            if claim.at[index] == NOT_THERE:
                self.lost -= 1
                self.lost_since -= min(self.lost_since, <uint64_t>1)
        recording_claim(&claim.chunk.claims, -1)
        condition_signal_and_unlock(&self.waits, False, self.lock)

    cdef void write_all(self) noexcept nogil:
        cdef Chunk *chunk
        cdef bint tried = False
        while True:
            lock(self.lock)
            while self.chunks[self.current].used == 0 and tried and not self.stopping and not self.over:
                condition_wait(&self.waits, self.lock)
            chunk = &self.chunks[self.current]
            if tried and chunk.used == 0:
                unlock(self.lock)
                return
            self.current ^= 1
            unlock(self.lock)
            recording_await(&chunk.claims)
            if not self.begun:
                self.begun = self.write_whole(self.head_bytes, self.head_length) == self.head_length
            self.write_chunk(chunk)
            chunk.used = 0
            tried = True

    # Runs of blocks that were sent; one that was not is passed over.
    cdef void write_chunk(self, Chunk *chunk) noexcept nogil:
        cdef uint32_t at = 0, start = 0, length
        while at < chunk.used:
            length = word_at(chunk.blocks + at)[1]
            if word_at(chunk.blocks + at)[0] == VOID:
                self.write_run(chunk.blocks + start, at - start)
                start = at + length
            at += length
        self.write_run(chunk.blocks + start, at - start)

    # Blocks of frames: as many as the limit and the disk have room for; the others are lost.
    cdef void write_run(self, const uint8_t *blocks, uint32_t length) noexcept nogil:
        cdef uint32_t fits = length, done, at
        cdef uint64_t written = 0, lost = 0
        if self.limit >= 0 and self.position + length > self.limit - SPARE:
            fits = whole_blocks(blocks, length, max(0, self.limit - SPARE - self.position))
            self.over = True
        done = self.write_whole(blocks, fits) if self.begun and not self.broken else 0
        at = 0
        while at < length:
            if at < done:
                written += 1
            else:
                lost += 1
            at += word_at(blocks + at)[1]
        lock(self.lock)
        self.written += written
        self.lost += lost
        self.lost_since += lost
        unlock(self.lock)

    # How much of these blocks is in the file from now on: never a part of one.
    cdef uint32_t write_whole(self, const uint8_t *blocks, uint32_t length) noexcept nogil:
        cdef uint32_t done = 0, whole
        cdef ssize_t count
        cdef pollfd ready
        while done < length:
            count = write(self.fd, blocks + done, length - done)
            if count >= 0:
                done += <uint32_t>count
            elif errno == EAGAIN:
                ready.fd, ready.events = self.fd, POLLOUT
                poll(&ready, 1, -1)
            elif errno != EINTR:
                self.error = errno
                break
        whole = whole_blocks(blocks, length, done)
        if (done < length and self.error == EPIPE) or (whole < done and not self.seekable):
            self.broken = self.over = True
        elif whole < done and (ftruncate(self.fd, self.position + whole) != 0
                               or lseek(self.fd, self.position + whole, SEEK_SET) < 0):
            self.broken = self.over = True
        self.position += whole
        return whole


cdef inline const uint32_t *word_at(const uint8_t *block) noexcept nogil:
    return <const uint32_t *>block


# How long those blocks are that lie within so many bytes.
cdef uint32_t whole_blocks(const uint8_t *blocks, uint32_t length, int64_t most) noexcept nogil:
    cdef uint32_t at = 0
    while at < length and at + word_at(blocks + at)[1] <= most:
        at += word_at(blocks + at)[1]
    return at
