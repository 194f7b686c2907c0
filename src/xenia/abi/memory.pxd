# public/memory.h (and the e820 entry that XENMEM_memory_map hands out)
from libc.stdint cimport uint16_t, uint32_t, uint64_t

cdef enum:
    XENMEM_increase_reservation = 0
    XENMEM_decrease_reservation = 1
    XENMEM_maximum_ram_page = 2
    XENMEM_current_reservation = 3
    XENMEM_maximum_reservation = 4
    XENMEM_machphys_mfn_list = 5
    XENMEM_populate_physmap = 6
    XENMEM_add_to_physmap = 7
    XENMEM_memory_map = 9
    XENMEM_machine_memory_map = 10
    XENMEM_exchange = 11
    XENMEM_machphys_mapping = 12
    XENMEM_set_memory_map = 13
    XENMEM_maximum_gpfn = 14
    XENMEM_remove_from_physmap = 15
    XENMEM_set_pod_target = 16
    XENMEM_get_pod_target = 17
    XENMEM_get_sharing_freed_pages = 18
    XENMEM_get_sharing_shared_pages = 19
    XENMEM_paging_op = 20
    XENMEM_access_op = 21
    XENMEM_sharing_op = 22
    XENMEM_add_to_physmap_batch = 23
    XENMEM_claim_pages = 24
    XENMEM_machphys_compat_mfn_list = 25
    XENMEM_get_vnumainfo = 26
    XENMEM_reserved_device_memory_map = 27
    XENMEM_acquire_resource = 28

    XENMEMF_address_bits_mask = 0xff
    XENMEMF_populate_on_demand = 1 << 16

cdef struct xen_memory_reservation_t:
    uint64_t extent_start   # guest address of xen_pfn_t[nr_extents]
    uint64_t nr_extents
    uint32_t extent_order
    uint32_t mem_flags
    uint16_t domid

cdef struct xen_memory_exchange_t:
    xen_memory_reservation_t in_ "in"
    xen_memory_reservation_t out
    uint64_t nr_exchanged

cdef struct xen_memory_domain_t:
    uint16_t domid

cdef struct xen_machphys_mfn_list_t:
    uint32_t max_extents
    uint64_t extent_start
    uint32_t nr_extents

cdef struct xen_machphys_mapping_t:
    uint64_t v_start
    uint64_t v_end
    uint64_t max_mfn

cdef struct xen_add_to_physmap_t:
    uint16_t domid
    uint16_t size
    uint32_t space
    uint64_t idx
    uint64_t gpfn

cdef struct xen_add_to_physmap_batch_t:
    uint16_t domid
    uint16_t space
    uint16_t size
    uint16_t u
    uint64_t idxs
    uint64_t gpfns
    uint64_t errs

cdef struct xen_remove_from_physmap_t:
    uint16_t domid
    uint64_t gpfn

cdef struct xen_memory_map_t:
    uint32_t nr_entries
    uint64_t buffer

cdef struct xen_foreign_memory_map_t:
    uint16_t domid
    xen_memory_map_t map

cdef struct xen_pod_target_t:
    uint64_t target_pages
    uint64_t tot_pages
    uint64_t pod_cache_pages
    uint64_t pod_entries
    uint16_t domid

cdef packed struct e820_entry_t:
    uint64_t addr
    uint64_t size
    uint32_t type
