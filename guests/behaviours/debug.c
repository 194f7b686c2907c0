/* Debug registers and single steps, in kernel and in user mode. */
#include "kit.h"

volatile u64 watched;
static u64 steps;
static u64 trail[16];

static int step_hook(struct frame *f)
{
    if (f->vector == 1) {
        if (steps < 16)
            trail[steps] = f->rip;
        steps++;
        return 1;
    }
    return 0;
}

user_code(u_loop, "mov $5, %ecx; 1: nop; dec %ecx; jnz 1b; syscall; nop; ud2");
user_code(u_watch, "mov %rax, 0x600010; nop; mov 0x600010, %rbx; ud2");
user_code(u_rep, "mov $0x600000, %edi; mov $4, %ecx; rep stosb; syscall");

static u64 dr(int n) { return hypercall(get_debugreg, n); }

void main(void)
{
    printf("dr6 %lx dr7 %lx\n", dr(6), dr(7));
    /* single step in the kernel */
    trap_hook = step_hook;
    asm volatile("pushf; orq $0x100, (%%rsp); popf; nop; nop; pushf; andq $~0x100, (%%rsp); popf; nop" : : : "memory");
    printf("kernel steps: %lu, spacing %ld %ld %ld\n", steps, trail[1] - trail[0], trail[2] - trail[1],
           trail[3] - trail[2]);
    printf("dr6 BS: %lu\n", dr(6) >> 14 & 1);
    hypercall(set_debugreg, 6, 0xffff0ff0);

    /* a breakpoint on execution, and one on writing */
    steps = 0;
    extern char break_here[];
    printf("set dr0: %ld, dr7: %ld\n", hypercall(set_debugreg, 0, break_here), hypercall(set_debugreg, 7, 0x2));
    printf("dr0 right: %d, dr7 %lx\n", dr(0) == (u64)break_here, dr(7));
    trap_hook = NULL;
    attempt("nop; .globl break_here; break_here: nop; nop", :);
    printf("execution breakpoint: %s, dr6 %lx\n", outcome(), dr(6) & 0xf00f);
    hypercall(set_debugreg, 7, 0);
    hypercall(set_debugreg, 6, 0xffff0ff0);
    hypercall(set_debugreg, 1, &watched);
    /* G1, RW1 = write, LEN1 = 8 (10b) */
    printf("dr7 for a write watch: %ld\n", hypercall(set_debugreg, 7, 0x8 | 0x900000));
    attempt("movq $1, watched(%%rip); nop", : : : "memory");
    printf("write watch: %s, dr6 %lx\n", trap_name(caught.vector), dr(6) & 0xf00f);
    attempt("movq watched(%%rip), %%rax; nop", : : : "rax");
    printf("read of it: %s\n", trap_name(caught.vector));
    hypercall(set_debugreg, 7, 0);
    hypercall(set_debugreg, 6, 0xffff0ff0);
    attempt("mov %%dr7, %%rax", : : : "rax");
    printf("mov from dr7: %s\n", outcome());
    attempt("mov %0, %%dr6", : : "r"(0xffff0ff0ul));
    printf("mov to dr6: %s\n", outcome());
    attempt("mov %0, %%dr0", : : "r"(0x1000ul));
    printf("mov to dr0: %s, now %lx\n", outcome(), dr(0));
    attempt("mov %0, %%dr0", : : "r"(0xffff800000000000ul));
    printf("mov of a hypervisor address to dr0: %s\n", outcome());
    attempt("mov %0, %%dr7", : : "r"(0x400ul));
    printf("mov to dr7: %s\n", outcome());
    attempt("mov %%dr4, %%rax", : : : "rax");
    printf("mov from dr4: %s\n", outcome());

    /* single step through user code */
    user_start();
    struct frame f = user_frame();
    user_load(u_loop, u_loop_end - u_loop);
    f.rflags |= 0x100;
    for (steps = 0; steps < 40; steps++) {
        user_run(&f);
        if (f.vector != 1)
            break;
    }
    printf("user steps: %lu, then %s at +%ld, rflags.TF %lu\n", steps, trap_name(f.vector), f.rip - USER_CODE,
           f.rflags >> 8 & 1);
    f.rflags |= 0x100;
    user_run(&f);
    printf("step after the syscall: %s at +%ld\n", trap_name(f.vector), f.rip - USER_CODE);
    f = user_frame();
    user_load(u_rep, u_rep_end - u_rep);
    f.rflags |= 0x100;
    for (steps = 0; steps < 40; steps++) {
        user_run(&f);
        if (f.vector != 1)
            break;
    }
    printf("steps through rep stosb: %lu\n", steps);
    hypercall(set_debugreg, 6, 0xffff0ff0);
    hypercall(set_debugreg, 1, 0x600010);
    hypercall(set_debugreg, 7, 0x8 | 0x900000);
    f = user_frame();
    user_load(u_watch, u_watch_end - u_watch);
    user_run(&f);
    printf("user write watch: %s at +%ld, dr6 %lx\n", trap_name(f.vector), f.rip - USER_CODE, dr(6) & 0xf00f);
    hypercall(set_debugreg, 7, 0);
}
