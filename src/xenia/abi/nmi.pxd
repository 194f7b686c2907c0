# public/nmi.h
from libc.stdint cimport uint64_t

cdef enum:
    XENNMI_register_callback = 0
    XENNMI_unregister_callback = 1

cdef struct xennmi_callback_t:
    uint64_t handler_address
    uint64_t pad
