# public/io/netif.h
from libc.stdint cimport int16_t, uint8_t, uint16_t, uint32_t

cdef enum:
    XEN_NETIF_NR_SLOTS_MIN = 18     # ring entries of a frame that every backend takes
    XEN_NETIF_MAX_TX_SIZE = 0xFFFF

    NETTXF_csum_blank = 1 << 0
    NETTXF_data_validated = 1 << 1
    NETTXF_more_data = 1 << 2
    NETTXF_extra_info = 1 << 3

    NETRXF_data_validated = 1 << 0
    NETRXF_csum_blank = 1 << 1
    NETRXF_more_data = 1 << 2
    NETRXF_extra_info = 1 << 3
    NETRXF_gso_prefix = 1 << 4

    NETIF_RSP_DROPPED = -2
    NETIF_RSP_ERROR = -1
    NETIF_RSP_OKAY = 0
    NETIF_RSP_NULL = 1              # no response: where a netif_extra_info_t lay

    XEN_NETIF_EXTRA_TYPE_NONE = 0
    XEN_NETIF_EXTRA_TYPE_GSO = 1
    XEN_NETIF_EXTRA_TYPE_MCAST_ADD = 2
    XEN_NETIF_EXTRA_TYPE_MCAST_DEL = 3
    XEN_NETIF_EXTRA_TYPE_HASH = 4
    XEN_NETIF_EXTRA_TYPE_XDP = 5    # of Linux, not of Xen
    XEN_NETIF_EXTRA_TYPE_MAX = 5
    XEN_NETIF_MAX_XDP_HEADROOM = 0x7FFF     # bytes; of Linux, not of Xen

    XEN_NETIF_EXTRA_FLAG_MORE = 1 << 0

    XEN_NETIF_GSO_TYPE_NONE = 0
    XEN_NETIF_GSO_TYPE_TCPV4 = 1
    XEN_NETIF_GSO_TYPE_TCPV6 = 2

    XEN_NETIF_CTRL_HASH_TYPE_IPV4 = 1 << 0
    XEN_NETIF_CTRL_HASH_TYPE_IPV4_TCP = 1 << 1
    XEN_NETIF_CTRL_HASH_TYPE_IPV6 = 1 << 2
    XEN_NETIF_CTRL_HASH_TYPE_IPV6_TCP = 1 << 3

    XEN_NETIF_CTRL_HASH_ALGORITHM_NONE = 0
    XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ = 1

    XEN_NETIF_CTRL_TYPE_INVALID = 0
    XEN_NETIF_CTRL_TYPE_GET_HASH_FLAGS = 1
    XEN_NETIF_CTRL_TYPE_SET_HASH_FLAGS = 2
    XEN_NETIF_CTRL_TYPE_SET_HASH_KEY = 3
    XEN_NETIF_CTRL_TYPE_GET_HASH_MAPPING_SIZE = 4
    XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING_SIZE = 5
    XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING = 6
    XEN_NETIF_CTRL_TYPE_SET_HASH_ALGORITHM = 7
    XEN_NETIF_CTRL_TYPE_GET_GREF_MAPPING_SIZE = 8
    XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING = 9
    XEN_NETIF_CTRL_TYPE_DEL_GREF_MAPPING = 10

    XEN_NETIF_CTRL_STATUS_SUCCESS = 0
    XEN_NETIF_CTRL_STATUS_NOT_SUPPORTED = 1
    XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER = 2
    XEN_NETIF_CTRL_STATUS_BUFFER_OVERFLOW = 3

cdef struct netif_tx_request_t:
    uint32_t gref
    uint16_t offset
    uint16_t flags
    uint16_t id
    uint16_t size               # in the first one of a frame: of all of it

cdef struct netif_tx_response_t:
    uint16_t id
    int16_t status

cdef struct netif_rx_request_t:
    uint16_t id
    uint16_t pad
    uint32_t gref

cdef struct netif_rx_response_t:
    uint16_t id
    uint16_t offset
    uint16_t flags
    int16_t status              # bytes, or NETIF_RSP_*

cdef struct netif_extra_gso_t:
    uint16_t size               # payload bytes of each segment
    uint8_t type
    uint8_t pad
    uint16_t features

cdef struct netif_extra_mcast_t:
    uint8_t addr[6]

cdef struct netif_extra_hash_t:
    uint8_t type                # number of the bit of XEN_NETIF_CTRL_HASH_TYPE_*
    uint8_t algorithm
    uint8_t value[4]

cdef struct netif_extra_xdp_t:
    uint16_t headroom
    uint16_t pad[2]

cdef union netif_extra_u:
    netif_extra_gso_t gso
    netif_extra_mcast_t mcast
    netif_extra_hash_t hash
    netif_extra_xdp_t xdp

cdef struct netif_extra_info_t:     # in the place of a request or a response
    uint8_t type
    uint8_t flags
    netif_extra_u u

cdef struct xen_netif_ctrl_request_t:
    uint16_t id
    uint16_t type
    uint32_t data[3]

cdef struct xen_netif_ctrl_response_t:
    uint16_t id
    uint16_t type
    uint32_t status
    uint32_t data
