"""public/memory.h (and the e820 entry that XENMEM_memory_map hands out).

Written by scripts/abi.py from memory.pxd: do not edit.
"""

from struct import Struct
from typing import Final

XENMEM_increase_reservation: Final = 0
XENMEM_decrease_reservation: Final = 1
XENMEM_maximum_ram_page: Final = 2
XENMEM_current_reservation: Final = 3
XENMEM_maximum_reservation: Final = 4
XENMEM_machphys_mfn_list: Final = 5
XENMEM_populate_physmap: Final = 6
XENMEM_add_to_physmap: Final = 7
XENMEM_memory_map: Final = 9
XENMEM_machine_memory_map: Final = 10
XENMEM_exchange: Final = 11
XENMEM_machphys_mapping: Final = 12
XENMEM_set_memory_map: Final = 13
XENMEM_maximum_gpfn: Final = 14
XENMEM_remove_from_physmap: Final = 15
XENMEM_set_pod_target: Final = 16
XENMEM_get_pod_target: Final = 17
XENMEM_get_sharing_freed_pages: Final = 18
XENMEM_get_sharing_shared_pages: Final = 19
XENMEM_paging_op: Final = 20
XENMEM_access_op: Final = 21
XENMEM_sharing_op: Final = 22
XENMEM_add_to_physmap_batch: Final = 23
XENMEM_claim_pages: Final = 24
XENMEM_machphys_compat_mfn_list: Final = 25
XENMEM_get_vnumainfo: Final = 26
XENMEM_reserved_device_memory_map: Final = 27
XENMEM_acquire_resource: Final = 28
XENMEMF_address_bits_mask: Final = 0xFF
XENMEMF_populate_on_demand: Final = 1 << 16

XEN_MEMORY_RESERVATION: Final = Struct("<QQIIH6x")  # extent_start, nr_extents, extent_order, mem_flags, domid
XEN_MEMORY_EXCHANGE: Final = Struct("<QQIIH6xQQIIH6xQ")  # in_, out, nr_exchanged
XEN_MEMORY_DOMAIN: Final = Struct("<H")  # domid
XEN_MACHPHYS_MFN_LIST: Final = Struct("<I4xQI4x")  # max_extents, extent_start, nr_extents
XEN_MACHPHYS_MAPPING: Final = Struct("<QQQ")  # v_start, v_end, max_mfn
XEN_ADD_TO_PHYSMAP: Final = Struct("<HHIQQ")  # domid, size, space, idx, gpfn
XEN_ADD_TO_PHYSMAP_BATCH: Final = Struct("<HHHHQQQ")  # domid, space, size, u, idxs, gpfns, errs
XEN_REMOVE_FROM_PHYSMAP: Final = Struct("<H6xQ")  # domid, gpfn
XEN_MEMORY_MAP: Final = Struct("<I4xQ")  # nr_entries, buffer
XEN_FOREIGN_MEMORY_MAP: Final = Struct("<H6xI4xQ")  # domid, map
XEN_POD_TARGET: Final = Struct("<QQQQH6x")  # target_pages, tot_pages, pod_cache_pages, pod_entries, domid
E820_ENTRY: Final = Struct("<QQI")  # addr, size, type
