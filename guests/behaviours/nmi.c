/* An NMI that we send to ourselves: its frame, and that a second waits for the first one's iret. */
#include "kit.h"

static int nested, seen;

static int hook(struct frame *f)
{
    if (f->vector != VECTOR_NMI)
        return 0;
    seen++;
    printf("nmi: cs=%lx ss=%lx error=%lx\n", f->cs, f->ss, f->error);
    if (!nested) {
        nested = 1;
        printf("send another inside: %ld\n", hypercall(vcpu_op, VCPUOP_send_nmi, 0, 0));
        hypercall(xen_version, XENVER_version, 0);
        printf("seen inside: %d\n", seen);
    }
    return 1;
}

void main(void)
{
    trap_hook = hook;
    printf("send: %ld\n", hypercall(vcpu_op, VCPUOP_send_nmi, 0, 0));
    printf("seen after: %d\n", seen);
    events_on();
    printf("send with events on: %ld\n", hypercall(vcpu_op, VCPUOP_send_nmi, 0, 0));
    printf("seen after: %d, event mask %d\n", seen, vcpu_info->evtchn_upcall_mask);
}
