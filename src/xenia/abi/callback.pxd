# public/callback.h
from libc.stdint cimport uint16_t, uint64_t

cdef enum:
    CALLBACKTYPE_event = 0
    CALLBACKTYPE_failsafe = 1
    CALLBACKTYPE_syscall = 2
    CALLBACKTYPE_sysenter_deprecated = 3
    CALLBACKTYPE_nmi = 4
    CALLBACKTYPE_sysenter = 5
    CALLBACKTYPE_syscall32 = 7

    CALLBACKF_mask_events = 1 << 0

    CALLBACKOP_register = 0
    CALLBACKOP_unregister = 1

cdef struct callback_register_t:
    uint16_t type
    uint16_t flags
    uint64_t address

cdef struct callback_unregister_t:
    uint16_t type
    uint16_t _unused
