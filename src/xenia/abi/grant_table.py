"""public/grant_table.h.

Written by scripts/abi.py from grant_table.pxd: do not edit.
"""

from struct import Struct
from typing import Final

GNTTABOP_map_grant_ref: Final = 0
GNTTABOP_unmap_grant_ref: Final = 1
GNTTABOP_setup_table: Final = 2
GNTTABOP_dump_table: Final = 3
GNTTABOP_transfer: Final = 4
GNTTABOP_copy: Final = 5
GNTTABOP_query_size: Final = 6
GNTTABOP_unmap_and_replace: Final = 7
GNTTABOP_set_version: Final = 8
GNTTABOP_get_status_frames: Final = 9
GNTTABOP_get_version: Final = 10
GNTTABOP_swap_grant_ref: Final = 11
GNTTABOP_cache_flush: Final = 12
GNTTAB_NR_RESERVED_ENTRIES: Final = 8
GNTTAB_RESERVED_CONSOLE: Final = 0
GNTTAB_RESERVED_XENSTORE: Final = 1
GTF_invalid: Final = 0
GTF_permit_access: Final = 1
GTF_accept_transfer: Final = 2
GTF_transitive: Final = 3
GTF_type_mask: Final = 3
GTF_readonly: Final = 1 << 2
GTF_reading: Final = 1 << 3
GTF_writing: Final = 1 << 4
GTF_sub_page: Final = 1 << 8
GTF_transfer_committed: Final = 1 << 2
GTF_transfer_completed: Final = 1 << 3
GNTMAP_device_map: Final = 1 << 0
GNTMAP_host_map: Final = 1 << 1
GNTMAP_readonly: Final = 1 << 2
GNTMAP_application_map: Final = 1 << 3
GNTMAP_contains_pte: Final = 1 << 4
GNTMAP_guest_avail0: Final = 16
GNTCOPY_source_gref: Final = 1 << 0
GNTCOPY_dest_gref: Final = 1 << 1
GNTTAB_CACHE_CLEAN: Final = 1 << 0
GNTTAB_CACHE_INVAL: Final = 1 << 1
GNTST_okay: Final = 0
GNTST_general_error: Final = -1
GNTST_bad_domain: Final = -2
GNTST_bad_gntref: Final = -3
GNTST_bad_handle: Final = -4
GNTST_bad_virt_addr: Final = -5
GNTST_bad_dev_addr: Final = -6
GNTST_no_device_space: Final = -7
GNTST_permission_denied: Final = -8
GNTST_bad_page: Final = -9
GNTST_bad_copy_arg: Final = -10
GNTST_address_too_big: Final = -11
GNTST_eagain: Final = -12
GNTST_no_space: Final = -13

GRANT_ENTRY_V1: Final = Struct("<HHI")  # flags, domid, frame
GRANT_ENTRY_V2: Final = Struct("<HHHHQ")  # flags, domid, page_off, length, frame
GRANT_ENTRY_V2_TRANSITIVE: Final = Struct("<HHHHII")  # flags, domid, trans_domid, pad0, gref, _pad
GNTTAB_MAP_GRANT_REF: Final = Struct("<QIIHhIQ")  # host_addr, flags, ref, dom, status, handle, dev_bus_addr
GNTTAB_UNMAP_GRANT_REF: Final = Struct("<QQIh2x")  # host_addr, dev_bus_addr, handle, status
GNTTAB_SETUP_TABLE: Final = Struct("<HxxIh6xQ")  # dom, nr_frames, status, frame_list
GNTTAB_DUMP_TABLE: Final = Struct("<Hh")  # dom, status
GNTTAB_TRANSFER: Final = Struct("<QHxxIh6x")  # mfn, domid, ref, status
GNTTAB_COPY_PTR: Final = Struct("<8sHH4x")  # u, domid, offset
GNTTAB_COPY: Final = Struct("<8sHH4x8sHH4xHHh2x")  # source, dest, len, flags, status
GNTTAB_QUERY_SIZE: Final = Struct("<HxxIIh2x")  # dom, nr_frames, max_nr_frames, status
GNTTAB_UNMAP_AND_REPLACE: Final = Struct("<QQIh2x")  # host_addr, new_addr, handle, status
GNTTAB_SET_VERSION: Final = Struct("<I")  # version
GNTTAB_GET_STATUS_FRAMES: Final = Struct("<IHhQ")  # nr_frames, dom, status, frame_list
GNTTAB_GET_VERSION: Final = Struct("<HHI")  # dom, pad, version
GNTTAB_SWAP_GRANT_REF: Final = Struct("<IIh2x")  # ref_a, ref_b, status
GNTTAB_CACHE_FLUSH: Final = Struct("<QHHI")  # a, offset, length, op
