"""public/xen.h and public/arch-x86/xen-x86_64.h: numbers and layouts every 64-bit PV guest sees.

Written by scripts/abi.py from xen.pxd: do not edit.
"""

from enum import IntEnum, IntFlag
from struct import Struct
from typing import Final


class Hypercall(IntEnum):
    """HYPERVISOR_*."""

    SET_TRAP_TABLE = 0
    MMU_UPDATE = 1
    SET_GDT = 2
    STACK_SWITCH = 3
    SET_CALLBACKS = 4
    FPU_TASKSWITCH = 5
    SCHED_OP_COMPAT = 6
    PLATFORM_OP = 7
    SET_DEBUGREG = 8
    GET_DEBUGREG = 9
    UPDATE_DESCRIPTOR = 10
    MEMORY_OP = 12
    MULTICALL = 13
    UPDATE_VA_MAPPING = 14
    SET_TIMER_OP = 15
    EVENT_CHANNEL_OP_COMPAT = 16
    XEN_VERSION = 17
    CONSOLE_IO = 18
    PHYSDEV_OP_COMPAT = 19
    GRANT_TABLE_OP = 20
    VM_ASSIST = 21
    UPDATE_VA_MAPPING_OTHERDOMAIN = 22
    IRET = 23
    VCPU_OP = 24
    SET_SEGMENT_BASE = 25
    MMUEXT_OP = 26
    XSM_OP = 27
    NMI_OP = 28
    SCHED_OP = 29
    CALLBACK_OP = 30
    XENOPROF_OP = 31
    EVENT_CHANNEL_OP = 32
    PHYSDEV_OP = 33
    HVM_OP = 34
    SYSCTL = 35
    DOMCTL = 36
    KEXEC_OP = 37
    ARGO_OP = 39
    XENPMU_OP = 40
    DM_OP = 41
    HYPFS_OP = 42
    MCA = 48
    PAGING_DOMCTL_CONT = 49


class StartFlags(IntFlag):
    """SIF_*."""

    PRIVILEGED = 1
    INITDOMAIN = 2
    MULTIBOOT_MOD = 4
    MOD_START_PFN = 8
    VIRT_P2M_4TOOLS = 16


MMU_NORMAL_PT_UPDATE: Final = 0
MMU_MACHPHYS_UPDATE: Final = 1
MMU_PT_UPDATE_PRESERVE_AD: Final = 2
MMU_PT_UPDATE_NO_TRANSLATE: Final = 3
MMUEXT_PIN_L1_TABLE: Final = 0
MMUEXT_PIN_L2_TABLE: Final = 1
MMUEXT_PIN_L3_TABLE: Final = 2
MMUEXT_PIN_L4_TABLE: Final = 3
MMUEXT_UNPIN_TABLE: Final = 4
MMUEXT_NEW_BASEPTR: Final = 5
MMUEXT_TLB_FLUSH_LOCAL: Final = 6
MMUEXT_INVLPG_LOCAL: Final = 7
MMUEXT_TLB_FLUSH_MULTI: Final = 8
MMUEXT_INVLPG_MULTI: Final = 9
MMUEXT_TLB_FLUSH_ALL: Final = 10
MMUEXT_INVLPG_ALL: Final = 11
MMUEXT_FLUSH_CACHE: Final = 12
MMUEXT_SET_LDT: Final = 13
MMUEXT_NEW_USER_BASEPTR: Final = 15
MMUEXT_CLEAR_PAGE: Final = 16
MMUEXT_COPY_PAGE: Final = 17
MMUEXT_FLUSH_CACHE_GLOBAL: Final = 18
MMUEXT_MARK_SUPER: Final = 19
MMUEXT_UNMARK_SUPER: Final = 20
UVMF_NONE: Final = 0
UVMF_TLB_FLUSH: Final = 1
UVMF_INVLPG: Final = 2
UVMF_FLUSHTYPE_MASK: Final = 3
UVMF_MULTI: Final = 0
UVMF_LOCAL: Final = 0
UVMF_ALL: Final = 4
VMASST_CMD_enable: Final = 0
VMASST_CMD_disable: Final = 1
VMASST_TYPE_4gb_segments: Final = 0
VMASST_TYPE_4gb_segments_notify: Final = 1
VMASST_TYPE_writable_pagetables: Final = 2
VMASST_TYPE_pae_extended_cr3: Final = 3
VMASST_TYPE_architectural_iopl: Final = 4
VMASST_TYPE_runstate_update_flag: Final = 5
VMASST_TYPE_m2p_strict: Final = 32
SEGBASE_FS: Final = 0
SEGBASE_GS_USER: Final = 1
SEGBASE_GS_KERNEL: Final = 2
SEGBASE_GS_USER_SEL: Final = 3
VGCF_i387_valid: Final = 1 << 0
VGCF_in_kernel: Final = 1 << 2
VGCF_failsafe_disables_events: Final = 1 << 3
VGCF_syscall_disables_events: Final = 1 << 4
VGCF_online: Final = 1 << 5
VGCF_in_syscall: Final = 1 << 8
FLAT_RING3_CS64: Final = 0xE033
FLAT_RING3_CS32: Final = 0xE023
FLAT_RING3_SS: Final = 0xE02B
FIRST_RESERVED_GDT_PAGE: Final = 14
FIRST_RESERVED_GDT_ENTRY: Final = 14 * 512
NR_VIRQS: Final = 24
CONSOLEIO_write: Final = 0
CONSOLEIO_read: Final = 1
VIRQ_TIMER: Final = 0
VIRQ_DEBUG: Final = 1
VIRQ_CONSOLE: Final = 2
XEN_LEGACY_MAX_VCPUS: Final = 32
NR_EVENT_CHANNELS_2L: Final = 4096
DOMID_FIRST_RESERVED: Final = 0x7FF0
DOMID_SELF: Final = 0x7FF0
DOMID_IO: Final = 0x7FF1
DOMID_XEN: Final = 0x7FF2
DOMID_COW: Final = 0x7FF3
DOMID_INVALID: Final = 0x7FF4
DOMID_IDLE: Final = 0x7FFF
HYPERVISOR_VIRT_START: Final = 0xFFFF800000000000
HYPERVISOR_VIRT_END: Final = 0xFFFF880000000000
PERDOMAIN_VIRT_START: Final = 0xFFFF820000000000
INVALID_M2P_ENTRY: Final = (1 << 64) - 1

TRAP_INFO: Final = Struct("<BBHIQ")  # vector, flags, cs, _pad, address
# r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, error_code, entry_vector, rip, cs, _pad0,
# saved_upcall_mask, _pad1, rflags, rsp, ss, _pad2, es, _pad3, ds, _pad4, fs, _pad5, gs, _pad6
CPU_USER_REGS: Final = Struct("<QQQQQQQQQQQQQQQIIQHHB3sQQH3HH3HH3HH3HH3H")
# fpu_ctxt, flags, user_regs, trap_ctxt, ldt_base, ldt_ents, gdt_frames, gdt_ents, kernel_ss, kernel_sp, ctrlreg,
# debugreg, event_callback_eip, failsafe_callback_eip, syscall_callback_eip, vm_assist, fs_base, gs_base_kernel,
# gs_base_user
VCPU_GUEST_CONTEXT: Final = Struct("<512sQQQQQQQQQQQQQQQQIIQHHB3sQQH3HH3HH3HH3HH3H4096sQQ16QQQQ8Q8QQQQQQQQ")
MMU_UPDATE: Final = Struct("<QQ")  # ptr, val
MMUEXT_OP: Final = Struct("<IIQQ")  # cmd, _pad, arg1, arg2
MULTICALL_ENTRY: Final = Struct("<QQ6Q")  # op, result, args
IRET_CONTEXT: Final = Struct("<QQQQQQQQQ")  # rax, r11, rcx, flags, rip, cs, rflags, rsp, ss
# version, pad0, tsc_timestamp, system_time, tsc_to_system_mul, tsc_shift, flags, pad1
VCPU_TIME_INFO: Final = Struct("<IIQQIbB2s")
ARCH_VCPU_INFO: Final = Struct("<QQ")  # cr2, pad
# evtchn_upcall_pending, evtchn_upcall_mask, _pad, evtchn_pending_sel, arch, time
VCPU_INFO: Final = Struct("<BB6sQQQIIQQIbB2s")
# max_pfn, pfn_to_mfn_frame_list_list, nmi_reason, p2m_cr3, p2m_vaddr, p2m_generation
ARCH_SHARED_INFO: Final = Struct("<QQQQQQ")
# vcpu_info, evtchn_pending, evtchn_mask, wc_version, wc_sec, wc_nsec, wc_sec_hi, arch
SHARED_INFO: Final = Struct("<2048s64Q64QIIIIQQQQQQ")
