/* The console: the PV ring of a domU, or Xen's own console for a dom0 (which has no ring). */
#include "kit.h"

static struct xencons_interface *ring;

void console_start(void)
{
    if (!(start_info->flags & SIF_INITDOMAIN))
        ring = mfn_to_virt(start_info->console.mfn);
}

static void notify(void)
{
    struct evtchn_port send = { start_info->console.evtchn };
    hypercall(event_channel_op, EVTCHNOP_send, &send);
}

static void put(char c)
{
    while (ring->out_prod - ring->out_cons == sizeof(ring->out)) {
        notify();
        hypercall(sched_op, SCHEDOP_yield, 0);
    }
    ring->out[ring->out_prod % sizeof(ring->out)] = c;
    asm volatile("" : : : "memory");
    ring->out_prod++;
}

void console_write(const char *text, u64 length)
{
    if (!ring) {
        hypercall(console_io, CONSOLEIO_write, length, text);
        return;
    }
    for (u64 i = 0; i < length; i++) {
        if (text[i] == '\n')
            put('\r');
        put(text[i]);
    }
    notify();
}

int console_read(void)
{
    char c;
    if (!ring)
        return hypercall(console_io, CONSOLEIO_read, 1, &c) == 1 ? (u8)c : -1;
    if (ring->in_cons == ring->in_prod)
        return -1;
    c = ring->in[ring->in_cons % sizeof(ring->in)];
    asm volatile("" : : : "memory");
    ring->in_cons++;
    notify();
    return (u8)c;
}

/* Sleep until the console's event comes.  The channel stays masked: SCHEDOP_poll looks at the pending bit only. */
void console_wait(void)
{
    u32 port = start_info->console.evtchn;
    struct sched_poll poll = { &port, 1, 0 };
    if (!ring) {
        poll.nr_ports = 0;
        poll.timeout = now() + 10000000;
    }
    hypercall(sched_op, SCHEDOP_poll, &poll);
    if (ring)
        asm volatile("lock btrq %1, %0" : "+m"(shared_info->evtchn_pending[port / 64]) : "r"((u64)port % 64));
}

void shutdown(int reason)
{
    if (ring)                                   /* let the other end read what was said last */
        for (int i = 0; i < 1000 && ring->out_cons != ring->out_prod; i++)
            hypercall(sched_op, SCHEDOP_yield, 0);
    u32 why = reason;
    hypercall(sched_op, SCHEDOP_shutdown, &why);
    for (;;)
        asm volatile("ud2");
}
