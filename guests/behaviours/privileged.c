/* Privileged instructions in a kernel that is not in charge: which are emulated, which are refused. */
#include "kit.h"

static u64 value;
#define test(name, instruction, ...) \
    do { attempt(instruction, ##__VA_ARGS__); printf("%s: %s\n", name, outcome()); } while (0)
#define read_u64(name, instruction) do { \
        value = 0; \
        attempt(instruction, : "=a"(value) : "0"(0ul)); \
        printf("%s: %s", name, outcome()); \
        if (caught.vector == VECTOR_NONE) printf(" = %lx", value); \
        printf("\n"); \
    } while (0)

static void rdmsr(const char *name, u32 msr, int show)
{
    u32 low = 0, high = 0;
    attempt("rdmsr", : "=a"(low), "=d"(high) : "c"(msr), "0"(0), "1"(0));
    printf("rdmsr %s: %s", name, outcome());
    if (show && caught.vector == VECTOR_NONE)
        printf(" = %x:%x", high, low);
    printf("\n");
}

static void wrmsr(const char *name, u32 msr, u64 what)
{
    attempt("wrmsr", : : "c"(msr), "a"((u32)what), "d"((u32)(what >> 32)));
    printf("wrmsr %s: %s\n", name, outcome());
}

void main(void)
{
    u64 cr0 = 0, cr4 = 0;
    attempt("mov %%cr0, %0", : "=r"(cr0));
    printf("mov from cr0: %s = %lx\n", outcome(), cr0);
    test("mov to cr0, same", "mov %0, %%cr0", : : "r"(cr0));
    test("mov to cr0, ts set", "mov %0, %%cr0", : : "r"(cr0 | 8));
    read_u64("mov from cr0 after", "mov %%cr0, %0");
    test("clts", "clts", :);
    read_u64("mov from cr0 after clts", "mov %%cr0, %0");
    test("mov to cr0, wp clear", "mov %0, %%cr0", : : "r"(cr0 & ~0x10000ul));
    test("mov to cr0, am flipped", "mov %0, %%cr0", : : "r"(cr0 ^ 0x40000ul));
    test("mov to cr0, cd set", "mov %0, %%cr0", : : "r"(cr0 | 0x40000000ul));
    read_u64("mov from cr0 at the end", "mov %%cr0, %0");
    read_u64("mov from cr1", ".byte 0x0f, 0x20, 0xc8");
    test("mov to cr2", "mov %0, %%cr2", : : "r"(0x1234ul));
    read_u64("mov from cr2", "mov %%cr2, %0");
    printf("vcpu_info cr2 after: %lx\n", vcpu_info->arch.cr2);
    u64 cr3 = 0;
    attempt("mov %%cr3, %0", : "=r"(cr3));
    printf("mov from cr3: %s, our L4: %d\n", outcome(), cr3 >> 12 == l4_mfn());
    test("mov to cr3, same", "mov %0, %%cr3", : : "r"(cr3));
    test("mov to cr3, a data frame", "mov %0, %%cr3", : : "r"(virt_to_mfn(page_alloc()) << 12));
    attempt("mov %%cr4, %0", : "=r"(cr4));
    printf("mov from cr4: %s, pae=%d osfxsr=%d osxmmexcpt=%d de=%d tsd=%d pge=%d\n", outcome(), !!(cr4 & 32),
           !!(cr4 & 512),
           !!(cr4 & 1024), !!(cr4 & 8), !!(cr4 & 4), !!(cr4 & 128));
    test("mov to cr4, same", "mov %0, %%cr4", : : "r"(cr4));
    test("mov to cr4, tsd", "mov %0, %%cr4", : : "r"(cr4 | 4));
    test("rdtsc with tsd", "rdtsc", : : : "eax", "edx");
    test("mov to cr4, de", "mov %0, %%cr4", : : "r"(cr4 | 8));
    test("mov to cr4, vmxe", "mov %0, %%cr4", : : "r"(cr4 | 0x2000));
    test("mov to cr4, pae clear", "mov %0, %%cr4", : : "r"(cr4 & ~32ul));
    test("mov to cr4, reserved bit 63", "mov %0, %%cr4", : : "r"(cr4 | 1ul << 63));
    test("mov to cr4, pcide", "mov %0, %%cr4", : : "r"(cr4 | 1ul << 17));
    test("mov to cr4, fsgsbase", "mov %0, %%cr4", : : "r"(cr4 | 1ul << 16));
    test("rdfsbase with fsgsbase", ".byte 0xf3, 0x48, 0x0f, 0xae, 0xc0", : : : "rax");
    test("mov to cr4, same again", "mov %0, %%cr4", : : "r"(cr4));
    u64 cr4_end = 0;
    attempt("mov %%cr4, %0", : "=r"(cr4_end));
    printf("cr4 at the end, changed: %lx\n", cr4 ^ cr4_end);
    read_u64("mov from cr8", "mov %%cr8, %0");
    test("lmsw", "lmsw %%ax", : : "a"((u32)cr0));
    attempt("smsw %0", : "=r"(value));
    printf("smsw: %s\n", outcome());
    test("sgdt", "sgdt %0", : "=m"(*(char (*)[10])page_alloc()));
    test("sidt", "sidt %0", : "=m"(*(char (*)[10])page_alloc()));
    test("lgdt", "lgdt %0", : : "m"(*(char (*)[10])page_alloc()));
    test("lidt", "lidt %0", : : "m"(*(char (*)[10])page_alloc()));
    test("lldt 0", "lldt %%ax", : : "a"(0));
    test("ltr 0", "ltr %%ax", : : "a"(0));
    test("str", "str %%ax", : : : "eax");

    test("cli", "cli", :);
    printf("event mask after cli: %d\n", vcpu_info->evtchn_upcall_mask);
    test("sti", "sti", :);
    printf("event mask after sti: %d\n", vcpu_info->evtchn_upcall_mask);
    vcpu_info->evtchn_upcall_mask = 1;
    attempt("pushf; pop %0", : "=r"(value));
    printf("pushf with events masked: IF=%lu IOPL=%lu\n", value >> 9 & 1, value >> 12 & 3);
    test("popf with IF clear", "pushf; andq $~0x200, (%%rsp); popf", :);
    attempt("pushf; pop %0", : "=r"(value));
    printf("pushf after: IF=%lu\n", value >> 9 & 1);
    test("popf with IOPL 3", "pushf; orq $0x3000, (%%rsp); popf", :);
    attempt("pushf; pop %0", : "=r"(value));
    printf("pushf after: IOPL=%lu\n", value >> 12 & 3);

    test("hlt", "hlt", :);
    test("wbinvd", "wbinvd", :);
    test("invd", "invd", :);
    test("invlpg", "invlpg (%0)", : : "r"(VIRT_BASE));
    test("swapgs", "swapgs", :);
    test("sysret", "sysretq", :);
    test("rdtsc", "rdtsc", : : : "eax", "edx");
    test("rdpmc", "rdpmc", : : "c"(0) : "eax", "edx");
    test("monitor", "monitor", : : "a"(VIRT_BASE), "c"(0), "d"(0));
    test("mwait", "mwait", : : "a"(0), "c"(0));
    test("vmcall", "vmcall", :);
    test("vmmcall", "vmmcall", :);
    test("xsetbv", "xsetbv", : : "a"(3), "d"(0), "c"(0));
    test("rdfsbase", ".byte 0xf3, 0x48, 0x0f, 0xae, 0xc0", : : : "rax");

    test("in al, dx (0x60)", "inb %%dx, %%al", : : "d"(0x60) : "eax");
    test("in al, imm (0x80)", "inb $0x80, %%al", : : : "eax");
    attempt("inb %%dx, %%al", : "=a"(value) : "d"(0x64), "0"(0ul));
    printf("in al, dx (0x64): %s = %lx\n", outcome(), value);
    attempt("inl %%dx, %%eax", : "=a"(value) : "d"(0xcf8), "0"(0ul));
    printf("in eax, dx (0xcf8): %s = %lx\n", outcome(), value);
    test("out 0x80", "outb %%al, $0x80", : : "a"(0));
    test("out 0x20", "outb %%al, %%dx", : : "a"(0), "d"(0x20));
    test("out 0xcf8", "outl %%eax, %%dx", : : "a"(0x80000000), "d"(0xcf8));
    test("insb", "insb", : : "d"(0x60), "D"(page_alloc()) : "memory");
    test("outsb", "outsb", : : "d"(0x80), "S"(page_alloc()) : "memory");
    struct { u32 iopl; } set_iopl = { 1 };
    printf("physdev set_iopl(1): %ld\n", hypercall(physdev_op, 6, &set_iopl));
    attempt("inb %%dx, %%al", : "=a"(value) : "d"(0x60), "0"(0ul));
    printf("inb with iopl 1: %s = %lx\n", outcome(), value);
    attempt("inw %%dx, %%ax", : "=a"(value) : "d"(0x60), "0"(0ul));
    printf("inw with iopl 1: %s = %lx\n", outcome(), value);
    attempt("inl %%dx, %%eax", : "=a"(value) : "d"(0xcf8), "0"(0ul));
    printf("inl 0xcf8 with iopl 1: %s = %lx\n", outcome(), value);
    test("outb with iopl 1", "outb %%al, %%dx", : : "a"(0), "d"(0x20));
    test("outl 0xcf8 with iopl 1", "outl %%eax, %%dx", : : "a"(0x80000000), "d"(0xcf8));
    attempt("inl %%dx, %%eax", : "=a"(value) : "d"(0xcf8), "0"(0ul));
    printf("inl 0xcf8 after: %s = %lx\n", outcome(), value);
    attempt("inl %%dx, %%eax", : "=a"(value) : "d"(0xcfc), "0"(0ul));
    printf("inl 0xcfc: %s = %lx\n", outcome(), value);
    test("inb imm with iopl 1", "inb $0x60, %%al", : : : "eax");
    test("insb with iopl 1", "insb", : : "d"(0x60), "D"(page_alloc()) : "memory");
    test("rep insb with iopl 1", "rep insb", : : "d"(0x60), "D"(page_alloc()), "c"(3) : "memory");
    test("outsb with iopl 1", "outsb", : : "d"(0x20), "S"(page_alloc()) : "memory");
    test("cli with iopl 1", "cli", :);
    set_iopl.iopl = 3;
    printf("physdev set_iopl(3): %ld\n", hypercall(physdev_op, 6, &set_iopl));
    test("in with iopl 3", "inb %%dx, %%al", : : "d"(0x60) : "eax");
    test("cli with iopl 3", "cli", :);
    printf("event mask after: %d\n", vcpu_info->evtchn_upcall_mask);
    test("sti with iopl 3", "sti", :);
    printf("event mask after: %d\n", vcpu_info->evtchn_upcall_mask);
    events_off();
    attempt("pushf; pop %0", : "=r"(value));
    printf("pushf: IOPL=%lu\n", value >> 12 & 3);
    set_iopl.iopl = 4;
    printf("physdev set_iopl(4): %ld\n", hypercall(physdev_op, 6, &set_iopl));
    set_iopl.iopl = 0;
    printf("physdev set_iopl(0): %ld\n", hypercall(physdev_op, 6, &set_iopl));

    rdmsr("TSC", 0x10, 0);
    rdmsr("PLATFORM_ID", 0x17, 1);
    rdmsr("APIC_BASE", 0x1b, 0);
    rdmsr("FEATURE_CONTROL", 0x3a, 1);
    rdmsr("SPEC_CTRL", 0x48, 1);
    rdmsr("UCODE_REV", 0x8b, 0);
    rdmsr("SMM_MONITOR", 0x9b, 1);
    rdmsr("MTRRcap", 0xfe, 1);
    rdmsr("ARCH_CAPABILITIES", 0x10a, 0);
    rdmsr("SYSENTER_CS", 0x174, 1);
    rdmsr("MCG_CAP", 0x179, 1);
    rdmsr("MISC_ENABLE", 0x1a0, 0);
    rdmsr("DEBUGCTL", 0x1d9, 1);
    rdmsr("PAT", 0x277, 1);
    rdmsr("PERF_CAPABILITIES", 0x345, 1);
    rdmsr("X2APIC_ID", 0x802, 1);
    rdmsr("XSS", 0xda0, 1);
    rdmsr("VIRT_SPEC_CTRL", 0xc001011f, 1);
    rdmsr("PSF/LS_CFG", 0xc0011020, 0);
    rdmsr("RAPL", 0x606, 1);
    rdmsr("MISC_FEATURES", 0x140, 1);
    rdmsr("PLATFORM_INFO", 0xce, 0);
    rdmsr("EFER", 0xc0000080, 1);
    rdmsr("STAR", 0xc0000081, 1);
    rdmsr("LSTAR", 0xc0000082, 1);
    rdmsr("CSTAR", 0xc0000083, 1);
    rdmsr("SFMASK", 0xc0000084, 1);
    rdmsr("FS_BASE", 0xc0000100, 1);
    rdmsr("GS_BASE", 0xc0000101, 1);
    rdmsr("KERNEL_GS_BASE", 0xc0000102, 1);
    rdmsr("TSC_AUX", 0xc0000103, 1);
    rdmsr("K8_SYSCFG", 0xc0010010, 0);
    rdmsr("K8_HWCR", 0xc0010015, 1);
    rdmsr("AMD64_DE_CFG", 0xc0011029, 0);
    rdmsr("none", 0x12345678, 1);
    rdmsr("Xen 0x40000000", 0x40000000, 1);
    wrmsr("EFER same (d01)", 0xc0000080, 0xd01);
    wrmsr("EFER 0", 0xc0000080, 0);
    wrmsr("FS_BASE", 0xc0000100, 0x1234000);
    rdmsr("FS_BASE", 0xc0000100, 1);
    wrmsr("FS_BASE non-canonical", 0xc0000100, 1ul << 63);
    wrmsr("FS_BASE 0", 0xc0000100, 0);
    wrmsr("GS_BASE", 0xc0000101, 0x5678000);
    rdmsr("GS_BASE", 0xc0000101, 1);
    wrmsr("GS_BASE 0", 0xc0000101, 0);
    wrmsr("KERNEL_GS_BASE", 0xc0000102, 0x9abc000);
    rdmsr("KERNEL_GS_BASE", 0xc0000102, 1);
    wrmsr("LSTAR", 0xc0000082, 0x1234);
    wrmsr("STAR", 0xc0000081, 0);
    wrmsr("SYSENTER_CS", 0x174, 0);
    wrmsr("PAT", 0x277, 0x0007040600070406);
    wrmsr("PAT Xen's", 0x277, 0x050100070406);
    wrmsr("APIC_BASE", 0x1b, 0);
    wrmsr("MISC_ENABLE", 0x1a0, 0);
    wrmsr("UCODE_REV", 0x8b, 0);
    wrmsr("TSC", 0x10, 0);
    wrmsr("MCG_STATUS", 0x17a, 0);
    wrmsr("DEBUGCTL 0", 0x1d9, 0);
    wrmsr("TSC_AUX", 0xc0000103, 1);
    wrmsr("SPEC_CTRL", 0x48, 0);
    wrmsr("PRED_CMD", 0x49, 1);
    wrmsr("none", 0x12345678, 0);
    wrmsr("Xen hypercall page", 0x40000000, virt_to_mfn(page_alloc()) << 12);
}
