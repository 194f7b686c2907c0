# libslirp's interface, of its header libslirp.h up to version 4 of the configuration (4.7); tests/abi holds this
# against it.  The library is loaded when it is first wanted: see slirp.pyx.
from libc.stdint cimport int64_t, uint8_t, uint32_t

cdef extern from "<netinet/in.h>" nogil:
    struct in_addr:
        uint32_t s_addr
    struct in6_addr:
        uint8_t s6_addr[16]
    struct sockaddr:
        unsigned short sa_family
    struct sockaddr_in:
        unsigned short sin_family
        unsigned short sin_port
        in_addr sin_addr
    struct sockaddr_in6:
        unsigned short sin6_family
        unsigned short sin6_port
        in6_addr sin6_addr
    struct sockaddr_storage:
        unsigned short ss_family
    ctypedef unsigned int socklen_t
    enum:
        AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP

cdef enum:                          # SLIRP_POLL_*
    SLIRP_IN = 1
    SLIRP_OUT = 2
    SLIRP_PRI = 4
    SLIRP_ERR = 8
    SLIRP_HUP = 16

cdef enum:
    CONFIG_VERSION = 4
    HOSTFWD_UDP = 1                 # SLIRP_HOSTFWD_*
    HOSTFWD_V6ONLY = 2
    IF_MTU_MAX = 65521              # the greatest IP datagram that it makes

ctypedef void (*TimerCallback)(void *opaque) noexcept nogil
ctypedef int (*AddPoll)(int fd, int events, void *opaque) noexcept nogil
ctypedef int (*GetEvents)(int index, void *opaque) noexcept nogil

ctypedef void Slirp

cdef struct SlirpCb:
    ssize_t (*send_packet)(const void *frame, size_t length, void *opaque) noexcept nogil
    void (*guest_error)(const char *message, void *opaque) noexcept nogil
    int64_t (*clock_get_ns)(void *opaque) noexcept nogil
    void *(*timer_new)(TimerCallback callback, void *cb_opaque, void *opaque) noexcept nogil
    void (*timer_free)(void *timer, void *opaque) noexcept nogil
    void (*timer_mod)(void *timer, int64_t expire_time, void *opaque) noexcept nogil    # ms
    void (*register_poll_fd)(int fd, void *opaque) noexcept nogil
    void (*unregister_poll_fd)(int fd, void *opaque) noexcept nogil
    void (*notify)(void *opaque) noexcept nogil
    void (*init_completed)(Slirp *slirp, void *opaque) noexcept nogil                   # from version 4 on
    void *(*timer_new_opaque)(int id, void *cb_opaque, void *opaque) noexcept nogil

cdef struct SlirpConfig:
    uint32_t version
    int restricted
    uint8_t in_enabled
    in_addr vnetwork
    in_addr vnetmask
    in_addr vhost
    uint8_t in6_enabled
    in6_addr vprefix_addr6
    uint8_t vprefix_len
    in6_addr vhost6
    const char *vhostname
    const char *tftp_server_name
    const char *tftp_path
    const char *bootfile
    in_addr vdhcp_start
    in_addr vnameserver
    in6_addr vnameserver6
    const char **vdnssearch
    const char *vdomainname
    size_t if_mtu
    size_t if_mru
    uint8_t disable_host_loopback
    uint8_t enable_emu
    sockaddr_in *outbound_addr                                                          # from version 2 on
    sockaddr_in6 *outbound_addr6
    uint8_t disable_dns                                                                 # from version 3 on
    uint8_t disable_dhcp                                                                # from version 4 on

# The functions of the library that is loaded.  One for the process, which keeps it.
cdef struct Library:
    Slirp *(*slirp_new)(const SlirpConfig *config, const SlirpCb *callbacks, void *opaque) noexcept nogil
    void (*slirp_cleanup)(Slirp *slirp) noexcept nogil
    void (*slirp_pollfds_fill)(Slirp *slirp, uint32_t *timeout, AddPoll add_poll, void *opaque) noexcept nogil
    void (*slirp_pollfds_poll)(Slirp *slirp, int error, GetEvents get_events, void *opaque) noexcept nogil
    void (*slirp_input)(Slirp *slirp, const uint8_t *frame, int length) noexcept nogil
    int (*slirp_add_hostxfwd)(Slirp *slirp, const sockaddr *host, socklen_t host_length, const sockaddr *guest,
                              socklen_t guest_length, int flags) noexcept nogil
    int (*slirp_remove_hostxfwd)(Slirp *slirp, const sockaddr *host, socklen_t host_length, int flags) noexcept nogil
    const char *(*slirp_version_string)() noexcept nogil

cdef Library library
# The version of the configuration that the library takes.  Precondition: it is loaded.
cdef int configured()
