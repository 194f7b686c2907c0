# public/xen.h: start_info, the page a PV guest finds in rSI.
from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    MAX_GUEST_CMDLINE = 1024

cdef extern from *:
    """
    #define XENIA_MAGIC "xen-3.0-x86_64"
    """
    const char *MAGIC "XENIA_MAGIC"

cdef struct start_info_t:
    char magic[32]
    uint64_t nr_pages
    uint64_t shared_info
    uint32_t flags
    uint64_t store_mfn
    uint32_t store_evtchn
    uint64_t console_mfn
    uint32_t console_evtchn
    uint64_t pt_base
    uint64_t nr_pt_frames
    uint64_t mfn_list
    uint64_t mod_start
    uint64_t mod_len
    char cmd_line[1024]
    uint64_t first_p2m_pfn
    uint64_t nr_p2m_frames
