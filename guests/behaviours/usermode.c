/* Into user mode by iret, and back by syscall, trap and fault: what the frames say, what iret lets through. */
#include "kit.h"

static void show(const char *name, const struct frame *f)
{
    printf("%s: %s error=%lx rip=%lx cs=%lx ss=%lx rsp=%lx rflags=%lx rax=%lx rcx=%lx r11=%lx", name,
           trap_name(f->vector),
           f->error, f->rip, f->cs, f->ss, f->rsp, f->rflags & ~0x8d5ul, f->rax, f->rcx, f->r11);
    if (f->vector == 14)
        printf(" cr2=%lx", caught_cr2);
    printf("\n");
}

static struct frame begin(const char *code, const char *end)
{
    user_load(code, end - code);
    struct frame f = user_frame();
    f.rax = 0x11;
    f.rcx = 0x22;
    f.r11 = 0x33;
    return f;
}
#define BEGIN(code) begin(code, code##_end)

user_code(u_syscall, "syscall");
user_code(u_ud2, "ud2");
user_code(u_kernel_read, "mov 0xffffffff80100000, %eax");
user_code(u_write_absent, "mov %eax, 0x1000");
user_code(u_jump_absent, "mov $0x1000, %eax; jmp *%rax");
user_code(u_hlt, "hlt");
user_code(u_cli, "cli");
user_code(u_in, "in $0x60, %al");
user_code(u_rdmsr, "rdmsr");
user_code(u_cr0, "mov %cr0, %rax");
user_code(u_wbinvd, "wbinvd");
user_code(u_rdtsc, "rdtsc; ud2");
user_code(u_cpuid, "cpuid; ud2");
user_code(u_pushf, "pushf; pop %rax; ud2");
user_code(u_popf, "pushf; orq $0x3200, (%rsp); popf; pushf; pop %rax; ud2");
user_code(u_segments, "mov %cs, %eax; shl $16, %eax; mov %ss, %ax; ud2");
user_code(u_ds, "mov %ds, %eax; shl $16, %eax; mov %fs, %ax; ud2");
user_code(u_compat, ".code32; int $0x80; .code64");
user_code(u_compat_syscall, ".code32; syscall; .code64");
user_code(u_compat_cs, ".code32; mov %cs, %eax; ud2; .code64");
user_code(u_ac, "pushf; orq $0x40000, (%rsp); popf; mov 1(%rsp), %eax; ud2");
user_code(u_step, "nop; nop; ud2");
user_code(u_popf_step, "pushf; orq $0x100, (%rsp); popf; nop; nop; ud2");
user_code(u_nt, "pushf; orq $0x4000, (%rsp); popf; syscall");

static void one(const char *name, struct frame f)
{
    user_run(&f);
    show(name, &f);
    iret_flags = 0;
}

void main(void)
{
    struct frame f;
    user_start();
    events_on();
    one("syscall", BEGIN(u_syscall));
    printf("event mask after syscall: %d\n", vcpu_info->evtchn_upcall_mask);
    one("ud2", BEGIN(u_ud2));
    one("kernel memory read", BEGIN(u_kernel_read));
    one("absent write", BEGIN(u_write_absent));
    one("absent jump", BEGIN(u_jump_absent));
    one("hlt", BEGIN(u_hlt));
    one("cli", BEGIN(u_cli));
    one("in", BEGIN(u_in));
    one("rdmsr", BEGIN(u_rdmsr));
    one("mov from cr0", BEGIN(u_cr0));
    one("wbinvd", BEGIN(u_wbinvd));
    f = BEGIN(u_rdtsc);
    user_run(&f);
    printf("rdtsc: %s rip+%ld\n", trap_name(f.vector), f.rip - USER_CODE);
    f = BEGIN(u_cpuid);
    f.rax = 0x40000000;
    user_run(&f);
    printf("cpuid: %s rip+%ld\n", trap_name(f.vector), f.rip - USER_CODE);
    one("pushf", BEGIN(u_pushf));
    one("popf IF and IOPL", BEGIN(u_popf));
    one("segments", BEGIN(u_segments));
    one("data segments", BEGIN(u_ds));

    /* what iret makes of flags */
    static const u64 flags[] = { 0, 2, 0x202, 0x1202, 0x3202, 0x4202, 0x10202, 0x20202, 0x40202, 0x80202, 0x100202,
                                 0x200202, 0x400202 };
    for (unsigned i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
        f = BEGIN(u_ud2);
        f.rflags = flags[i];
        user_run(&f);
        printf("iret with rflags %lx: %s rip+%ld rflags=%lx mask=%d\n", flags[i], trap_name(f.vector),
               f.rip - USER_CODE, f.rflags & ~0x8d5ul,
               vcpu_info->evtchn_upcall_mask);
    }
    f = BEGIN(u_step);
    f.rflags |= 0x100;
    one("iret with TF", f);
    one("popf TF", BEGIN(u_popf_step));
    one("NT in user, then syscall", BEGIN(u_nt));
    one("alignment check", BEGIN(u_ac));

    f = BEGIN(u_ud2);
    iret_flags = VGCF_in_syscall;
    one("iret with in_syscall", f);
    f = BEGIN(u_segments);
    f.cs = 0x33, f.ss = 0x2b;
    iret_flags = VGCF_in_syscall;
    one("in_syscall with other selectors", f);
    f = BEGIN(u_segments);
    f.ss = 3;
    one("iret with ss 3", f);
    f = BEGIN(u_segments);
    f.ss = 0;
    one("iret with ss 0", f);

    f = BEGIN(u_compat);
    f.cs = FLAT_USER_CS32;
    one("compat int $0x80", f);
    f = BEGIN(u_compat_syscall);
    f.cs = FLAT_USER_CS32;
    one("compat syscall", f);
    f = BEGIN(u_compat_cs);
    f.cs = FLAT_USER_CS32;
    one("compat segments", f);

    /* bad frames: failsafe or #GP in the kernel */
    static const struct { const char *name; u64 rip, cs, ss; } bad[] = {
        { "cs null", USER_CODE, 3, FLAT_USER_SS }, { "cs beyond GDT", USER_CODE, 0x1233, FLAT_USER_SS },
        { "cs is data", USER_CODE, FLAT_USER_SS, FLAT_USER_SS },
        { "ss is code", USER_CODE, FLAT_USER_CS, FLAT_USER_CS },
        { "ss beyond GDT", USER_CODE, FLAT_USER_CS, 0x1233 },
        { "rip non-canonical", 1ul << 63, FLAT_USER_CS, FLAT_USER_SS },
        { "rip in the kernel", VIRT_BASE + 0x100000, FLAT_USER_CS, FLAT_USER_SS },
    };
    for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        f = BEGIN(u_ud2);
        f.rip = bad[i].rip;
        f.cs = bad[i].cs;
        f.ss = bad[i].ss;
        user_run(&f);
        printf("iret to %s: %s error=%lx rip=%lx cs=%lx ss=%lx", bad[i].name, trap_name(f.vector), f.error, f.rip, f.cs,
               f.ss);
        if (f.vector == VECTOR_FAILSAFE)
            printf(" ds=%lx es=%lx fs=%lx gs=%lx", failsafe_selectors[0], failsafe_selectors[1], failsafe_selectors[2],
                   failsafe_selectors[3]);
        printf("\n");
    }
}
