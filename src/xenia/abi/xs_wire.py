"""public/io/xs_wire.h: the xenstore wire protocol and the page that carries it between a domain and the store."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from struct import Struct
from typing import Final


class MessageType(IntEnum):
    """enum xsd_sockmsg_type."""

    CONTROL = 0
    DIRECTORY = 1
    READ = 2
    GET_PERMS = 3
    WATCH = 4
    UNWATCH = 5
    TRANSACTION_START = 6
    TRANSACTION_END = 7
    INTRODUCE = 8
    RELEASE = 9
    GET_DOMAIN_PATH = 10
    WRITE = 11
    MKDIR = 12
    RM = 13
    SET_PERMS = 14
    WATCH_EVENT = 15
    ERROR = 16
    IS_DOMAIN_INTRODUCED = 17
    RESUME = 18
    SET_TARGET = 19
    # 20 was XS_RESTRICT, removed from the protocol.
    RESET_WATCHES = 21
    DIRECTORY_PART = 22


class XsdError(IntEnum):
    """xsd_errors[]: errors travel by name, so this is the closed set of what an ERROR reply may say."""

    EPERM = 1
    ENOENT = 2
    EIO = 5
    E2BIG = 7
    EAGAIN = 11
    ENOMEM = 12
    EACCES = 13
    EBUSY = 16
    EEXIST = 17
    EISDIR = 21
    EINVAL = 22
    ENOSPC = 28
    EROFS = 30
    ENOSYS = 38
    ENOTEMPTY = 39
    EISCONN = 106


# struct xsd_sockmsg: type, req_id, tx_id, len.
SOCKMSG: Final = Struct("<4I")

XENSTORE_PAYLOAD_MAX: Final = 4096
XENSTORE_ABS_PATH_MAX: Final = 3072
XENSTORE_REL_PATH_MAX: Final = 2048

# struct xenstore_domain_interface: req[1024], rsp[1024], then words of 32 bits.
XENSTORE_RING_SIZE: Final = 1024
REQ_OFFSET: Final = 0
RSP_OFFSET: Final = 1024
REQ_CONS_OFFSET: Final = 2048
REQ_PROD_OFFSET: Final = 2052
RSP_CONS_OFFSET: Final = 2056
RSP_PROD_OFFSET: Final = 2060
SERVER_FEATURES_OFFSET: Final = 2064
CONNECTION_OFFSET: Final = 2068
ERROR_OFFSET: Final = 2072
INTERFACE_SIZE: Final = 2076


class ServerFeature(IntFlag):
    """XENSTORE_SERVER_FEATURE_*."""

    RECONNECTION = 1
    ERROR = 2


class ConnectionState(IntEnum):
    """Values of the `connection` field."""

    CONNECTED = 0
    RECONNECT = 1


class RingError(IntEnum):
    """XENSTORE_ERROR_*: values of the `error` field."""

    NONE = 0
    COMM = 1
    RINGIDX = 2
    PROTO = 3
