"""public/io/xs_wire.h: the xenstore wire protocol and the page that carries it between a domain and the store.

Written by scripts/abi.py from xs_wire.pxd: do not edit.
"""

from enum import IntEnum, IntFlag
from struct import Struct
from typing import Final


class MessageType(IntEnum):
    """XS_*."""

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
    RESET_WATCHES = 21
    DIRECTORY_PART = 22


class XsdError(IntEnum):
    """XSD_*."""

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


class ServerFeature(IntFlag):
    """XENSTORE_SERVER_FEATURE_*."""

    RECONNECTION = 1
    ERROR = 2


class ConnectionState(IntEnum):
    """XENSTORE_*."""

    CONNECTED = 0
    RECONNECT = 1


class RingError(IntEnum):
    """XENSTORE_ERROR_*."""

    NONE = 0
    COMM = 1
    RINGIDX = 2
    PROTO = 3


XENSTORE_PAYLOAD_MAX: Final = 4096
XENSTORE_ABS_PATH_MAX: Final = 3072
XENSTORE_REL_PATH_MAX: Final = 2048
XENSTORE_RING_SIZE: Final = 1024

XSD_SOCKMSG: Final = Struct("<IIII")  # type, req_id, tx_id, len
# req, rsp, req_cons, req_prod, rsp_cons, rsp_prod, server_features, connection, error
XENSTORE_DOMAIN_INTERFACE: Final = Struct("<1024s1024sIIIIIII")
REQ_OFFSET: Final = 0
REQ_SIZE: Final = 1024
RSP_OFFSET: Final = 1024
RSP_SIZE: Final = 1024
REQ_CONS_OFFSET: Final = 2048
REQ_PROD_OFFSET: Final = 2052
RSP_CONS_OFFSET: Final = 2056
RSP_PROD_OFFSET: Final = 2060
SERVER_FEATURES_OFFSET: Final = 2064
CONNECTION_OFFSET: Final = 2068
ERROR_OFFSET: Final = 2072
INTERFACE_SIZE: Final = 2076
