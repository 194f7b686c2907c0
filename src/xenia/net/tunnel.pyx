"""VXLAN (RFC 7348): Ethernet frames within UDP datagrams, between hosts that know each other's addresses.

Every other host is named, and datagrams from elsewhere are refused.  A frame goes to the host from which its target's
address last came, and to all where that is not known, or where it is for many; so there is no multicast and nothing to
configure in between.  Nothing that came from one host goes to another.

A TCP segment of many is cut to what the way to the hosts takes in one packet; a frame that is too long all the same is
left to the kernel, which sends it in fragments.
"""

import os
import socket
from collections.abc import Sequence

from libc.errno cimport EAGAIN, errno
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset
from posix.unistd cimport close
from xenia.machine.lock cimport lock, unlock
from xenia.net.coalesce cimport Coalesced, coalesce
from xenia.net.frame cimport BATCH, LEAST_BYTES, MOST_PARTS, Frame, iovec
from xenia.net.link cimport Link, write_parts
from xenia.machine.loop cimport POLLIN, POLLOUT, PollSet
from xenia.net.segment cimport Segments, is_plain, segment_begin, segment_next

cdef extern from *:
    """
    #include <arpa/inet.h>
    #include <netinet/in.h>
    #include <string.h>
    #include <sys/socket.h>
    /* A datagram, and its sender's address as IPv6's. */
    static ssize_t receive_from(int descriptor, void *bytes, size_t room, uint8_t *address)
    {
        struct sockaddr_storage from;
        socklen_t length = sizeof(from);
        ssize_t count = recvfrom(descriptor, bytes, room, 0, (struct sockaddr *)&from, &length);
        memset(address, 0, 16);
        if (count >= 0 && from.ss_family == AF_INET6) {
            memcpy(address, &((struct sockaddr_in6 *)&from)->sin6_addr, 16);
        } else if (count >= 0 && from.ss_family == AF_INET) {
            address[10] = address[11] = 0xff;
            memcpy(address + 12, &((struct sockaddr_in *)&from)->sin_addr, 4);
        }
        return count;
    }
    """
    ssize_t receive_from(int descriptor, void *data, size_t room, uint8_t *address) nogil

cdef enum:
    HEADER = 8                      # flags and VNI
    VNI_IS_THERE = 0x08
    DATAGRAM = 65536
    ARRIVED = 512 * 1024
    BATCHES = 8                     # in one round, before others have their turn
    TRIES = 2                       # of a datagram: the first is told of what became of an earlier one


cdef class TunnelLink(Link):
    """A tunnel to some hosts.  The descriptors belong to it.

    descriptor  of the UDP socket at which datagrams come
    remotes     of UDP sockets, each connected with one of the other hosts; MOST_REMOTES at the most
    vni         the network's number, of 24 bits, which is the same everywhere
    mtu         bytes of the largest datagram that crosses it in one packet
    """

    def __init__(self, descriptor: int, remotes: Sequence[int], *, vni: int, mtu: int) -> None:
        cdef int index
        cdef bytes address
        if not 0 < len(remotes) <= MOST_REMOTES:
            raise ValueError(f"{len(remotes)} hosts")
        super().__init__(descriptor)
        self.places = <Place *>calloc(LEARNED, sizeof(Place))
        self.arrived = <uint8_t *>malloc(ARRIVED)
        self.cut = <Segments *>malloc(sizeof(Segments))
        self.joined = <Coalesced *>malloc(sizeof(Coalesced))
        if self.places == NULL or self.arrived == NULL or self.cut == NULL or self.joined == NULL:
            raise MemoryError
        for index, remote in enumerate(remotes):
            os.set_blocking(remote, False)
            address = address_of(remote)
            memcpy(self.remotes[index].address, <const char *>address, ADDRESS_BYTES)
            self.remotes[index].descriptor = remote
            self.nr_remotes += 1
        self.header = [VNI_IS_THERE, 0, 0, 0, vni >> 16, vni >> 8 & 0xff, vni & 0xff, 0]
        self.most_bytes = mtu + LEAST_BYTES

    def __dealloc__(self):
        cdef int index
        for index in range(self.nr_remotes):
            close(self.remotes[index].descriptor)
        free(self.places)
        free(self.arrived)
        free(self.cut)
        free(self.joined)

    # --- sending -----------------------------------------------------------------------------------------------------

    cdef int put(self, Frame *frames, int count) noexcept nogil:
        cdef int taken = 0
        while taken < count and self.put_one(&frames[taken]):
            taken += 1
        return taken

    cdef bint put_one(self, Frame *frame) noexcept nogil:
        """False where it is not taken now."""
        cdef const uint8_t *target = <const uint8_t *>frame.parts[0].iov_base
        cdef Place *place = self.places + place_of(target)
        cdef int index, lost = 0
        cdef bint went = False
        if place.mac == mac_at(target):
            return self.put_to(frame, &self.remotes[place.remote])
        for index in range(self.nr_remotes):
            if self.put_to(frame, &self.remotes[index]):
                went = True
            else:
                lost += 1
        if went:
            self.nr_dropped += lost
        return went

    cdef bint put_to(self, Frame *frame, Remote *remote) noexcept nogil:
        """False where it takes none now.  What does not fit in the middle of a frame is lost, as on any way."""
        cdef Frame *frames = frame
        cdef int count = 1, index, error
        cdef bint whole = is_plain(frame), first = True
        if not whole:
            if not segment_begin(self.cut, frame, self.most_bytes, 0) and not segment_begin(self.cut, frame, 0, 0):
                self.nr_dropped += 1
                return True
            count = segment_next(self.cut)
            frames = self.cut.frames
        while count:
            for index in range(count):
                error = self.write_datagram(&frames[index], remote)
                if error == 0:
                    self.nr_sent += 1
                    self.sent_bytes += frames[index].length
                elif error == EAGAIN and first:
                    remote.full = True
                    return False
                else:
                    self.nr_dropped += 1
                first = False
            count = 0 if whole else segment_next(self.cut)
            frames = self.cut.frames
        return True

    cdef int write_datagram(self, Frame *frame, Remote *remote) noexcept nogil:
        """0, or why not."""
        cdef iovec parts[1 + MOST_PARTS]
        parts[0].iov_base, parts[0].iov_len = self.header, HEADER
        memcpy(&parts[1], frame.parts, frame.nr_parts * sizeof(iovec))
        for _ in range(TRIES):
            if write_parts(remote.descriptor, parts, 1 + frame.nr_parts) >= 0:
                return 0
            if errno == EAGAIN:
                break
        return errno

    # --- what comes: on the loop's thread ----------------------------------------------------------------------------

    cdef void fill(self, PollSet polls) noexcept nogil:
        cdef int index
        self.polled = polls.add(self.descriptor, POLLIN) if self.carries else -1
        for index in range(self.nr_remotes):
            self.remotes[index].polled = -1
            if self.blocked and self.remotes[index].full:
                self.remotes[index].polled = polls.add(self.remotes[index].descriptor, POLLOUT)

    cdef void serve(self, PollSet polls) noexcept nogil:
        cdef int index, left = BATCHES
        cdef bint writable = False
        for index in range(self.nr_remotes):
            if polls.happened(self.remotes[index].polled):
                self.remotes[index].full = False
                writable = True
        if writable:
            self.end_wait()
        if polls.happened(self.polled):
            while left and self.receive():
                left -= 1

    cdef bint receive(self) noexcept nogil:
        """Deliver one batch; whether there may be more."""
        cdef Frame frames[BATCH]
        cdef iovec parts[BATCH]
        cdef int remotes[BATCH]
        cdef uint8_t *at = self.arrived
        cdef int nr_frames = 0, index
        cdef ssize_t count = 0
        memset(frames, 0, sizeof(frames))
        while nr_frames < BATCH and at + DATAGRAM <= self.arrived + ARRIVED:
            count = self.take_datagram(at, &remotes[nr_frames])
            if count < 0:
                break
            if count == 0:
                continue
            frames[nr_frames].length = parts[nr_frames].iov_len = count - HEADER
            parts[nr_frames].iov_base = at + HEADER
            frames[nr_frames].nr_parts, frames[nr_frames].parts = 1, &parts[nr_frames]
            nr_frames += 1
            at += count
        lock(&self.lock)
        for index in range(nr_frames):
            self.nr_received += 1
            self.received_bytes += frames[index].length
            self.learn(<uint8_t *>parts[index].iov_base, remotes[index])
        unlock(&self.lock)
        if nr_frames:
            coalesce(self.joined, frames, nr_frames)
            self.deliver(self.joined.frames, self.joined.count)
        return count >= 0

    cdef ssize_t take_datagram(self, uint8_t *at, int *remote) noexcept nogil:
        """Its length, and from whom it is; 0: it is refused, -1: there is none."""
        cdef uint8_t address[ADDRESS_BYTES]
        cdef ssize_t count = receive_from(self.descriptor, at, DATAGRAM, address)
        if count < 0:
            return -1
        remote[0] = self.find_remote(address)
        # RFC 7348, 5: all but the VNI and the flag that it is there is reserved, and not looked at.
        if (remote[0] < 0 or count < HEADER + LEAST_BYTES or not at[0] & VNI_IS_THERE
                or memcmp(at + 4, self.header + 4, 3) != 0):
            self.nr_refused += 1
            return 0
        return count

    cdef int find_remote(self, const uint8_t *address) noexcept nogil:
        cdef int index
        for index in range(self.nr_remotes):
            if memcmp(self.remotes[index].address, address, ADDRESS_BYTES) == 0:
                return index
        return -1

    cdef void learn(self, const uint8_t *frame, int remote) noexcept nogil:
        cdef const uint8_t *sender = frame + 6
        cdef Place *place = self.places + place_of(sender)
        if not sender[0] & 1:
            place.mac, place.remote = mac_at(sender), remote


cdef uint64_t mac_at(const uint8_t *address) noexcept nogil:
    cdef uint64_t mac = 0
    memcpy(&mac, address, 6)
    return mac


cdef int place_of(const uint8_t *address) noexcept nogil:
    return (address[4] << 8 ^ address[3] << 4 ^ address[5]) % LEARNED


def address_of(descriptor: int) -> bytes:
    """With which host a socket is connected, as an IPv6 address."""
    with socket.socket(fileno=os.dup(descriptor)) as connected:
        host = connected.getpeername()[0]
        if connected.family == socket.AF_INET:
            return bytes(10) + b"\xff\xff" + socket.inet_pton(socket.AF_INET, host)
        return socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
