/* RDFSBASE and its like, as CR4 allows them; the bases of kernel and user mode. */
#include "kit.h"

static u64 cr4(void)
{
    u64 value;
    attempt("mov %%cr4, %0", : "=r"(value) : : "memory");
    return value;
}

static void set_cr4(int on)
{
    attempt("mov %0, %%cr4", : : "r"(on ? cr4() | 1 << 16 : cr4() & ~(1ul << 16)) : "memory");
    printf("cr4.fsgsbase %d: %s, now %lu\n", on, outcome(), cr4() >> 16 & 1);
}

user_code(u_rd, "rdfsbase %rax; rdgsbase %rbx; ud2");
user_code(u_wr, "wrfsbase %rdi; wrgsbase %rsi; rdfsbase %rax; rdgsbase %rbx; ud2");
user_code(u_wr32, "wrfsbase %edi; wrgsbase %esi; rdfsbase %rax; rdgsbase %rbx; ud2");

static void kernel(void)
{
    u64 fs = 1, gs = 1;
    attempt("rdfsbase %0", : "+r"(fs) : : "memory");
    printf("rdfsbase %s", outcome());
    attempt("rdgsbase %0", : "+r"(gs) : : "memory");
    printf("; rdgsbase %s: %lx %lx", outcome(), fs, gs);
    attempt("wrfsbase %0", : : "r"(0x1000ul) : "memory");
    printf("; wrfsbase %s", outcome());
    attempt("wrgsbase %0", : : "r"(0x2000ul) : "memory");
    printf("; wrgsbase %s\n", outcome());
}

static u64 base(u32 msr)
{
    u32 low, high;
    attempt("rdmsr", : "=a"(low), "=d"(high) : "c"(msr), "0"(0), "1"(0) : "memory");
    return low | (u64)high << 32;
}

static void bases(const char *when)
{
    printf("%s: fs %lx, gs %lx, user's gs %lx\n", when, base(0xc0000100), base(0xc0000101), base(0xc0000102));
}

static void from_user(const char *name, const char *from, const char *end, u64 rdi, u64 rsi)
{
    struct frame f = user_frame();
    user_load(from, end - from);
    f.rdi = rdi;
    f.rsi = rsi;
    f.rax = f.rbx = 1;
    user_run(&f);
    printf("user %s %lx %lx: %s error=%lx rip+%ld, fs %lx gs %lx\n", name, rdi, rsi, trap_name(f.vector), f.error,
           f.rip - USER_CODE, f.rax, f.rbx);
    bases("then");
}
#define USER(name, of, rdi, rsi) from_user(name, of, of##_end, rdi, rsi)

void main(void)
{
    /* The oracle's QEMU takes what is not canonical; a processor does not, and conformance says so of ours. */
    static const u64 values[] = { 0, 0x7ffffffffffful, 0xffff800000000000ul, ~0ul };
    printf("cr4 at first: %lu\n", cr4() >> 16 & 1);
    user_start();
    kernel();
    USER("rd", u_rd, 0, 0);
    set_cr4(1);
    kernel();
    bases("kernel");
    for (unsigned i = 0; i < sizeof(values) / sizeof(*values); i++) {
        attempt("wrfsbase %0", : : "r"(values[i]) : "memory");
        printf("wrfsbase %lx: %s", values[i], outcome());
        attempt("wrgsbase %0", : : "r"(values[i]) : "memory");
        printf("; wrgsbase %s\n", outcome());
        bases("then");
    }
    attempt("wrgsbase %0", : : "r"(0x3000ul) : "memory");
    hypercall(set_segment_base, SEGBASE_GS_USER, 0x4000);
    hypercall(set_segment_base, SEGBASE_FS, 0x5000);
    bases("bases apart");
    USER("rd", u_rd, 0, 0);
    USER("wr", u_wr, 0x6000, 0x7000);
    USER("rd", u_rd, 0, 0);
    USER("wr", u_wr32, 0xffffffff87654321, 0xffffffff80000000);
    hypercall(set_segment_base, SEGBASE_GS_KERNEL, 0x8000);
    u64 gs = 0;
    attempt("rdgsbase %0", : "+r"(gs) : : "memory");
    printf("after set_segment_base: %lx\n", gs);
    attempt("mov %0, %%gs", : : "r"(0) : "memory");
    attempt("rdgsbase %0", : "+r"(gs) : : "memory");
    printf("after a null gs: %lx\n", gs);
    USER("rd", u_rd, 0, 0);
    set_cr4(0);
    kernel();
    USER("rd", u_rd, 0, 0);
}
