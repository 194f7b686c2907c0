/* Event channels (two-level): the upcall walks the selector and the pending words. */
#include "kit.h"

static void (*handlers[4096])(u32 port);

void events_on(void)
{
    asm volatile("movb $0, %0" : "=m"(vcpu_info->evtchn_upcall_mask) : : "memory");
    if (*(volatile u8 *)&vcpu_info->evtchn_upcall_pending)
        hypercall(xen_version, XENVER_version, 0);      /* any hypercall lets the pending upcall in */
}

void events_off(void)
{
    asm volatile("movb $1, %0" : "=m"(vcpu_info->evtchn_upcall_mask) : : "memory");
}

void event_handler(u32 port, void (*handler)(u32 port))
{
    handlers[port] = handler;
}

void mask(u32 port)
{
    __atomic_or_fetch(&shared_info->evtchn_mask[port / 64], 1ul << port % 64, __ATOMIC_SEQ_CST);
}

void unmask(u32 port)
{
    struct evtchn_port op = { port };
    hypercall(event_channel_op, EVTCHNOP_unmask, &op);
}

u32 bind_virq(u32 virq)
{
    struct evtchn_bind_virq bind = { virq, 0, 0 };
    return hypercall(event_channel_op, EVTCHNOP_bind_virq, &bind) ? 0 : bind.port;
}

u32 bind_ipi(void)
{
    struct evtchn_bind_ipi bind = { 0, 0 };
    return hypercall(event_channel_op, EVTCHNOP_bind_ipi, &bind) ? 0 : bind.port;
}

void events_upcall(void)
{
    while (__atomic_exchange_n(&vcpu_info->evtchn_upcall_pending, 0, __ATOMIC_SEQ_CST)) {
        u64 selector = __atomic_exchange_n(&vcpu_info->evtchn_pending_sel, 0, __ATOMIC_SEQ_CST);
        for (; selector; selector &= selector - 1) {
            int word = __builtin_ctzl(selector);
            u64 pending = *(volatile u64 *)&shared_info->evtchn_pending[word] & ~shared_info->evtchn_mask[word];
            for (; pending; pending &= pending - 1) {
                u32 port = word * 64 + __builtin_ctzl(pending);
                __atomic_and_fetch(&shared_info->evtchn_pending[word], ~(1ul << port % 64), __ATOMIC_SEQ_CST);
                if (handlers[port])
                    handlers[port](port);
            }
        }
    }
}
