# public/io/ring.h: the head of a shared ring; its entries follow, each as large as the larger of request and response.
from libc.stdint cimport uint8_t, uint32_t

cdef struct sring_t:               # 64 bytes
    uint32_t req_prod
    uint32_t req_event
    uint32_t rsp_prod
    uint32_t rsp_event
    uint8_t pvt[4]
    uint8_t _pad[44]
