# public/io/blkif.h
from libc.stdint cimport int16_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    BLKIF_OP_READ = 0
    BLKIF_OP_WRITE = 1
    BLKIF_OP_WRITE_BARRIER = 2
    BLKIF_OP_FLUSH_DISKCACHE = 3
    BLKIF_OP_DISCARD = 5
    BLKIF_OP_INDIRECT = 6

    BLKIF_DISCARD_SECURE = 1 << 0

    BLKIF_MAX_SEGMENTS_PER_REQUEST = 11
    BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST = 8

    BLKIF_RSP_EOPNOTSUPP = -2
    BLKIF_RSP_ERROR = -1
    BLKIF_RSP_OKAY = 0

    VDISK_CDROM = 1
    VDISK_REMOVABLE = 2
    VDISK_READONLY = 4

    BLKIF_SECTOR_SIZE = 512     # of sector numbers in requests and segments, whatever the device's own

cdef extern from *:
    """
    #define XENIA_PROTOCOL "x86_64-abi"
    """
    const char *XEN_IO_PROTO_ABI_X86_64 "XENIA_PROTOCOL"

cdef struct blkif_request_segment_t:
    uint32_t gref
    uint8_t first_sect
    uint8_t last_sect

cdef struct blkif_request_t:
    uint8_t operation
    uint8_t nr_segments
    uint16_t handle
    uint64_t id
    uint64_t sector_number
    blkif_request_segment_t seg[BLKIF_MAX_SEGMENTS_PER_REQUEST]

cdef struct blkif_request_discard_t:
    uint8_t operation
    uint8_t flag
    uint16_t handle
    uint64_t id
    uint64_t sector_number
    uint64_t nr_sectors

cdef struct blkif_request_indirect_t:
    uint8_t operation
    uint8_t indirect_op
    uint16_t nr_segments
    uint64_t id
    uint64_t sector_number
    uint16_t handle
    uint32_t indirect_grefs[BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST]

cdef struct blkif_response_t:
    uint64_t id
    uint8_t operation
    int16_t status
