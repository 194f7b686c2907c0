"""The host and what is private to its links, which guests do not reach through the user-mode network.

That is the loopback, every address that the host has, and what is there on its links only: link-local addresses (and
with them the metadata of clouds at 169.254.169.254), multicast and broadcast; in IPv6 also where an IPv4 address stands
in one.  Which addresses are the host's is the kernel's to say: they are those that a socket can be bound to.
"""

import socket

from libc.errno cimport EADDRNOTAVAIL, EAFNOSUPPORT, errno
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcmp, memcpy, memset
from posix.unistd cimport close
from xenia.machine.loop cimport monotonic
from xenia.net.nat.slirp cimport AF_INET, AF_INET6, sockaddr, sockaddr_in, sockaddr_in6, sockaddr_storage, socklen_t

cdef extern from *:
    """
    #define _GNU_SOURCE
    #include <netinet/in.h>
    #include <sys/socket.h>
    """
    int host_socket "socket"(int family, int kind, int protocol) nogil
    int bind(int fd, const sockaddr *address, socklen_t length) nogil
    int connect(int fd, const sockaddr *address, socklen_t length) nogil
    int getsockopt(int fd, int level, int option, void *value, socklen_t *length) nogil
    enum:
        SOCK_DGRAM, SOCK_CLOEXEC, IPPROTO_IP, IPPROTO_IPV6, IP_MTU, IPV6_MTU

cdef enum:
    ANSWER_LASTS = 1000000000       # ns
    LOOPBACK_MTU = 65536            # drivers/net/loopback.c
    DISCARD = 9                     # a port: nothing is sent there

cdef uint8_t *NOWHERE4 = [192, 0, 2, 1]                                     # RFC 5737
cdef uint8_t *NOWHERE6 = [0x20, 1, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]     # RFC 3849


cdef class HostGuard:
    """What the kernel said lately of addresses."""

    def __cinit__(self):
        self.binds_anything[0] = can_bind(NOWHERE4, 4) > 0
        self.binds_anything[1] = can_bind(NOWHERE6, 16) > 0

    def refuses(self, address: str) -> bool:
        """Whether no guest may send to that address."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        cdef bytes packed = socket.inet_pton(family, address)
        return self.forbids(<const uint8_t *><const char *>packed, len(packed), monotonic())

    cdef bint forbids(self, const uint8_t *address, int size, int64_t now) noexcept nogil:
        cdef uint8_t key[16]
        cdef uint64_t hash = size
        cdef Answer *answer
        cdef int index
        if is_private4(address) if size == 4 else is_private6(address):
            return True
        memset(key, 0xFF, 16)           # an IPv4 address is kept as none of IPv6 that gets here
        memcpy(key + 16 - size, address, size)
        for index in range(16):
            hash = (hash ^ key[index]) * 0x100000001B3ULL
        answer = &self.answers[(hash ^ hash >> 32) % REMEMBERED]
        if answer.until < now or memcmp(answer.address, key, 16) != 0:
            memcpy(answer.address, key, 16)
            answer.forbidden = self.ask(address, size)
            answer.until = now + ANSWER_LASTS
        return answer.forbidden

    cdef bint ask(self, const uint8_t *address, int size) noexcept nogil:
        if self.binds_anything[size == 16]:
            return goes_to_loopback(address, size)
        # A router's anycast address (RFC 4291, 2.6.1) is delivered to the host, which nobody may bind to it.
        return can_bind(address, size) != 0 or size == 16 and goes_to_loopback(address, size)


cdef bint is_private4(const uint8_t *address) noexcept nogil:
    """This network, loopback, link-local, multicast, reserved and broadcast (RFC 6890)."""
    return (address[0] == 0 or address[0] == 127 or address[0] == 169 and address[1] == 254 or address[0] >= 224)


cdef bint is_private6(const uint8_t *address) noexcept nogil:
    """Unspecified, loopback and all that holds an IPv4 address below ::/96, IPv4-mapped, link-local, multicast."""
    cdef int index = 0
    if address[0] == 0xFF or address[0] == 0xFE and address[1] >> 6 == 2:
        return True
    while index < 10 and address[index] == 0:
        index += 1
    return index == 10 and (address[10] == 0 and address[11] == 0 or address[10] == 0xFF and address[11] == 0xFF)


cdef int socket_of(const uint8_t *address, int size, sockaddr_storage *place, socklen_t *length) noexcept nogil:
    memset(place, 0, sizeof(sockaddr_storage))
    if size == 4:
        place.ss_family = AF_INET
        memcpy(&(<sockaddr_in *>place).sin_addr, address, 4)
        length[0] = sizeof(sockaddr_in)
    else:
        place.ss_family = AF_INET6
        memcpy(&(<sockaddr_in6 *>place).sin6_addr, address, 16)
        length[0] = sizeof(sockaddr_in6)
    return host_socket(place.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0)


cdef int can_bind(const uint8_t *address, int size) noexcept nogil:
    """1: it is the host's; 0: it is not; -1: the kernel does not say."""
    cdef sockaddr_storage place
    cdef socklen_t length
    cdef int result, fd = socket_of(address, size, &place, &length)
    if fd < 0:
        return 0 if errno == EAFNOSUPPORT else -1
    if bind(fd, <sockaddr *>&place, length) == 0:
        result = 1
    else:
        result = 0 if errno == EADDRNOTAVAIL else -1
    close(fd)
    return result


cdef bint goes_to_loopback(const uint8_t *address, int size) noexcept nogil:
    """Whether what is sent there stays on the host, by the device that the route names: its MTU is the loopback's."""
    cdef sockaddr_storage place
    cdef socklen_t length
    cdef int mtu = LOOPBACK_MTU, fd = socket_of(address, size, &place, &length)
    if fd < 0:
        return errno != EAFNOSUPPORT
    (<sockaddr_in *>&place).sin_port = DISCARD << 8         # in the network's order; the same place in both families
    if connect(fd, <sockaddr *>&place, length) == 0:
        length = sizeof(int)
        getsockopt(fd, IPPROTO_IP if size == 4 else IPPROTO_IPV6, IP_MTU if size == 4 else IPV6_MTU, &mtu, &length)
    else:
        mtu = 0                                             # there is no way there
    close(fd)
    return mtu >= LOOPBACK_MTU
