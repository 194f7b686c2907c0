/* What debug registers keep of what is written to them, by hypercall and by mov, with and without CR4.DE. */
#include "kit.h"

static u64 dr(int n) { return hypercall(get_debugreg, n); }

static u64 cr4(void)
{
    u64 value;
    attempt("mov %%cr4, %0", : "=r"(value) : : "memory");
    return value;
}

static void set_de(int on)
{
    u64 value = on ? cr4() | 8 : cr4() & ~8ul;
    attempt("mov %0, %%cr4", : : "r"(value) : "memory");
    printf("cr4.de %d: %s, now %lu\n", on, outcome(), cr4() >> 3 & 1);
}

static void control(u64 value)
{
    long result = hypercall(set_debugreg, 7, value);
    u64 kept = dr(7), seen = 0;
    hypercall(set_debugreg, 7, 0);
    attempt("mov %0, %%dr7", : : "r"(value) : "memory");
    printf("dr7 %lx: %ld, %lx; mov %s", value, result, kept, outcome());
    attempt("mov %%dr7, %0", : "=r"(seen) : "0"(0ul) : "memory");
    printf(", %lx\n", seen);
}

static void status(u64 value)
{
    u64 seen = 0;
    long result = hypercall(set_debugreg, 6, value);
    attempt("mov %%dr6, %0", : "=r"(seen) : "0"(0ul) : "memory");
    printf("dr6 %lx: %ld, %lx", value, result, seen);
    hypercall(set_debugreg, 6, 0xffff0ff0);
    attempt("mov %0, %%dr6", : : "r"(value) : "memory");
    printf("; mov %s, %lx\n", outcome(), dr(6));
}

static void controls(void)
{
    static const u64 values[] = {
        0, 0x400, 0xffffffff, 0xfffffffffffffffful, 0x100000000, 0x2000, 0xd800, 0x1000, 0x100, 0x300,
        0x00020002, 0x00020000, 0x000e0002, 0x00200008, 0x02000020, 0x20000080, 0x22220055, 0x22220000, 0x21220055,
            0x00010002,
        0x00080002, 0xffff00ff, 0xdddd03ff, 0x0000ffff, 0x00030400,
    };
    for (unsigned i = 0; i < sizeof(values) / sizeof(*values); i++)
        control(values[i]);
    hypercall(set_debugreg, 7, 0);
}

void main(void)
{
    static const u64 statuses[] = { 0, 0xffffffff, 0xffff0ff0, 0x1, 0xf, 0x2000, 0x4000, 0x8000, 0x10000, 0xe00f,
                                    0x1000, 0x100000000 };
    for (int n = 0; n < 8; n++)
        printf("dr%d %lx\n", n, dr(n));
    printf("dr8 %ld, set %ld\n", dr(8), hypercall(set_debugreg, 8, 0));
    controls();
    set_de(1);
    controls();
    for (int n = 4; n < 6; n++)
        printf("dr%d %ld, set %ld\n", n, dr(n), hypercall(set_debugreg, n, 0));

    /* one breakpoint on a port after another, and one that is refused leaves what there was */
    control(0x00020202);
    hypercall(set_debugreg, 7, 0x000e0202);
    printf("in use: %lx\n", dr(7));
    hypercall(set_debugreg, 7, 0x00e00208);
    printf("the next: %lx\n", dr(7));
    set_de(0);
    printf("without cr4.de: %lx\n", dr(7));
    printf("set again: %ld, ", hypercall(set_debugreg, 7, 0x000e0202));
    printf("%lx\n", dr(7));
    attempt("mov %0, %%dr7", : : "r"(0x000e0202ul) : "memory");
    printf("by mov: %s, %lx\n", outcome(), dr(7));
    hypercall(set_debugreg, 7, 0);

    for (unsigned i = 0; i < sizeof(statuses) / sizeof(*statuses); i++)
        status(statuses[i]);
    static const u64 addresses[] = { 0x1000, 0x7ffffffff000, 0x800000000000, 0xffff7ffffffff000, 0xffff800000000000,
                                     0xffff87fffffff000, 0xffff880000000000, ~0ul };
    for (unsigned i = 0; i < sizeof(addresses) / sizeof(*addresses); i++) {
        long result = hypercall(set_debugreg, 3, addresses[i]);
        printf("dr3 %lx: %ld, %lx; ", addresses[i], result, dr(3));
        attempt("mov %0, %%dr2", : : "r"(addresses[i]) : "memory");
        printf("mov %s, %lx\n", outcome(), dr(2));
    }
}
