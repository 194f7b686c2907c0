/* The part of Xen's public interface that the tiny guests use: numbers and layouts for 64-bit PV on x86.
 * Names are Xen's (public/xen.h, arch-x86/xen.h, arch-x86/xen-x86_64.h and the header named at each group). */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef signed char s8;
typedef int s32;
typedef long s64;

#define NULL ((void *)0)
#define packed __attribute__((packed))
#define aligned(n) __attribute__((aligned(n)))

/* --- hypercall numbers */
enum {
    __HYPERVISOR_set_trap_table, __HYPERVISOR_mmu_update, __HYPERVISOR_set_gdt, __HYPERVISOR_stack_switch,
    __HYPERVISOR_set_callbacks, __HYPERVISOR_fpu_taskswitch, __HYPERVISOR_sched_op_compat,
    __HYPERVISOR_platform_op, __HYPERVISOR_set_debugreg, __HYPERVISOR_get_debugreg,
    __HYPERVISOR_update_descriptor, __HYPERVISOR_memory_op = 12, __HYPERVISOR_multicall,
    __HYPERVISOR_update_va_mapping, __HYPERVISOR_set_timer_op, __HYPERVISOR_event_channel_op_compat,
    __HYPERVISOR_xen_version, __HYPERVISOR_console_io, __HYPERVISOR_physdev_op_compat,
    __HYPERVISOR_grant_table_op, __HYPERVISOR_vm_assist, __HYPERVISOR_update_va_mapping_otherdomain,
    __HYPERVISOR_iret, __HYPERVISOR_vcpu_op, __HYPERVISOR_set_segment_base, __HYPERVISOR_mmuext_op,
    __HYPERVISOR_xsm_op, __HYPERVISOR_nmi_op, __HYPERVISOR_sched_op, __HYPERVISOR_callback_op,
    __HYPERVISOR_xenoprof_op, __HYPERVISOR_event_channel_op, __HYPERVISOR_physdev_op, __HYPERVISOR_hvm_op,
    __HYPERVISOR_sysctl, __HYPERVISOR_domctl, __HYPERVISOR_kexec_op, __HYPERVISOR_tmem_op,
    __HYPERVISOR_argo_op, __HYPERVISOR_xenpmu_op, __HYPERVISOR_dm_op, __HYPERVISOR_hypfs_op,
};

#define DOMID_SELF 0x7ff0
#define DOMID_IO 0x7ff1
#define DOMID_XEN 0x7ff2
#define DOMID_INVALID 0x7ff4

/* --- traps and segments */
struct trap_info {
    u8 vector;
    u8 flags;               /* bits 0-1: least privileged ring for `int n`; bit 2: enter with events masked */
    u16 cs;
    u64 address;
};
#define FLAT_KERNEL_CS 0xe033
#define FLAT_KERNEL_SS 0xe02b
#define FLAT_USER_CS 0xe033
#define FLAT_USER_CS32 0xe023
#define FLAT_USER_SS 0xe02b
#define VGCF_in_syscall (1 << 8)

enum { SEGBASE_FS, SEGBASE_GS_USER, SEGBASE_GS_KERNEL, SEGBASE_GS_USER_SEL };

/* --- memory */
struct mmu_update {
    u64 ptr;                /* machine address of the entry, low two bits the command */
    u64 val;
};
enum { MMU_NORMAL_PT_UPDATE, MMU_MACHPHYS_UPDATE, MMU_PT_UPDATE_PRESERVE_AD, MMU_PT_UPDATE_NO_TRANSLATE };

struct mmuext_op {
    u32 cmd;
    union { u64 mfn, linear_addr; } arg1;
    union { u32 nr_ents; const void *vcpumask; u64 src_mfn; } arg2;
};
enum {
    MMUEXT_PIN_L1_TABLE, MMUEXT_PIN_L2_TABLE, MMUEXT_PIN_L3_TABLE, MMUEXT_PIN_L4_TABLE, MMUEXT_UNPIN_TABLE,
    MMUEXT_NEW_BASEPTR, MMUEXT_TLB_FLUSH_LOCAL, MMUEXT_INVLPG_LOCAL, MMUEXT_TLB_FLUSH_MULTI, MMUEXT_INVLPG_MULTI,
    MMUEXT_TLB_FLUSH_ALL, MMUEXT_INVLPG_ALL, MMUEXT_FLUSH_CACHE, MMUEXT_SET_LDT, MMUEXT_NEW_USER_BASEPTR = 15,
    MMUEXT_CLEAR_PAGE, MMUEXT_COPY_PAGE, MMUEXT_FLUSH_CACHE_GLOBAL, MMUEXT_MARK_SUPER, MMUEXT_UNMARK_SUPER,
};
#define UVMF_NONE 0
#define UVMF_TLB_FLUSH 1
#define UVMF_INVLPG 2
#define UVMF_LOCAL 0
#define UVMF_ALL 4

enum { VMASST_CMD_enable, VMASST_CMD_disable };
enum {
    VMASST_TYPE_4gb_segments, VMASST_TYPE_4gb_segments_notify, VMASST_TYPE_writable_pagetables,
    VMASST_TYPE_pae_extended_cr3, VMASST_TYPE_architectural_iopl, VMASST_TYPE_runstate_update_flag,
    VMASST_TYPE_m2p_strict = 32,
};

#define MACH2PHYS ((volatile u64 *)0xffff800000000000)
#define INVALID_P2M_ENTRY (~0ul)

/* public/memory.h */
enum {
    XENMEM_increase_reservation, XENMEM_decrease_reservation, XENMEM_maximum_ram_page, XENMEM_current_reservation,
    XENMEM_maximum_reservation, XENMEM_machphys_mfn_list, XENMEM_populate_physmap, XENMEM_add_to_physmap,
    XENMEM_memory_map = 9, XENMEM_machine_memory_map, XENMEM_exchange, XENMEM_machphys_mapping,
};
struct xen_memory_reservation {
    u64 *extent_start;
    u64 nr_extents;
    u32 extent_order;
    u32 mem_flags;
    u16 domid;
};
struct xen_memory_exchange {
    struct xen_memory_reservation in, out;
    u64 nr_exchanged;
};
struct xen_memory_map {
    u32 nr_entries;
    void *buffer;
};
struct e820entry {
    u64 addr, size;
    u32 type;
} packed;
struct xen_machphys_mapping {
    u64 v_start, v_end, max_mfn;
};

/* --- scheduling (public/sched.h), vcpus (public/vcpu.h), time */
enum {
    SCHEDOP_yield, SCHEDOP_block, SCHEDOP_shutdown, SCHEDOP_poll, SCHEDOP_remote_shutdown, SCHEDOP_shutdown_code,
    SCHEDOP_watchdog, SCHEDOP_pin_override,
};
enum {
    SHUTDOWN_poweroff, SHUTDOWN_reboot, SHUTDOWN_suspend, SHUTDOWN_crash, SHUTDOWN_watchdog, SHUTDOWN_soft_reset,
};
struct sched_poll {
    u32 *ports;
    u32 nr_ports;
    u64 timeout;
};
struct sched_watchdog { u32 id, timeout; };
struct sched_remote_shutdown { u16 domain_id; u32 reason; };
struct sched_pin_override { s32 pcpu; };

enum {
    VCPUOP_initialise, VCPUOP_up, VCPUOP_down, VCPUOP_is_up, VCPUOP_get_runstate_info,
    VCPUOP_register_runstate_memory_area, VCPUOP_set_periodic_timer, VCPUOP_stop_periodic_timer,
    VCPUOP_set_singleshot_timer, VCPUOP_stop_singleshot_timer, VCPUOP_register_vcpu_info, VCPUOP_send_nmi,
    VCPUOP_get_physid, VCPUOP_register_vcpu_time_memory_area,
};
enum { RUNSTATE_running, RUNSTATE_runnable, RUNSTATE_blocked, RUNSTATE_offline };
struct vcpu_runstate_info {
    s32 state;
    u64 state_entry_time;
    u64 time[4];
};

struct vcpu_guest_context {
    u8 fpu[512];
    u64 flags;
    u64 r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, error, rip, cs, rflags, rsp, ss, es,
        ds, fs, gs;
    struct trap_info traps[256];
    u64 ldt_base, ldt_ents, gdt_frames[16], gdt_ents, kernel_ss, kernel_sp, ctrlreg[8], debugreg[8], callbacks[3],
        vm_assist, fs_base, gs_base_kernel, gs_base_user;
};
#define VGCF_in_kernel (1 << 2)
struct vcpu_set_singleshot_timer { u64 timeout_abs_ns; u32 flags; };
#define VCPU_SSHOTTMR_future 1
struct vcpu_register_vcpu_info { u64 mfn; u32 offset, rsvd; };

struct vcpu_time_info {
    u32 version, pad0;
    u64 tsc_timestamp, system_time;
    u32 tsc_to_system_mul;
    s8 tsc_shift;
    u8 flags, pad1[2];
};
struct vcpu_info {
    u8 evtchn_upcall_pending;
    u8 evtchn_upcall_mask;
    u64 evtchn_pending_sel;
    struct { u64 cr2, pad; } arch;
    struct vcpu_time_info time;
};
struct shared_info {
    struct vcpu_info vcpu_info[32];
    u64 evtchn_pending[64], evtchn_mask[64];
    u32 wc_version, wc_sec, wc_nsec, wc_sec_hi;
    struct { u64 max_pfn, pfn_to_mfn_frame_list_list, nmi_reason, p2m_cr3, p2m_vaddr, p2m_generation; } arch;
};

/* --- events (public/event_channel.h) and callbacks (public/callback.h) */
enum {
    EVTCHNOP_bind_interdomain, EVTCHNOP_bind_virq, EVTCHNOP_bind_pirq, EVTCHNOP_close, EVTCHNOP_send,
    EVTCHNOP_status, EVTCHNOP_alloc_unbound, EVTCHNOP_bind_ipi, EVTCHNOP_bind_vcpu, EVTCHNOP_unmask, EVTCHNOP_reset,
    EVTCHNOP_init_control, EVTCHNOP_expand_array, EVTCHNOP_set_priority,
};
struct evtchn_alloc_unbound { u16 dom, remote_dom; u32 port; };
struct evtchn_bind_interdomain { u16 remote_dom; u32 remote_port, local_port; };
struct evtchn_bind_virq { u32 virq, vcpu, port; };
struct evtchn_bind_ipi { u32 vcpu, port; };
struct evtchn_port { u32 port; };
struct evtchn_bind_vcpu { u32 port, vcpu; };
struct evtchn_reset { u16 dom; };
struct evtchn_init_control { u64 control_gfn; u32 offset, vcpu; u8 link_bits, pad[7]; };
struct evtchn_expand_array { u64 array_gfn; };
struct evtchn_set_priority { u32 port, priority; };
struct evtchn_fifo_control_block { u32 ready, rsvd, head[16]; };
enum { EVTCHN_FIFO_BUSY = 1u << 28, EVTCHN_FIFO_LINKED = 1u << 29, EVTCHN_FIFO_MASKED = 1u << 30,
       EVTCHN_FIFO_PENDING = 1u << 31 };
#define EVTCHN_FIFO_LINK_MASK ((1u << 17) - 1)
struct evtchn_status {
    u16 dom;
    u32 port;
    u32 status, vcpu;
    union { struct { u16 dom; } unbound; struct { u16 dom; u32 port; } interdomain; u32 pirq, virq; } u;
};
enum { VIRQ_TIMER, VIRQ_DEBUG, VIRQ_CONSOLE, VIRQ_DOM_EXC };

enum {
    CALLBACKTYPE_event, CALLBACKTYPE_failsafe, CALLBACKTYPE_syscall, CALLBACKTYPE_sysenter_deprecated,
    CALLBACKTYPE_nmi, CALLBACKTYPE_sysenter, CALLBACKTYPE_syscall32 = 7,
};
#define CALLBACKF_mask_events 1
struct callback_register { u16 type, flags; u64 address; };

/* --- the rest */
enum { CONSOLEIO_write, CONSOLEIO_read };
struct multicall_entry { u64 op, result, args[6]; };
enum {
    XENVER_version, XENVER_extraversion, XENVER_compile_info, XENVER_capabilities, XENVER_changeset,
    XENVER_platform_parameters, XENVER_get_features, XENVER_pagesize, XENVER_guest_handle, XENVER_commandline,
    XENVER_build_id,
};
struct xen_feature_info { u32 submap_idx, submap; };

/* public/grant_table.h */
enum {
    GNTTABOP_map_grant_ref, GNTTABOP_unmap_grant_ref, GNTTABOP_setup_table, GNTTABOP_dump_table, GNTTABOP_transfer,
    GNTTABOP_copy, GNTTABOP_query_size, GNTTABOP_unmap_and_replace, GNTTABOP_set_version, GNTTABOP_get_status_frames,
    GNTTABOP_get_version, GNTTABOP_swap_grant_ref, GNTTABOP_cache_flush,
};
struct grant_entry_v1 { u16 flags, domid; u32 frame; };
struct gnttab_setup_table { u16 dom; u32 nr_frames; short status; u64 *frame_list; };
struct gnttab_query_size { u16 dom; u32 nr_frames, max_nr_frames; short status; };
struct gnttab_map_grant_ref {
    u64 host_addr;
    u32 flags, ref;
    u16 dom;
    short status;
    u32 handle;
    u64 dev_bus_addr;
};
struct gnttab_unmap_grant_ref { u64 host_addr, dev_bus_addr; u32 handle; short status; };
struct gnttab_copy {
    struct { union { u32 ref; u64 gmfn; } u; u16 domid, offset; } source, dest;
    u16 len, flags;
    short status;
};
struct gnttab_set_version { u32 version; };
struct gnttab_get_version { u16 dom, pad; u32 version; };
struct gnttab_transfer { u64 mfn; u16 domid; u32 ref; short status; };
struct gnttab_get_status_frames { u32 nr_frames; u16 dom; short status; u64 *frame_list; };

/* --- start of day (public/xen.h) and the console ring (public/io/console.h) */
#define SIF_PRIVILEGED 1
#define SIF_INITDOMAIN 2
#define SIF_MOD_START_PFN 8
struct start_info {
    char magic[32];
    u64 nr_pages, shared_info;
    u32 flags;
    u64 store_mfn;
    u32 store_evtchn;
    struct { u64 mfn; u32 evtchn; } console;
    u64 pt_base, nr_pt_frames, mfn_list, mod_start, mod_len;
    char cmd_line[1024];
    u64 first_p2m_pfn, nr_p2m_frames;
};
struct xencons_interface {
    char in[1024], out[2048];
    volatile u32 in_cons, in_prod, out_cons, out_prod;
};
