/* Event channels: every operation, legal and not, and how an event reaches the upcall. */
#include "kit.h"

static u32 upcalls, last_port;

static void say(const char *name, long result) { printf("%s: %ld\n", name, result); }
static long op(int cmd, void *argument) { return hypercall(event_channel_op, cmd, argument); }

static void handler(u32 port)
{
    upcalls++;
    last_port = port;
}

static long send(u32 port)
{
    struct evtchn_port argument = { port };
    return op(EVTCHNOP_send, &argument);
}

static long close_port(u32 port)
{
    struct evtchn_port argument = { port };
    return op(EVTCHNOP_close, &argument);
}

static void status(const char *name, u32 port)
{
    struct evtchn_status argument = { .dom = DOMID_SELF, .port = port };
    long result = op(EVTCHNOP_status, &argument);
    printf("status of %s: %ld, state %u vcpu %u", name, result, argument.status, argument.vcpu);
    if (argument.status == 1)
        printf(" for domain 0: %s", argument.u.unbound.dom ? "no" : "yes");
    if (argument.status == 4)
        printf(" virq %u", argument.u.virq);
    printf("\n");
}

static int pending(u32 port) { return shared_info->evtchn_pending[port / 64] >> port % 64 & 1; }

void main(void)
{
    struct evtchn_bind_ipi ipi = { 0, 0 };
    say("bind ipi", op(EVTCHNOP_bind_ipi, &ipi));
    printf("masked at first: %lu\n", shared_info->evtchn_mask[ipi.port / 64] >> ipi.port % 64 & 1);
    status("ipi", ipi.port);
    event_handler(ipi.port, handler);
    say("send to it, events off", send(ipi.port));
    printf("pending %d, upcall pending %d, upcalls %u\n", pending(ipi.port), vcpu_info->evtchn_upcall_pending, upcalls);
    events_on();
    printf("after events on: pending %d, upcall pending %d, upcalls %u\n", pending(ipi.port),
           vcpu_info->evtchn_upcall_pending, upcalls);
    say("send, events on", send(ipi.port));
    printf("upcalls %u, port right %d\n", upcalls, last_port == ipi.port);
    shared_info->evtchn_mask[ipi.port / 64] |= 1ul << ipi.port % 64;
    say("send, masked", send(ipi.port));
    printf("pending %d, upcalls %u\n", pending(ipi.port), upcalls);
    struct evtchn_port port = { ipi.port };
    say("unmask", op(EVTCHNOP_unmask, &port));
    printf("pending %d, upcalls %u\n", pending(ipi.port), upcalls);
    say("close", close_port(ipi.port));
    say("send to a closed port", send(ipi.port));
    say("close again", close_port(ipi.port));
    status("closed", ipi.port);
    say("send to port 0", send(0));
    say("send to port 4095", send(4095));
    say("send to port 4096", send(4096));
    say("send to port 0xffffffff", send(0xffffffff));
    say("close port 0", close_port(0));
    say("close port 4096", close_port(4096));
    port.port = 4095;
    say("unmask a free port", op(EVTCHNOP_unmask, &port));
    port.port = 4096;
    say("unmask port 4096", op(EVTCHNOP_unmask, &port));

    struct evtchn_bind_virq virq = { VIRQ_TIMER, 0, 0 };
    say("bind virq timer", op(EVTCHNOP_bind_virq, &virq));
    status("virq", virq.port);
    u32 timer = virq.port;
    say("bind it again", op(EVTCHNOP_bind_virq, &virq));
    say("send to a virq", send(timer));
    virq.virq = VIRQ_DEBUG;
    say("bind virq debug", op(EVTCHNOP_bind_virq, &virq));
    virq.virq = VIRQ_CONSOLE;
    say("bind virq console", op(EVTCHNOP_bind_virq, &virq));
    virq.virq = 23;
    say("bind virq 23", op(EVTCHNOP_bind_virq, &virq));
    virq.virq = 24;
    say("bind virq 24", op(EVTCHNOP_bind_virq, &virq));
    virq = (struct evtchn_bind_virq){ VIRQ_TIMER, 1, 0 };
    say("bind virq on vcpu 1", op(EVTCHNOP_bind_virq, &virq));
    virq = (struct evtchn_bind_virq){ VIRQ_TIMER, 99, 0 };
    say("bind virq on vcpu 99", op(EVTCHNOP_bind_virq, &virq));
    say("close timer", close_port(timer));
    ipi.vcpu = 1;
    say("bind ipi on vcpu 1", op(EVTCHNOP_bind_ipi, &ipi));

    struct evtchn_alloc_unbound unbound = { DOMID_SELF, DOMID_SELF, 0 };
    say("alloc unbound for ourselves", op(EVTCHNOP_alloc_unbound, &unbound));
    status("unbound", unbound.port);
    say("send to unbound", send(unbound.port));
    struct evtchn_bind_interdomain loop = { DOMID_SELF, unbound.port, 0 };
    say("bind to our own", op(EVTCHNOP_bind_interdomain, &loop));
    printf("pending at both ends after: %d %d\n", pending(loop.local_port), pending(unbound.port));
    status("interdomain", unbound.port);
    event_handler(loop.local_port, handler);
    event_handler(unbound.port, handler);
    upcalls = 0;
    say("send", send(unbound.port));
    printf("upcalls %u, at the other end %d\n", upcalls, last_port == loop.local_port);
    struct evtchn_bind_interdomain again = { DOMID_SELF, unbound.port, 0 };
    say("bind to a bound one", op(EVTCHNOP_bind_interdomain, &again));
    struct evtchn_bind_vcpu to_vcpu = { unbound.port, 0 };
    say("bind to vcpu 0", op(EVTCHNOP_bind_vcpu, &to_vcpu));
    to_vcpu.vcpu = 1;
    say("bind to vcpu 1", op(EVTCHNOP_bind_vcpu, &to_vcpu));
    say("close one end", close_port(unbound.port));
    status("the other end", loop.local_port);
    say("close the other end", close_port(loop.local_port));
    unbound = (struct evtchn_alloc_unbound){ DOMID_SELF, 0, 0 };
    say("alloc unbound for domain 0", op(EVTCHNOP_alloc_unbound, &unbound));
    status("it", unbound.port);
    say("send to it", send(unbound.port));
    unbound = (struct evtchn_alloc_unbound){ 0, DOMID_SELF, 0 };
    say("alloc unbound in domain 0", op(EVTCHNOP_alloc_unbound, &unbound));
    unbound = (struct evtchn_alloc_unbound){ 77, DOMID_SELF, 0 };
    say("alloc unbound in domain 77", op(EVTCHNOP_alloc_unbound, &unbound));
    loop = (struct evtchn_bind_interdomain){ 77, 1, 0 };
    say("bind to domain 77", op(EVTCHNOP_bind_interdomain, &loop));
    loop = (struct evtchn_bind_interdomain){ DOMID_SELF, 3000, 0 };
    say("bind to a free port", op(EVTCHNOP_bind_interdomain, &loop));
    loop = (struct evtchn_bind_interdomain){ DOMID_SELF, 5000, 0 };
    say("bind to port 5000", op(EVTCHNOP_bind_interdomain, &loop));
    struct { u32 pirq, flags, port; } pirq = { 1, 0, 0 };
    say("bind pirq 1", op(EVTCHNOP_bind_pirq, &pirq));
    struct evtchn_reset reset = { 0 };
    say("reset of domain 0", op(EVTCHNOP_reset, &reset));
    struct { u64 gfn; u32 offset, vcpu; u8 link_bits; } control = { 0, 0, 1, 0 };
    say("init control, vcpu 1", op(EVTCHNOP_init_control, &control));
    struct { u64 gfn; } expand = { 0 };
    say("expand array without control", op(EVTCHNOP_expand_array, &expand));
    struct { u32 port, priority; } priority = { 1, 0 };
    say("set priority without control", op(EVTCHNOP_set_priority, &priority));
    say("command 99", op(99, &priority));
    say("bad pointer", op(EVTCHNOP_send, (void *)0x1000));
    struct evtchn_status foreign = { .dom = 0, .port = 1 };
    say("status of domain 0's port 1", op(EVTCHNOP_status, &foreign));
    foreign = (struct evtchn_status){ .dom = 77, .port = 1 };
    say("status of domain 77's port 1", op(EVTCHNOP_status, &foreign));
    status("port 5000", 5000);
    status("console", start_info->console.evtchn);
}
