# public/grant_table.h
from libc.stdint cimport int16_t, uint16_t, uint32_t, uint64_t

cdef enum:
    GNTTABOP_map_grant_ref = 0
    GNTTABOP_unmap_grant_ref = 1
    GNTTABOP_setup_table = 2
    GNTTABOP_dump_table = 3
    GNTTABOP_transfer = 4
    GNTTABOP_copy = 5
    GNTTABOP_query_size = 6
    GNTTABOP_unmap_and_replace = 7
    GNTTABOP_set_version = 8
    GNTTABOP_get_status_frames = 9
    GNTTABOP_get_version = 10
    GNTTABOP_swap_grant_ref = 11
    GNTTABOP_cache_flush = 12

    GNTTAB_NR_RESERVED_ENTRIES = 8
    GNTTAB_RESERVED_CONSOLE = 0
    GNTTAB_RESERVED_XENSTORE = 1

    GTF_invalid = 0
    GTF_permit_access = 1
    GTF_accept_transfer = 2
    GTF_transitive = 3
    GTF_type_mask = 3
    GTF_readonly = 1 << 2
    GTF_reading = 1 << 3
    GTF_writing = 1 << 4
    GTF_sub_page = 1 << 8
    GTF_transfer_committed = 1 << 2
    GTF_transfer_completed = 1 << 3

    GNTMAP_device_map = 1 << 0
    GNTMAP_host_map = 1 << 1
    GNTMAP_readonly = 1 << 2
    GNTMAP_application_map = 1 << 3
    GNTMAP_contains_pte = 1 << 4
    GNTMAP_guest_avail0 = 16

    GNTCOPY_source_gref = 1 << 0
    GNTCOPY_dest_gref = 1 << 1

    GNTTAB_CACHE_CLEAN = 1 << 0
    GNTTAB_CACHE_INVAL = 1 << 1

    GNTST_okay = 0
    GNTST_general_error = -1
    GNTST_bad_domain = -2
    GNTST_bad_gntref = -3
    GNTST_bad_handle = -4
    GNTST_bad_virt_addr = -5
    GNTST_bad_dev_addr = -6
    GNTST_no_device_space = -7
    GNTST_permission_denied = -8
    GNTST_bad_page = -9
    GNTST_bad_copy_arg = -10
    GNTST_address_too_big = -11
    GNTST_eagain = -12
    GNTST_no_space = -13

cdef struct grant_entry_v1_t:
    uint16_t flags
    uint16_t domid
    uint32_t frame

# union grant_entry_v2: a full page (frame) or part of one (page_off, length, frame); and what another domain granted
# the granter.
cdef struct grant_entry_v2_t:
    uint16_t flags
    uint16_t domid
    uint16_t page_off
    uint16_t length
    uint64_t frame

cdef struct grant_entry_v2_transitive_t:
    uint16_t flags
    uint16_t domid
    uint16_t trans_domid
    uint16_t pad0
    uint32_t gref
    uint32_t _pad

cdef struct gnttab_map_grant_ref_t:
    uint64_t host_addr
    uint32_t flags
    uint32_t ref
    uint16_t dom
    int16_t status
    uint32_t handle
    uint64_t dev_bus_addr

cdef struct gnttab_unmap_grant_ref_t:
    uint64_t host_addr
    uint64_t dev_bus_addr
    uint32_t handle
    int16_t status

cdef struct gnttab_setup_table_t:
    uint16_t dom
    uint32_t nr_frames
    int16_t status
    uint64_t frame_list

cdef struct gnttab_dump_table_t:
    uint16_t dom
    int16_t status

cdef struct gnttab_transfer_t:
    uint64_t mfn
    uint16_t domid
    uint32_t ref
    int16_t status

cdef union gnttab_copy_u:
    uint32_t ref
    uint64_t gmfn

cdef struct gnttab_copy_ptr_t:
    gnttab_copy_u u
    uint16_t domid
    uint16_t offset

cdef struct gnttab_copy_t:
    gnttab_copy_ptr_t source
    gnttab_copy_ptr_t dest
    uint16_t len
    uint16_t flags
    int16_t status

cdef struct gnttab_query_size_t:
    uint16_t dom
    uint32_t nr_frames
    uint32_t max_nr_frames
    int16_t status

cdef struct gnttab_unmap_and_replace_t:
    uint64_t host_addr
    uint64_t new_addr
    uint32_t handle
    int16_t status

cdef struct gnttab_set_version_t:
    uint32_t version

cdef struct gnttab_get_status_frames_t:
    uint32_t nr_frames
    uint16_t dom
    int16_t status
    uint64_t frame_list

cdef struct gnttab_get_version_t:
    uint16_t dom
    uint16_t pad
    uint32_t version

cdef struct gnttab_swap_grant_ref_t:
    uint32_t ref_a
    uint32_t ref_b
    int16_t status

cdef struct gnttab_cache_flush_t:
    uint64_t a
    uint16_t offset
    uint16_t length
    uint32_t op
