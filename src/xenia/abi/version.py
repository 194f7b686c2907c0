"""public/version.h.

Written by scripts/abi.py from version.pxd: do not edit.
"""

from struct import Struct
from typing import Final

XENVER_version: Final = 0
XENVER_extraversion: Final = 1
XENVER_compile_info: Final = 2
XENVER_capabilities: Final = 3
XENVER_changeset: Final = 4
XENVER_platform_parameters: Final = 5
XENVER_get_features: Final = 6
XENVER_pagesize: Final = 7
XENVER_guest_handle: Final = 8
XENVER_commandline: Final = 9
XENVER_build_id: Final = 10

XEN_COMPILE_INFO: Final = Struct("<64s16s32s32s")  # compiler, compile_by, compile_domain, compile_date
XEN_PLATFORM_PARAMETERS: Final = Struct("<Q")  # virt_start
XEN_FEATURE_INFO: Final = Struct("<II")  # submap_idx, submap
