# public/io/console.h: the page of the paravirtual console.
from libc.stdint cimport uint32_t

cdef struct xencons_interface_t:
    char in_ "in"[1024]
    char out[2048]
    uint32_t in_cons
    uint32_t in_prod
    uint32_t out_cons
    uint32_t out_prod
