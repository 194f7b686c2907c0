/* Selectors that a guest loads itself, from kernel and from user mode: segment registers, far jumps, iret; all as ring
 * 3. */
#include "kit.h"

static const struct { const char *name; u64 descriptor; } table[] = {
    { "null", 0 },
    { "data", 0x00cff3000000ffff },
    { "data, absent", 0x00cf73000000ffff },
    { "data, absent, level 0", 0x00cf13000000ffff },
    { "data, read-only", 0x00cff1000000ffff },
    { "data, expand down", 0x00cff7000000ffff },
    { "data, 16 bits", 0x008ff3000000ffff },
    { "code 64", 0x00affb000000ffff },
    { "code 64, absent", 0x00af7b000000ffff },
    { "code 64, absent, level 0", 0x00af1b000000ffff },
    { "code 64, conforming", 0x00afff000000ffff },
    { "code 64, execute only", 0x00aff9000000ffff },
    { "code 32", 0x00cffb000000ffff },
    { "code 32, short", 0x0040fb0000000fff },
    { "code with L and D", 0x00effb000000ffff },
    { "call gate", 0x0000ec000033ffff },
    { "its second half", 0 },
    { "absent gate", 0x00006c000033ffff },
};
enum { NR = sizeof(table) / sizeof(*table), DATA = 1 << 3 | 3, CODE = 7 << 3 | 3, CODE32 = 12 << 3 | 3 };

u64 gone_to;            /* the code segment after a far jump */

/* Far jumps: rsp is put back; where nothing is raised the target is the next instruction. */
#define far_attempt(before, instruction, ...) do { \
        caught.vector = VECTOR_NONE; \
        asm volatile("movq $76f, attempt_at\n\tmovq $77f, attempt_next\n\tmov %%rsp, %%r12\n\t" before "\n76:\t" instruction \
                     "\n77:\tmov %%r12, %%rsp\n\tmov %%cs, gone_to\n\tmovq $0, attempt_next\n\t" \
                     "pushq $0xe033\n\tpushq $78f\n\tlretq\n78:" \
                     : : __VA_ARGS__ : "r12", "rax", "memory"); \
    } while (0)

static u16 read_ss(void)
{
    u16 ss;
    asm volatile("mov %%ss, %0" : "=r"(ss));
    return ss;
}

static u16 read_cs(void)
{
    u16 cs;
    asm volatile("mov %%cs, %0" : "=r"(cs));
    return cs;
}

static void flat_cs(void) { asm volatile("pushq $0xe033; pushq $1f; lretq; 1:" : : : "memory"); }
static void flat_ss(void) { asm volatile("mov %0, %%ss" : : "r"(FLAT_KERNEL_SS)); }

static const char *cs_now(void)
{
    static char text[8];
    u16 cs = gone_to;
    for (int i = 0; i < 4; i++)
        text[i] = "0123456789abcdef"[cs >> (12 - 4 * i) & 15];
    return text;
}

static void loads(const char *name, u32 selector)
{
    u16 seen;
    struct { u32 offset; u16 selector; } pointer = { 1, selector };
    attempt("mov %0, %%ss", : : "r"(selector) : "memory");
    seen = read_ss();
    flat_ss();
    printf("%s, %x: mov ss %s -> %x", name, selector, outcome(), seen);
    attempt("mov %0, %%ds", : : "r"(selector) : "memory");
    asm volatile("mov %%ds, %0" : "=r"(seen));
    printf("; mov ds %s -> %x", outcome(), seen);
    asm volatile("mov %0, %%ds" : : "r"(0));
    attempt("mov %0, %%gs", : : "r"(selector) : "memory");
    asm volatile("mov %%gs, %0" : "=r"(seen));
    printf("; mov gs %s -> %x\n", outcome(), seen);
    asm volatile("mov %0, %%gs" : : "r"(0));
    attempt("lss (%0), %%ecx", : : "r"(&pointer) : "rcx", "memory");
    seen = read_ss();
    flat_ss();
    printf("  lss %s -> %x", outcome(), seen);
    attempt("lfs (%0), %%ecx", : : "r"(&pointer) : "rcx", "memory");
    printf("; lfs %s", outcome());
    far_attempt("push %0", "pop %%fs", "r"((u64)selector));
    printf("; pop fs %s", outcome());
    asm volatile("mov %0, %%fs" : : "r"(0));
    u64 flags = 0;
    asm volatile("lar %1, %0; jz 1f; mov $0, %0; 1:" : "+r"(flags) : "r"((u64)selector));
    printf("; lar %lx", flags);
    flags = 0;
    asm volatile("lsl %1, %0; jz 1f; mov $0, %0; 1:" : "+r"(flags) : "r"((u64)selector));
    u8 readable, writable;
    asm volatile("verr %w2; setz %0; verw %w2; setz %1" : "=&r"(readable), "=&r"(writable) : "r"(selector));
    printf(" lsl %lx verr %d verw %d\n", flags, readable, writable);
}

static void jumps(const char *name, u32 selector)
{
    struct { u64 at; u16 cs; } pointer = { 0, selector };
    far_attempt("push %0; pushq $77f", "lretq", "r"((u64)selector));
    printf("%s, %x: lret %s -> %s", name, selector, outcome(), cs_now());
    far_attempt("movq $77f, (%0)", "rex.w ljmp *(%0)", "r"(&pointer));
    printf("; ljmp %s -> %s", outcome(), cs_now());
    far_attempt("movq $77f, (%0)", "rex.w lcall *(%0)", "r"(&pointer));
    printf("; lcall %s -> %s", outcome(), cs_now());
    far_attempt("pushq $0xe02b; push %%r12; pushf; push %0; pushq $77f", "iretq", "r"((u64)selector));
    printf("; iret %s -> %s\n", outcome(), cs_now());
    far_attempt("push %0; push %%r12; pushf; pushq $0xe033; pushq $77f", "iretq", "r"((u64)selector));
    u16 seen = read_ss();
    flat_ss();
    printf("  iret with it as ss %s -> %x\n", outcome(), seen);
}

/* Kernel code below 4 GB: into a compatibility segment and back. */
asm(".pushsection .rodata\n"
    "compat:\n.code32\nmov $0x600800, %esp\nmov %cs, 0x600010\nmov %ss, 0x600014\nlcall *0x600040\nmov %ax, 0x600018\n"
    "pushf\npush $0x63\npush $0x400040\niret\n"
    ".org compat + 0x40\nmovl $0x77, 0x60001c\nljmp $0xe033, $0x400080\n"
    ".org compat + 0x80\n.code64\nmov %cs, 0x600020\njmp *0x600000\n"
    ".org compat + 0xc0\n.code32\nmov %cs, %ax\nlret\n.code64\n"
    ".org compat + 0x100\ncompat_end:\n.popsection");
extern const char compat[], compat_end[];

static void compatibility(u32 selector, u32 inner)
{
    volatile u32 *data = (u32 *)USER_DATA;
    asm volatile("mov %0, %%ds" : : "r"(FLAT_KERNEL_SS));
    for (int i = 4; i < 9; i++)
        data[i] = 0;
    data[16] = USER_CODE + 0xc0;
    data[17] = inner;
    far_attempt("movq $77f, 0x600000; push %0; pushq $0x400000", "lretq", "r"((u64)selector));
    printf("compatibility %x: %s, cs %x, ss %x, called %x, iret %x, back in %x\n", selector, outcome(), data[4],
           data[5], data[6], data[7], data[8]);
    asm volatile("mov %0, %%ds" : : "r"(0));
    flat_ss();
}

user_code(u_ss, "mov %edi, %ss; mov %ss, %eax; ud2");
user_code(u_ds, "mov %edi, %ds; mov %ds, %eax; ud2");
user_code(u_lret, "push %rdi; pushq $0x400009; lretq; nop; nop; ud2");
user_code(u_lcall, "mov $0x400010, %eax; mov %eax, 0x600000; mov %di, 0x600004; lcall *0x600000; ud2");
user_code(u_iret, "push $0xe02b; push %rsp; pushf; push %rdi; push %rsi; iretq");
user_code(u_lcall_stack,
          "mov $0x400010, %eax; mov %eax, 0x600000; mov %di, 0x600004; mov %rsi, %rsp; lcall *0x600000; ud2");

static void from_user(const char *name, const char *from, const char *end, u64 rdi, u64 rsi)
{
    struct frame f = user_frame();
    user_load(from, end - from);
    f.rdi = rdi;
    f.rsi = rsi;
    user_run(&f);
    printf("user %s %lx: %s error=%lx rip=%lx cs=%lx ss=%lx\n", name, rdi, trap_name(f.vector), f.error, f.rip, f.cs,
           f.ss);
}
#define USER(name, of, rdi, rsi) from_user(name, of, of##_end, rdi, rsi)

void main(void)
{
    u64 *gdt = page_alloc(), frame = virt_to_mfn(gdt);
    for (unsigned i = 0; i < NR; i++)
        gdt[i] = table[i].descriptor;
    page_readonly(gdt);
    printf("set_gdt: %ld\n", hypercall(set_gdt, &frame, 512));
    user_start();

    for (unsigned i = 0; i < NR; i++) {
        loads(table[i].name, i << 3 | 3);
        if (i < 12 || i > 14)   /* 32-bit segments below; the oracle's QEMU knows no other mistakes in one */
            jumps(table[i].name, i << 3 | 3);
    }
    static const struct { const char *name; u32 selector; } others[] = {
        { "level 0", DATA & ~3 }, { "level 1", (DATA & ~3) | 1 }, { "in an LDT that is not there", DATA | 4 },
        { "null, level 0", 0 },
        { "past the end", 0xfff8 | 3 }, { "flat data", 0xe02b }, { "flat data, level 0", 0xe028 },
        { "flat code", 0xe033 }, { "flat code, level 0", 0xe030 },
        { "code, level 0", CODE & ~3 }, { "code, level 1", (CODE & ~3) | 1 },
    };
    for (unsigned i = 0; i < sizeof(others) / sizeof(*others); i++) {
        loads(others[i].name, others[i].selector);
        if (others[i].selector != 0xfff8 + 3)
            jumps(others[i].name, others[i].selector);
    }
    far_attempt("pushf; orq $0x4000, (%%rsp); popf", "iretq", "r"(0));
    printf("iret with NT: %s\n", outcome());
    asm volatile("pushf; andq $~0x4000, (%%rsp); popf" : : : "memory");

    /* a trap in a segment of its own, and back */
    asm volatile("push %0; pushq $1f; lretq; 1:" : : "r"((u64)CODE) : "memory");
    asm volatile("mov %0, %%ss" : : "r"(DATA));
    attempt("ud2", : : : "memory");
    u16 cs = read_cs(), ss = read_ss();
    flat_cs();
    flat_ss();
    printf("a trap there: %s, frame %lx %lx, then cs %x ss %x\n", outcome(), caught.cs, caught.ss, cs, ss);

    asm volatile("push %0; pushq $1f; lretq; 1: mov %1, %%ss" : : "r"((u64)CODE), "r"(DATA) : "memory");
    hypercall(xen_version, 0, 0);
    cs = read_cs(), ss = read_ss();
    flat_cs();
    flat_ss();
    printf("after a hypercall there: cs %x ss %x\n", cs, ss);

    user_load(compat, compat_end - compat);
    compatibility(CODE32, CODE32);
    compatibility(0xe023, 0xe023);
    compatibility(CODE32, 0xe023);

    USER("mov ss", u_ss, DATA, 0);
    USER("mov ss", u_ss, 0, 0);
    USER("mov ss", u_ss, DATA + 8, 0);
    USER("mov ss", u_ss, CODE, 0);
    USER("mov ss", u_ss, DATA & ~3, 0);
    USER("mov ds", u_ds, DATA, 0);
    USER("mov ds", u_ds, DATA + 8, 0);
    USER("mov ds", u_ds, 0x1000, 0);
    USER("lret", u_lret, CODE, 0);
    USER("lret", u_lret, CODE32, 0);
    USER("lret", u_lret, CODE & ~3, 0);
    USER("lret", u_lret, CODE + 8, 0);
    USER("lret", u_lret, DATA, 0);
    USER("lcall", u_lcall, CODE, 0);
    USER("lcall", u_lcall, CODE32, 0);
    USER("lcall", u_lcall, 0, 0);
    USER("lcall", u_lcall, 15 << 3 | 3, 0);
    USER("iret", u_iret, CODE, USER_CODE + 16);
    USER("iret", u_iret, CODE & ~3, USER_CODE + 16);
    USER("lcall with the kernel's stack", u_lcall_stack, CODE, VIRT_BASE + 0x100000);
}
