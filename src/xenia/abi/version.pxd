# public/version.h
from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    XENVER_version = 0
    XENVER_extraversion = 1
    XENVER_compile_info = 2
    XENVER_capabilities = 3
    XENVER_changeset = 4
    XENVER_platform_parameters = 5
    XENVER_get_features = 6
    XENVER_pagesize = 7
    XENVER_guest_handle = 8
    XENVER_commandline = 9
    XENVER_build_id = 10

cdef struct xen_compile_info_t:
    char compiler[64]
    char compile_by[16]
    char compile_domain[32]
    char compile_date[32]

cdef struct xen_platform_parameters_t:
    uint64_t virt_start

cdef struct xen_feature_info_t:
    uint32_t submap_idx
    uint32_t submap
