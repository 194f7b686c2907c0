# public/io/9pfs.h: the page that begins a ring of Xen's 9pfs.  The references of the ring's pages follow it.
from libc.stdint cimport uint8_t, uint32_t

cdef struct xen_9pfs_data_intf_t:
    uint32_t in_cons
    uint32_t in_prod
    uint8_t pad1[56]
    uint32_t out_cons
    uint32_t out_prod
    uint8_t pad2[56]
    uint32_t ring_order
