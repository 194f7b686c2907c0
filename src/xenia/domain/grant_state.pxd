# A domain's grant table as data: what it grants, and what others hold of it.  The rules are in grants.pyx and
# grant_frames.pyx.
from libc.stdint cimport uint16_t, uint32_t, uint64_t

cdef struct GrantRecord:    # what others hold of one grant reference of the domain's
    uint64_t mfn
    uint16_t domid          # who
    uint32_t readers        # holds that only read
    uint32_t writers

#   lock    memory.lock.
#   saved   version and entries; nobody holds any then.  A guest that suspends itself sets its table up anew.
cdef struct GrantState:
    uint32_t version
    uint64_t frames[64]
    uint32_t nr_frames
    uint64_t status_frames[8]       # version 2: one grant_status_t for each entry
    uint32_t nr_status_frames
    GrantRecord *records[64]        # 512 references each
