/* The trap table, what an unexpected trap says before it ends the guest, and `attempt`. */
#include "kit.h"

struct frame caught;
u64 caught_cr2, attempt_at, attempt_next, iret_flags, failsafe_selectors[4], user_return;
int (*trap_hook)(struct frame *frame);
extern const u64 trap_stubs[32];
extern void user_leave(void) __attribute__((noreturn));
extern struct frame *user_frame_active;
void events_upcall(void);

static const char *const names[32] = {
    "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "#9", "#TS", "#NP", "#SS", "#GP", "#PF", "#15",
    "#MF", "#AC", "#MC", "#XM", "#VE", "#CP",
};

const char *trap_name(u64 vector)
{
    if (vector < 32 && names[vector])
        return names[vector];
    switch (vector) {
    case VECTOR_EVENT: return "event";
    case VECTOR_SYSCALL: return "syscall";
    case VECTOR_SYSCALL32: return "syscall32";
    case VECTOR_SYSENTER: return "sysenter";
    case VECTOR_NMI: return "nmi";
    case VECTOR_FAILSAFE: return "failsafe";
    case VECTOR_NONE: return "none";
    case 128: return "int80";
    case 129: return "int81";
    }
    return "trap";
}

void traps_start(void)
{
    static struct trap_info table[36];
    int n = 0;
    for (int vector = 0; vector < 32; vector++) {
        if (vector == 2 || vector == 8 || vector == 15)     /* NMI, double fault: not a guest's to take */
            continue;
        table[n++] = (struct trap_info){ vector, vector == 3 || vector == 4 ? 3 : 0, FLAT_KERNEL_CS,
                                         trap_stubs[vector] };
    }
    table[n++] = (struct trap_info){ 128, 3, FLAT_KERNEL_CS, (u64)trap_128 };
    table[n++] = (struct trap_info){ 129, 1, FLAT_KERNEL_CS, (u64)trap_129 };
    hypercall(set_trap_table, table);

    struct callback_register callbacks[] = {
        { CALLBACKTYPE_event, 0, (u64)event_entry },
        { CALLBACKTYPE_failsafe, 0, (u64)failsafe_entry },
        { CALLBACKTYPE_syscall, 0, (u64)syscall_entry },
        { CALLBACKTYPE_syscall32, 0, (u64)syscall32_entry },
        { CALLBACKTYPE_sysenter, 0, (u64)sysenter_entry },
        { CALLBACKTYPE_nmi, 0, (u64)nmi_entry },
    };
    for (unsigned i = 0; i < sizeof(callbacks) / sizeof(*callbacks); i++)
        hypercall(callback_op, 0, &callbacks[i]);
}

static void dump(const struct frame *f)
{
    printf("\nunexpected %s (vector %lu) error=%lx rip=%lx cs=%lx rflags=%lx rsp=%lx ss=%lx cr2=%lx\n",
           trap_name(f->vector),
           f->vector, f->error, f->rip, f->cs, f->rflags, f->rsp, f->ss, vcpu_info->arch.cr2);
    printf("rax=%lx rbx=%lx rcx=%lx rdx=%lx rsi=%lx rdi=%lx rbp=%lx r8=%lx r9=%lx r10=%lx r11=%lx r12=%lx r13=%lx\n",
           f->rax,
           f->rbx, f->rcx, f->rdx, f->rsi, f->rdi, f->rbp, f->r8, f->r9, f->r10, f->r11, f->r12, f->r13);
}

void trap(struct frame *frame)
{
    if (trap_hook && trap_hook(frame))
        return;
    if (frame->vector == VECTOR_EVENT) {
        events_upcall();
        return;
    }
    if ((frame->cs & 3) == 3 && user_frame_active) {
        *user_frame_active = *frame;
        caught_cr2 = vcpu_info->arch.cr2;
        user_leave();
    }
    if (!attempt_next) {
        dump(frame);
        shutdown(SHUTDOWN_crash);
    }
    caught = *frame;
    caught_cr2 = vcpu_info->arch.cr2;
    frame->rip = attempt_next;
    frame->rflags &= ~0x100ul;                  /* a single step has been taken */
}

const char *outcome(void)
{
    static char text[64];
    char *at = text;
    if (caught.vector == VECTOR_NONE)
        return "ok";
    const char *name = trap_name(caught.vector);
    memcpy(at, name, strlen(name));
    at += strlen(name);
    memcpy(at, " error=", 7);
    at += 7;
    for (int shift = 28; shift >= 0; shift -= 4)
        if (caught.error >> shift || !shift)
            *at++ = "0123456789abcdef"[caught.error >> shift & 15];
    memcpy(at, " rip+", 5);
    at += 5;
    *at++ = '0' + (caught.rip - attempt_at) / 10 % 10;
    *at++ = '0' + (caught.rip - attempt_at) % 10;
    *at = 0;
    return text;
}
