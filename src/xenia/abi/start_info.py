"""public/xen.h: start_info, the page a PV guest finds in rSI.

Written by scripts/abi.py from start_info.pxd: do not edit.
"""

from struct import Struct
from typing import Final

MAX_GUEST_CMDLINE: Final = 1024
MAGIC: Final = b"xen-3.0-x86_64"

# magic, nr_pages, shared_info, flags, store_mfn, store_evtchn, console_mfn, console_evtchn, pt_base, nr_pt_frames,
# mfn_list, mod_start, mod_len, cmd_line, first_p2m_pfn, nr_p2m_frames
START_INFO: Final = Struct("<32sQQI4xQI4xQI4xQQQQQ1024sQQ")
