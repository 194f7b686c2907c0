"""public/xen.h: start_info, the page a PV guest finds in rSI; public/arch-x86/xen-x86_64.h: its first selectors."""

from enum import IntFlag
from struct import Struct
from typing import Final

MAGIC: Final = b"xen-3.0-x86_64"
MAX_GUEST_CMDLINE: Final = 1024

# magic, nr_pages, shared_info, flags, store_mfn, store_evtchn, console.domU.{mfn, evtchn}, pt_base, nr_pt_frames,
# mfn_list, mod_start, mod_len, cmd_line, first_p2m_pfn, nr_p2m_frames
START_INFO: Final = Struct("<32s QQ I4x Q I4x Q I4x QQ QQQ 1024s QQ")

FLAT_KERNEL_CS: Final = 0xE033
FLAT_KERNEL_SS: Final = 0xE02B


class StartFlags(IntFlag):
    """SIF_*."""

    PRIVILEGED = 1
    INITDOMAIN = 2
    MULTIBOOT_MOD = 4
    MOD_START_PFN = 8
    VIRT_P2M_4TOOLS = 16
