# public/io/xs_wire.h: the xenstore wire protocol and the page that carries it between a domain and the store.
from libc.stdint cimport uint32_t

cdef enum:
    XS_CONTROL = 0
    XS_DIRECTORY = 1
    XS_READ = 2
    XS_GET_PERMS = 3
    XS_WATCH = 4
    XS_UNWATCH = 5
    XS_TRANSACTION_START = 6
    XS_TRANSACTION_END = 7
    XS_INTRODUCE = 8
    XS_RELEASE = 9
    XS_GET_DOMAIN_PATH = 10
    XS_WRITE = 11
    XS_MKDIR = 12
    XS_RM = 13
    XS_SET_PERMS = 14
    XS_WATCH_EVENT = 15
    XS_ERROR = 16
    XS_IS_DOMAIN_INTRODUCED = 17
    XS_RESUME = 18
    XS_SET_TARGET = 19
    # 20 was XS_RESTRICT, removed from the protocol.
    XS_RESET_WATCHES = 21
    XS_DIRECTORY_PART = 22

    # xsd_errors[]: errors travel by name, so this is the closed set of what an ERROR reply may say.
    XSD_EPERM = 1
    XSD_ENOENT = 2
    XSD_EIO = 5
    XSD_E2BIG = 7
    XSD_EAGAIN = 11
    XSD_ENOMEM = 12
    XSD_EACCES = 13
    XSD_EBUSY = 16
    XSD_EEXIST = 17
    XSD_EISDIR = 21
    XSD_EINVAL = 22
    XSD_ENOSPC = 28
    XSD_EROFS = 30
    XSD_ENOSYS = 38
    XSD_ENOTEMPTY = 39
    XSD_EISCONN = 106

    XENSTORE_PAYLOAD_MAX = 4096
    XENSTORE_ABS_PATH_MAX = 3072
    XENSTORE_REL_PATH_MAX = 2048
    XENSTORE_RING_SIZE = 1024

    XENSTORE_SERVER_FEATURE_RECONNECTION = 1
    XENSTORE_SERVER_FEATURE_ERROR = 2

    # Values of the `connection` field.
    XENSTORE_CONNECTED = 0
    XENSTORE_RECONNECT = 1

    # Values of the `error` field.
    XENSTORE_ERROR_NONE = 0
    XENSTORE_ERROR_COMM = 1
    XENSTORE_ERROR_RINGIDX = 2
    XENSTORE_ERROR_PROTO = 3

cdef struct xsd_sockmsg_t:
    uint32_t type
    uint32_t req_id
    uint32_t tx_id
    uint32_t len

cdef struct xenstore_domain_interface_t:
    char req[1024]
    char rsp[1024]
    uint32_t req_cons
    uint32_t req_prod
    uint32_t rsp_cons
    uint32_t rsp_prod
    uint32_t server_features
    uint32_t connection
    uint32_t error
