/* What each hypercall answers to harmless or wrong arguments: which exist, and with which errno they refuse. */
#include "kit.h"

static void say(const char *name, long result) { printf("%s: %ld\n", name, result); }

void main(void)
{
    static u8 buffer[4096] aligned(4096);
    /* numbers */
    for (u64 n = 37; n < 64; n++)
        if (n != 41 && n != 39 && n != 40 && n != 42 && n != 37)
            printf("hypercall %lu: %ld\n", n, hypercall6(n, 0, 0, 0, 0, 0, 0));
    say("hypercall 11", hypercall6(11, 0, 0, 0, 0, 0, 0));
    say("hypercall 1000", hypercall6(1000, 0, 0, 0, 0, 0, 0));
    say("hypercall -1", hypercall6(-1ul, 0, 0, 0, 0, 0, 0));
    say("hypercall 17 with upper bits", hypercall6(0x100000011ul, 0, 0, 0, 0, 0, 0));
    say("argo_op", hypercall(argo_op, 0, 0, 0, 0, 0));
    say("xenpmu_op", hypercall(xenpmu_op, 0, 0));
    say("dm_op", hypercall(dm_op, DOMID_SELF, 0, 0));
    say("hypfs_op", hypercall(hypfs_op, 0, 0, 0, 0, 0));
    say("kexec_op", hypercall(kexec_op, 0, 0));
    say("xsm_op", hypercall(xsm_op, 0));
    say("xenoprof_op", hypercall(xenoprof_op, 0, 0));
    say("hvm_op get_param", hypercall(hvm_op, 1, buffer));
    say("hvm_op 99", hypercall(hvm_op, 99, buffer));
    say("sysctl", hypercall(sysctl, buffer));
    say("domctl", hypercall(domctl, buffer));
    say("platform_op", hypercall(platform_op, buffer));
    say("tmem_op", hypercall(tmem_op, buffer));
    say("physdev_op 99", hypercall(physdev_op, 99, buffer));
    say("physdev_op irq_status_query", hypercall(physdev_op, 5, buffer));
    say("physdev_op eoi", hypercall(physdev_op, 12, buffer));
    say("physdev_op pirq_eoi_gmfn", hypercall(physdev_op, 17, buffer));
    say("physdev_op get_free_pirq", hypercall(physdev_op, 23, buffer));
    say("physdev_op pci_device_add", hypercall(physdev_op, 25, buffer));
    say("physdev_op apic_read", hypercall(physdev_op, 8, buffer));
    struct { void *bitmap; u32 nr_ports; } iobitmap = { NULL, 0 };
    say("physdev_op set_iobitmap none", hypercall(physdev_op, 7, &iobitmap));
    say("nmi_op register", hypercall(nmi_op, 0, buffer));
    say("nmi_op 99", hypercall(nmi_op, 99, 0));

    /* xen_version */
    say("version", hypercall(xen_version, XENVER_version, 0));
    say("extraversion, null", hypercall(xen_version, XENVER_extraversion, 0));
    say("compile info", hypercall(xen_version, XENVER_compile_info, buffer));
    say("capabilities", hypercall(xen_version, XENVER_capabilities, buffer));
    printf("capabilities begin: %s\n", starts_with((char *)buffer,
                                                   "xen-3.0-x86_64") ? "xen-3.0-x86_64" : (char *)buffer);
    say("changeset", hypercall(xen_version, XENVER_changeset, buffer));
    u64 platform = 0;
    say("platform parameters", hypercall(xen_version, XENVER_platform_parameters, &platform));
    printf("virt start: %lx\n", platform);
    for (u32 i = 0; i < 3; i++) {
        struct xen_feature_info features = { i, 0xffffffff };
        long result = hypercall(xen_version, XENVER_get_features, &features);
        printf("features %u: %ld, %x\n", i, result, features.submap);
    }
    say("pagesize", hypercall(xen_version, XENVER_pagesize, 0));
    say("guest handle", hypercall(xen_version, XENVER_guest_handle, buffer));
    say("commandline", hypercall(xen_version, XENVER_commandline, buffer));
    say("build id, no buffer", hypercall(xen_version, XENVER_build_id, 0));
    say("command 11", hypercall(xen_version, 11, 0));
    say("command 99", hypercall(xen_version, 99, 0));

    /* memory_op */
    u16 self = DOMID_SELF, foreign = 77, zero = 0;
    say("maximum_ram_page positive", hypercall(memory_op, XENMEM_maximum_ram_page, 0) > 0);
    say("current_reservation", hypercall(memory_op, XENMEM_current_reservation, &self));
    say("maximum_reservation at least that", hypercall(memory_op, XENMEM_maximum_reservation,
                                                       &self) >= (long)start_info->nr_pages);
    say("current_reservation of 77", hypercall(memory_op, XENMEM_current_reservation, &foreign));
    say("current_reservation of 0", hypercall(memory_op, XENMEM_current_reservation, &zero));
    say("current_reservation, bad pointer", hypercall(memory_op, XENMEM_current_reservation, 0x1000));
    struct xen_machphys_mapping mapping;
    say("machphys_mapping", hypercall(memory_op, XENMEM_machphys_mapping, &mapping));
    printf("m2p from %lx\n", mapping.v_start);
    struct { u32 max_extents; u64 *list; u32 nr_extents; } mfn_list = { 0, (u64 *)buffer, 9 };
    say("machphys_mfn_list", hypercall(memory_op, XENMEM_machphys_mfn_list, &mfn_list));
    static struct e820entry map[8];
    struct xen_memory_map memory_map = { 8, map };
    say("memory_map", hypercall(memory_op, XENMEM_memory_map, &memory_map));
    printf("entries: %u, type %u, from %lx\n", memory_map.nr_entries, map[0].type, map[0].addr);
    say("machine_memory_map", hypercall(memory_op, XENMEM_machine_memory_map, &memory_map));
    say("memory_op 63", hypercall(memory_op, 63, buffer));
    say("memory_op add_to_physmap", hypercall(memory_op, XENMEM_add_to_physmap, buffer));

    /* set_trap_table, callbacks, stacks */
    struct trap_info none[1] = { { 0, 0, 0, 0 } };
    say("trap table, non-canonical handler", hypercall(set_trap_table,
                                                       ((struct trap_info[]){ { 6, 0, FLAT_KERNEL_CS, 1ul << 63 },
            *none })));
    say("trap table, hypervisor handler", hypercall(set_trap_table,
                                                    ((struct trap_info[]){ { 7, 0, FLAT_KERNEL_CS, 0xffff800000000000 },
            *none })));
    say("trap table, bad pointer", hypercall(set_trap_table, 0x1000));
    struct callback_register callback = { 99, 0, VIRT_BASE };
    say("callback type 99", hypercall(callback_op, 0, &callback));
    callback = (struct callback_register){ CALLBACKTYPE_event, 0, 1ul << 63 };
    say("callback, non-canonical", hypercall(callback_op, 0, &callback));
    callback = (struct callback_register){ CALLBACKTYPE_sysenter_deprecated, 0, VIRT_BASE };
    say("callback, deprecated sysenter", hypercall(callback_op, 0, &callback));
    struct { u16 type, pad; } unregister = { CALLBACKTYPE_event, 0 };
    say("unregister event callback", hypercall(callback_op, 1, &unregister));
    unregister.type = CALLBACKTYPE_nmi;
    say("unregister nmi callback", hypercall(callback_op, 1, &unregister));
    say("callback_op 99", hypercall(callback_op, 99, &callback));
    say("stack_switch", hypercall(stack_switch, FLAT_KERNEL_SS, user_entry_stack));
    say("stack_switch, ss 0", hypercall(stack_switch, 0, user_entry_stack));
    say("stack_switch, ss beyond", hypercall(stack_switch, 0x1230, user_entry_stack));
    say("set_callbacks, non-canonical", hypercall(set_callbacks, 1ul << 63, 0, 0));
    say("set_segment_base fs", hypercall(set_segment_base, SEGBASE_FS, 0x1000));
    say("set_segment_base fs non-canonical", hypercall(set_segment_base, SEGBASE_FS, 1ul << 63));
    say("set_segment_base gs user", hypercall(set_segment_base, SEGBASE_GS_USER, 0x1000));
    say("set_segment_base gs kernel", hypercall(set_segment_base, SEGBASE_GS_KERNEL, 0));
    say("set_segment_base gs selector 0", hypercall(set_segment_base, SEGBASE_GS_USER_SEL, 0));
    say("set_segment_base gs selector beyond", hypercall(set_segment_base, SEGBASE_GS_USER_SEL, 0x1230));
    say("set_segment_base 4", hypercall(set_segment_base, 4, 0));
    for (int i = 0; i < 10; i++)
        printf("get_debugreg %d: %lx\n", i, hypercall(get_debugreg, i));
    say("set_debugreg 0", hypercall(set_debugreg, 0, 0x1000));
    say("set_debugreg 0, hypervisor address", hypercall(set_debugreg, 0, 0xffff800000000000));
    say("set_debugreg 4", hypercall(set_debugreg, 4, 0));
    say("set_debugreg 6", hypercall(set_debugreg, 6, 0));
    say("set_debugreg 7, exact bits", hypercall(set_debugreg, 7, 0x300));
    say("set_debugreg 7, general detect", hypercall(set_debugreg, 7, 0x2000));
    say("set_debugreg 7, io breakpoint", hypercall(set_debugreg, 7, 0x20001));
    say("set_debugreg 7, upper half", hypercall(set_debugreg, 7, 1ul << 32));
    say("set_debugreg 7", hypercall(set_debugreg, 7, 0));
    printf("dr7: %lx dr6: %lx\n", hypercall(get_debugreg, 7), hypercall(get_debugreg, 6));
    say("set_debugreg 8", hypercall(set_debugreg, 8, 0));

    /* vm_assist */
    for (u32 type = 0; type < 7; type++) {
        printf("vm_assist enable %u: %ld", type, hypercall(vm_assist, VMASST_CMD_enable, type));
        printf(", disable: %ld\n", hypercall(vm_assist, VMASST_CMD_disable, type));
    }
    say("vm_assist enable 32", hypercall(vm_assist, VMASST_CMD_enable, 32));
    say("vm_assist command 2", hypercall(vm_assist, 2, 2));

    /* console_io: an unprivileged domain has none in a release build */
    say("console write", hypercall(console_io, CONSOLEIO_write, 0, buffer));
    say("console read", hypercall(console_io, CONSOLEIO_read, 1, buffer));
    say("console 99", hypercall(console_io, 99, 1, buffer));

    /* multicall */
    struct multicall_entry calls[4] = {
        { __HYPERVISOR_xen_version, 77, { XENVER_version } }, { 55, 77, { 0 } },
        { __HYPERVISOR_multicall, 77, { (u64)buffer, 0 } }, { __HYPERVISOR_sched_op, 77, { SCHEDOP_yield } },
    };
    say("multicall", hypercall(multicall, calls, 4));
    for (int i = 0; i < 4; i++)
        printf("result %d: %ld\n", i, (long)calls[i].result);
    say("multicall of none", hypercall(multicall, calls, 0));
    say("multicall, bad pointer", hypercall(multicall, 0x1000, 1));
    say("multicall, hypervisor pointer", hypercall(multicall, 0xffff830000000000, 1));
    say("fpu_taskswitch 1", hypercall(fpu_taskswitch, 1));
    say("fpu_taskswitch 0", hypercall(fpu_taskswitch, 0));
    say("fpu_taskswitch 7", hypercall(fpu_taskswitch, 7));
    hypercall(fpu_taskswitch, 0);
}
