# public/xen.h and public/arch-x86/xen-x86_64.h: numbers and layouts every 64-bit PV guest sees.
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    # Hypercall numbers (__HYPERVISOR_*).
    HYPERVISOR_set_trap_table = 0
    HYPERVISOR_mmu_update = 1
    HYPERVISOR_set_gdt = 2
    HYPERVISOR_stack_switch = 3
    HYPERVISOR_set_callbacks = 4
    HYPERVISOR_fpu_taskswitch = 5
    HYPERVISOR_sched_op_compat = 6
    HYPERVISOR_platform_op = 7
    HYPERVISOR_set_debugreg = 8
    HYPERVISOR_get_debugreg = 9
    HYPERVISOR_update_descriptor = 10
    HYPERVISOR_memory_op = 12
    HYPERVISOR_multicall = 13
    HYPERVISOR_update_va_mapping = 14
    HYPERVISOR_set_timer_op = 15
    HYPERVISOR_event_channel_op_compat = 16
    HYPERVISOR_xen_version = 17
    HYPERVISOR_console_io = 18
    HYPERVISOR_physdev_op_compat = 19
    HYPERVISOR_grant_table_op = 20
    HYPERVISOR_vm_assist = 21
    HYPERVISOR_update_va_mapping_otherdomain = 22
    HYPERVISOR_iret = 23
    HYPERVISOR_vcpu_op = 24
    HYPERVISOR_set_segment_base = 25
    HYPERVISOR_mmuext_op = 26
    HYPERVISOR_xsm_op = 27
    HYPERVISOR_nmi_op = 28
    HYPERVISOR_sched_op = 29
    HYPERVISOR_callback_op = 30
    HYPERVISOR_xenoprof_op = 31
    HYPERVISOR_event_channel_op = 32
    HYPERVISOR_physdev_op = 33
    HYPERVISOR_hvm_op = 34
    HYPERVISOR_sysctl = 35
    HYPERVISOR_domctl = 36
    HYPERVISOR_kexec_op = 37
    HYPERVISOR_argo_op = 39
    HYPERVISOR_xenpmu_op = 40
    HYPERVISOR_dm_op = 41
    HYPERVISOR_hypfs_op = 42
    HYPERVISOR_mca = 48
    HYPERVISOR_paging_domctl_cont = 49

cdef enum:
    # mmu_update commands (low two bits of ptr).
    MMU_NORMAL_PT_UPDATE = 0
    MMU_MACHPHYS_UPDATE = 1
    MMU_PT_UPDATE_PRESERVE_AD = 2
    MMU_PT_UPDATE_NO_TRANSLATE = 3

    MMUEXT_PIN_L1_TABLE = 0
    MMUEXT_PIN_L2_TABLE = 1
    MMUEXT_PIN_L3_TABLE = 2
    MMUEXT_PIN_L4_TABLE = 3
    MMUEXT_UNPIN_TABLE = 4
    MMUEXT_NEW_BASEPTR = 5
    MMUEXT_TLB_FLUSH_LOCAL = 6
    MMUEXT_INVLPG_LOCAL = 7
    MMUEXT_TLB_FLUSH_MULTI = 8
    MMUEXT_INVLPG_MULTI = 9
    MMUEXT_TLB_FLUSH_ALL = 10
    MMUEXT_INVLPG_ALL = 11
    MMUEXT_FLUSH_CACHE = 12
    MMUEXT_SET_LDT = 13
    MMUEXT_NEW_USER_BASEPTR = 15
    MMUEXT_CLEAR_PAGE = 16
    MMUEXT_COPY_PAGE = 17
    MMUEXT_FLUSH_CACHE_GLOBAL = 18
    MMUEXT_MARK_SUPER = 19
    MMUEXT_UNMARK_SUPER = 20

    # update_va_mapping flags.
    UVMF_NONE = 0
    UVMF_TLB_FLUSH = 1
    UVMF_INVLPG = 2
    UVMF_FLUSHTYPE_MASK = 3
    UVMF_MULTI = 0
    UVMF_LOCAL = 0
    UVMF_ALL = 4

    VMASST_CMD_enable = 0
    VMASST_CMD_disable = 1
    VMASST_TYPE_4gb_segments = 0
    VMASST_TYPE_4gb_segments_notify = 1
    VMASST_TYPE_writable_pagetables = 2
    VMASST_TYPE_pae_extended_cr3 = 3
    VMASST_TYPE_architectural_iopl = 4
    VMASST_TYPE_runstate_update_flag = 5
    VMASST_TYPE_m2p_strict = 32

    # set_segment_base.
    SEGBASE_FS = 0
    SEGBASE_GS_USER = 1
    SEGBASE_GS_KERNEL = 2
    SEGBASE_GS_USER_SEL = 3

    VGCF_i387_valid = 1 << 0
    VGCF_in_kernel = 1 << 2
    VGCF_failsafe_disables_events = 1 << 3
    VGCF_syscall_disables_events = 1 << 4
    VGCF_online = 1 << 5
    VGCF_in_syscall = 1 << 8

    FLAT_RING3_CS64 = 0xe033
    FLAT_RING3_CS32 = 0xe023
    FLAT_RING3_SS = 0xe02b
    FIRST_RESERVED_GDT_PAGE = 14
    FIRST_RESERVED_GDT_ENTRY = 14 * 512

    NR_VIRQS = 24
    CONSOLEIO_write = 0
    CONSOLEIO_read = 1

    VIRQ_TIMER = 0
    VIRQ_DEBUG = 1
    VIRQ_CONSOLE = 2

    XEN_LEGACY_MAX_VCPUS = 32
    NR_EVENT_CHANNELS_2L = 4096

    # xen_guest flags in start_info.
    SIF_PRIVILEGED = 1
    SIF_INITDOMAIN = 2
    SIF_MULTIBOOT_MOD = 4
    SIF_MOD_START_PFN = 8
    SIF_VIRT_P2M_4TOOLS = 16

cdef enum:
    DOMID_FIRST_RESERVED = 0x7FF0
    DOMID_SELF = 0x7FF0
    DOMID_IO = 0x7FF1
    DOMID_XEN = 0x7FF2
    DOMID_COW = 0x7FF3
    DOMID_INVALID = 0x7FF4
    DOMID_IDLE = 0x7FFF

# Virtual layout (arch-x86/xen-x86_64.h).
cdef extern from *:
    """
    #define XENIA_HYPERVISOR_VIRT_START 0xFFFF800000000000ULL
    #define XENIA_HYPERVISOR_VIRT_END   0xFFFF880000000000ULL
    #define XENIA_PERDOMAIN_VIRT_START  0xFFFF820000000000ULL
    #define XENIA_INVALID_M2P_ENTRY     (~0ULL)
    """
    const uint64_t HYPERVISOR_VIRT_START "XENIA_HYPERVISOR_VIRT_START"
    const uint64_t HYPERVISOR_VIRT_END "XENIA_HYPERVISOR_VIRT_END"
    const uint64_t PERDOMAIN_VIRT_START "XENIA_PERDOMAIN_VIRT_START"
    const uint64_t INVALID_M2P_ENTRY "XENIA_INVALID_M2P_ENTRY"

cdef struct trap_info_t:
    uint8_t vector
    uint8_t flags          # bits 0-1: least privileged ring that may `int n`; bit 2: clear event enable
    uint16_t cs
    uint32_t _pad
    uint64_t address

cdef struct cpu_user_regs_t:       # 200 bytes
    uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi
    uint32_t error_code, entry_vector
    uint64_t rip
    uint16_t cs
    uint16_t _pad0
    uint8_t saved_upcall_mask
    uint8_t _pad1[3]
    uint64_t rflags
    uint64_t rsp
    uint16_t ss
    uint16_t _pad2[3]
    uint16_t es
    uint16_t _pad3[3]
    uint16_t ds
    uint16_t _pad4[3]
    uint16_t fs
    uint16_t _pad5[3]
    uint16_t gs
    uint16_t _pad6[3]

cdef struct vcpu_guest_context_t:  # 5168 bytes
    uint8_t fpu_ctxt[512]          # as fxsave stores it
    uint64_t flags                 # VGCF_*
    cpu_user_regs_t user_regs
    trap_info_t trap_ctxt[256]
    uint64_t ldt_base, ldt_ents
    uint64_t gdt_frames[16]
    uint64_t gdt_ents
    uint64_t kernel_ss, kernel_sp
    uint64_t ctrlreg[8]            # 3 the kernel's page tables, 1 user mode's
    uint64_t debugreg[8]
    uint64_t event_callback_eip, failsafe_callback_eip, syscall_callback_eip
    uint64_t vm_assist
    uint64_t fs_base, gs_base_kernel, gs_base_user

cdef struct mmu_update_t:
    uint64_t ptr
    uint64_t val

cdef struct mmuext_op_t:
    uint32_t cmd
    uint32_t _pad
    uint64_t arg1          # mfn | linear_addr
    uint64_t arg2          # nr_ents | vcpumask | src_mfn

cdef struct multicall_entry_t:
    uint64_t op
    uint64_t result
    uint64_t args[6]

cdef struct iret_context_t:
    uint64_t rax, r11, rcx, flags, rip, cs, rflags, rsp, ss

cdef struct vcpu_time_info_t:      # 32 bytes
    uint32_t version
    uint32_t pad0
    uint64_t tsc_timestamp
    uint64_t system_time
    uint32_t tsc_to_system_mul
    int8_t tsc_shift
    uint8_t flags
    uint8_t pad1[2]

cdef struct arch_vcpu_info_t:
    uint64_t cr2
    uint64_t pad

cdef struct vcpu_info_t:           # 64 bytes
    uint8_t evtchn_upcall_pending
    uint8_t evtchn_upcall_mask
    uint8_t _pad[6]
    uint64_t evtchn_pending_sel
    arch_vcpu_info_t arch
    vcpu_time_info_t time

cdef struct arch_shared_info_t:
    uint64_t max_pfn
    uint64_t pfn_to_mfn_frame_list_list
    uint64_t nmi_reason
    uint64_t p2m_cr3
    uint64_t p2m_vaddr
    uint64_t p2m_generation

cdef struct shared_info_t:
    vcpu_info_t vcpu_info[32]
    uint64_t evtchn_pending[64]
    uint64_t evtchn_mask[64]
    uint32_t wc_version
    uint32_t wc_sec
    uint32_t wc_nsec
    uint32_t wc_sec_hi
    arch_shared_info_t arch
