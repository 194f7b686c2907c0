"""public/io/netif.h.

Written by scripts/abi.py from netif.pxd: do not edit.
"""

from enum import IntEnum, IntFlag
from struct import Struct
from typing import Final


class TxFlags(IntFlag):
    """NETTXF_*."""

    CSUM_BLANK = 1 << 0
    DATA_VALIDATED = 1 << 1
    MORE_DATA = 1 << 2
    EXTRA_INFO = 1 << 3


class RxFlags(IntFlag):
    """NETRXF_*."""

    DATA_VALIDATED = 1 << 0
    CSUM_BLANK = 1 << 1
    MORE_DATA = 1 << 2
    EXTRA_INFO = 1 << 3
    GSO_PREFIX = 1 << 4


class Status(IntEnum):
    """NETIF_RSP_*."""

    DROPPED = -2
    ERROR = -1
    OKAY = 0
    NULL = 1  # no response: where a netif_extra_info_t lay


class ExtraType(IntEnum):
    """XEN_NETIF_EXTRA_TYPE_*."""

    NONE = 0
    GSO = 1
    MCAST_ADD = 2
    MCAST_DEL = 3
    HASH = 4
    XDP = 5  # of Linux, not of Xen
    MAX = 5


class GsoType(IntEnum):
    """XEN_NETIF_GSO_TYPE_*."""

    NONE = 0
    TCPV4 = 1
    TCPV6 = 2


class HashTypes(IntFlag):
    """XEN_NETIF_CTRL_HASH_TYPE_*."""

    IPV4 = 1 << 0
    IPV4_TCP = 1 << 1
    IPV6 = 1 << 2
    IPV6_TCP = 1 << 3


class HashAlgorithm(IntEnum):
    """XEN_NETIF_CTRL_HASH_ALGORITHM_*."""

    NONE = 0
    TOEPLITZ = 1


class ControlType(IntEnum):
    """XEN_NETIF_CTRL_TYPE_*."""

    INVALID = 0
    GET_HASH_FLAGS = 1
    SET_HASH_FLAGS = 2
    SET_HASH_KEY = 3
    GET_HASH_MAPPING_SIZE = 4
    SET_HASH_MAPPING_SIZE = 5
    SET_HASH_MAPPING = 6
    SET_HASH_ALGORITHM = 7
    GET_GREF_MAPPING_SIZE = 8
    ADD_GREF_MAPPING = 9
    DEL_GREF_MAPPING = 10


class ControlStatus(IntEnum):
    """XEN_NETIF_CTRL_STATUS_*."""

    SUCCESS = 0
    NOT_SUPPORTED = 1
    INVALID_PARAMETER = 2
    BUFFER_OVERFLOW = 3


XEN_NETIF_NR_SLOTS_MIN: Final = 18  # ring entries of a frame that every backend takes
XEN_NETIF_MAX_TX_SIZE: Final = 0xFFFF
XEN_NETIF_MAX_XDP_HEADROOM: Final = 0x7FFF  # bytes; of Linux, not of Xen
XEN_NETIF_EXTRA_FLAG_MORE: Final = 1 << 0

NETIF_TX_REQUEST: Final = Struct("<IHHHH")  # gref, offset, flags, id, size
NETIF_TX_RESPONSE: Final = Struct("<Hh")  # id, status
NETIF_RX_REQUEST: Final = Struct("<HHI")  # id, pad, gref
NETIF_RX_RESPONSE: Final = Struct("<HHHh")  # id, offset, flags, status
NETIF_EXTRA_GSO: Final = Struct("<HBBH")  # size, type, pad, features
NETIF_EXTRA_MCAST: Final = Struct("<6s")  # addr
NETIF_EXTRA_HASH: Final = Struct("<BB4s")  # type, algorithm, value
NETIF_EXTRA_XDP: Final = Struct("<H2H")  # headroom, pad
NETIF_EXTRA_INFO: Final = Struct("<BB6s")  # type, flags, u
XEN_NETIF_CTRL_REQUEST: Final = Struct("<HH3I")  # id, type, data
XEN_NETIF_CTRL_RESPONSE: Final = Struct("<HHII")  # id, type, status, data
