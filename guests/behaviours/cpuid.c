/* CPUID, as it comes and through the hypervisor (ud2 "xen" cpuid): identity, and the features a PV guest must not
 * see. */
#include "kit.h"

static void forced(u32 leaf, u32 sub, u32 r[4])
{
    asm volatile("ud2; .ascii \"xen\"; cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "0"(leaf), "2"(sub));
}

void main(void)
{
    u32 r[5] = { 0 };
    forced(0x40000000, 0, r);
    printf("signature: %s, highest leaf %x\n", (char *)&r[1], r[0]);
    forced(0x40000001, 0, r);
    printf("version %x, %x %x %x\n", r[0], r[1], r[2], r[3]);
    forced(0x40000002, 0, r);
    printf("hypercall pages %u, msr %x, features %x\n", r[0], r[1], r[2]);
    forced(0x40000003, 0, r);
    printf("tsc mode %u\n", r[1]);
    forced(0x40000100, 0, r);
    printf("viridian leaf: %x\n", r[0]);
    forced(1, 0, r);
    static const struct { const char *name; u8 word, bit; } features[] = {
        { "fpu", 3, 0 }, { "vme", 3, 1 }, { "de", 3, 2 }, { "pse", 3, 3 }, { "tsc", 3, 4 }, { "msr", 3, 5 },
        { "pae", 3, 6 }, { "mce", 3, 7 },
        { "cx8", 3, 8 }, { "apic", 3, 9 }, { "sep", 3, 11 }, { "mtrr", 3, 12 }, { "pge", 3, 13 }, { "mca", 3, 14 },
        { "cmov", 3, 15 },
        { "pat", 3, 16 }, { "pse36", 3, 17 }, { "clflush", 3, 19 }, { "acpi", 3, 22 }, { "mmx", 3, 23 },
        { "fxsr", 3, 24 }, { "sse", 3, 25 },
        { "sse2", 3, 26 }, { "sse3", 2, 0 }, { "monitor", 2, 3 }, { "vmx", 2, 5 }, { "pcid", 2, 17 },
        { "x2apic", 2, 21 }, { "tsc deadline", 2, 24 },
        { "osxsave", 2, 27 }, { "hypervisor", 2, 31 },
    };
    for (unsigned i = 0; i < sizeof(features) / sizeof(*features); i++)
        printf("%s: %u\n", features[i].name, r[features[i].word] >> features[i].bit & 1);
    forced(7, 0, r);
    printf("fsgsbase %u, smep %u, invpcid %u, smap %u\n", r[1] & 1, r[1] >> 7 & 1, r[1] >> 10 & 1, r[1] >> 20 & 1);
    forced(0x80000001, 0, r);
    printf("syscall %u, nx %u, 1 GB pages %u, lm %u, svm %u, rdtscp %u\n", r[3] >> 11 & 1, r[3] >> 20 & 1,
           r[3] >> 26 & 1, r[3] >> 29 & 1,
           r[2] >> 2 & 1, r[3] >> 27 & 1);
    attempt("cpuid", : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "0"(0x40000000), "2"(0));
    printf("plain cpuid: %s\n", outcome());
    attempt("ud2; .ascii \"xen\"; nop", :);
    printf("prefix before another instruction: %s\n", outcome());
    attempt("ud2; .ascii \"XEN\"; cpuid", :);
    printf("another prefix: %s\n", outcome());
}
