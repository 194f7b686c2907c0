/* FIFO event channels: how they begin, how events are queued by priority, what a guest may do to the words, and how
 * they end. */
#include "kit.h"

#define WORDS 1024u

static volatile u32 pages[6][WORDS] aligned(4096);      /* the event array */
static volatile u8 control_page[4096] aligned(4096);
static volatile struct evtchn_fifo_control_block *const control = (void *)(control_page + 64);
static u8 table_page[4096] aligned(4096), dummy[4096] aligned(4096);
static u32 order[64], nr_order;

static void say(const char *name, long result) { printf("%s: %ld\n", name, result); }
static long op(int cmd, void *argument) { return hypercall(event_channel_op, cmd, argument); }
static int pending_2l(u32 port) { return shared_info->evtchn_pending[port / 64] >> port % 64 & 1; }

static long port_op(int cmd, u32 port)
{
    struct evtchn_port argument = { port };
    return op(cmd, &argument);
}

static long send(u32 port) { return port_op(EVTCHNOP_send, port); }

static long init_control(u64 mfn, u32 offset, u32 vcpu)
{
    struct evtchn_init_control init = { mfn, offset, vcpu, 0xee, { 0 } };
    long result = op(EVTCHNOP_init_control, &init);
    if (init.link_bits != 0xee)
        printf("(link bits %d) ", init.link_bits);
    return result;
}

static long expand(u64 mfn)
{
    struct evtchn_expand_array argument = { mfn };
    return op(EVTCHNOP_expand_array, &argument);
}

static long priority(u32 port, u32 value)
{
    struct evtchn_set_priority argument = { port, value };
    return op(EVTCHNOP_set_priority, &argument);
}

static u32 status(u32 port)
{
    struct evtchn_status argument = { .dom = DOMID_SELF, .port = port };
    long result = op(EVTCHNOP_status, &argument);
    return result ? (u32)result : argument.status;
}

static void show_control(const char *when)
{
    printf("%s: ready %x, heads", when, control->ready);
    for (int i = 0; i < 16; i++)
        if (control->head[i])
            printf(" %d:%u", i, control->head[i]);
    printf(", upcall %d\n", vcpu_info->evtchn_upcall_pending);
}

static void show(const char *name, u32 port)
{
    u32 value = *fifo_word(port);
    printf("%s:%s%s", name, value & EVTCHN_FIFO_PENDING ? " pending" : "", value & EVTCHN_FIFO_MASKED ? " masked" : "");
    printf("%s%s", value & EVTCHN_FIFO_LINKED ? " linked" : "", value & EVTCHN_FIFO_BUSY ? " busy" : "");
    printf(" link %u\n", value & EVTCHN_FIFO_LINK_MASK);
}

static void record(u32 port) { order[nr_order++ % 64] = port; }

static int upcall(struct frame *frame)
{
    if (frame->vector != VECTOR_EVENT)
        return 0;
    fifo_take(record);
    return 1;
}

static void deliver(const char *what)
{
    nr_order = 0;
    events_on();
    events_off();
    printf("%s:", what);
    for (u32 i = 0; i < nr_order; i++)
        printf(" %u", order[i]);
    printf("\n");
}

/* Everything is masked before Xen sees it, as a kernel does that binds its ports afterwards. */
static void prepare(void)
{
    for (u32 page = 0; page < 6; page++)
        for (u32 i = 0; i < WORDS; i++)
            pages[page][i] = EVTCHN_FIFO_MASKED;
}

static void beginning(void)
{
    u64 mfn = virt_to_mfn((void *)control_page);
    u32 a = bind_ipi(), b = bind_ipi();
    say("set priority, two-level", priority(a, 3));
    say("set priority, no such port", priority(4000, 3));
    say("unmask a free port, two-level", port_op(EVTCHNOP_unmask, 50));
    say("unmask port 0, two-level", port_op(EVTCHNOP_unmask, 0));
    say("expand, two-level", expand(virt_to_mfn((void *)pages[0])));
    say("init with vcpu 1", init_control(mfn, 64, 1));
    say("init with vcpu 1 and a bad offset", init_control(mfn, 65, 1));
    say("init with offset 4", init_control(mfn, 4, 0));
    say("init with offset 4032", init_control(mfn, 4032, 0));
    say("init with offset 4096", init_control(mfn, 4096, 0));
    say("init with offset -8", init_control(mfn, -8, 0));
    say("init with no frame", init_control(~0ul, 64, 0));
    say("init with a frame beyond", init_control(1ul << 36, 64, 0));
    say("init with a page table", init_control(l4_mfn(), 64, 0));
    say("init with Xen's frame", init_control(0, 64, 0));
    page_readonly(table_page);
    say("pin an L1", mmuext(MMUEXT_PIN_L1_TABLE, virt_to_mfn(table_page), 0));
    say("init with it", init_control(virt_to_mfn(table_page), 64, 0));
    say("unpin it", mmuext(MMUEXT_UNPIN_TABLE, virt_to_mfn(table_page), 0));
    say("init, bad pointer", op(EVTCHNOP_init_control, (void *)0x1000));
    say("expand, bad pointer", op(EVTCHNOP_expand_array, (void *)0x1000));
    say("set priority, bad pointer", op(EVTCHNOP_set_priority, (void *)0x1000));
    say("expand after all that", expand(virt_to_mfn((void *)pages[0])));

    say("send, two-level", send(a));
    printf("pending in shared_info: %d %d\n", pending_2l(a), pending_2l(b));
    shared_info->evtchn_mask[b / 64] |= 1ul << b % 64;
    say("send, two-level and masked", send(b));
    memset((void *)control_page, 0x11, PAGE);
    vcpu_info->evtchn_upcall_pending = 0;
    say("init", init_control(mfn, 64, 0));
    printf("the page: before %x, ready %x, rsvd %x, heads %x %x, after %x\n", control_page[63], control->ready,
           control->rsvd,
           control->head[0], control->head[15], control_page[64 + sizeof(*control)]);
    memset((void *)control_page, 0, PAGE);
    printf("pending in shared_info: %d %d, selector %lx, upcall %d\n", pending_2l(a), pending_2l(b),
           vcpu_info->evtchn_pending_sel,
           vcpu_info->evtchn_upcall_pending);
    say("init again", init_control(mfn, 64, 0));
    say("init again, another page", init_control(virt_to_mfn(dummy), 0, 0));
    page_readonly((void *)control_page);
    say("the control block as a page table", mmuext(MMUEXT_PIN_L1_TABLE, mfn, 0));
    page_writable((void *)control_page);

    u32 c = bind_ipi();
    say("send without an array", send(c));
    show_control("then");
    struct sched_poll poll = { &c, 1, 1 };
    say("poll it", hypercall(sched_op, SCHEDOP_poll, &poll));
    say("unmask without an array", port_op(EVTCHNOP_unmask, c));
    say("set priority without an array", priority(c, 7));
    printf("still in shared_info: %d\n", pending_2l(c));

    say("expand, no frame", expand(~0ul));
    say("expand, a page table", expand(l4_mfn()));
    prepare();
    *fifo_word(a) = *fifo_word(c) = 0;
    say("expand", expand(virt_to_mfn((void *)pages[0])));
    show("sent in two-level", a);
    show("sent in two-level and masked there", b);
    show("sent without an array", c);
    show("never sent", c + 1);
    show_control("queues");
    deliver("delivered");
    say("unmask the masked one", port_op(EVTCHNOP_unmask, b));
    show("it", b);
    deliver("delivered");
    page_readonly((void *)pages[0]);
    say("the array as a page table", mmuext(MMUEXT_PIN_L1_TABLE, virt_to_mfn((void *)pages[0]), 0));
    page_writable((void *)pages[0]);
    port_op(EVTCHNOP_close, a);
    port_op(EVTCHNOP_close, b);
    port_op(EVTCHNOP_close, c);
}

static void priorities(void)
{
    static const u8 levels[] = { 15, 0, 7, 3, 7, 0 };
    u32 ports[6];
    for (int i = 0; i < 6; i++) {
        ports[i] = bind_ipi();
        *fifo_word(ports[i]) = 0;
        say("set priority", priority(ports[i], levels[i]));
    }
    say("set priority 16", priority(ports[0], 16));
    say("set priority 0xffffffff", priority(ports[0], 0xffffffff));
    say("set priority of port 0", priority(0, 7));
    say("set priority of a free port", priority(60, 7));
    say("set priority 16 of a free port", priority(60, 16));
    say("set priority of port 5000", priority(5000, 7));
    for (int i = 0; i < 6; i++)
        send(ports[i]);
    show_control("six events");
    for (int i = 0; i < 6; i++)
        show("word", ports[i]);
    say("send again", send(ports[2]));
    show_control("the same");
    deliver("by priority");
    show("afterwards", ports[2]);

    printf("= another priority\n");
    u32 a = ports[2], b = ports[4];
    send(a), send(b);
    say("set priority of a linked one", priority(a, 1));
    send(a);
    show_control("still there");
    deliver("delivered");
    send(a), send(b);
    show_control("next time");
    deliver("delivered");
    priority(b, 1);
    send(b);                        /* b was the tail of queue 7; now a's old queue ... */
    priority(a, 7);
    send(a);
    show_control("exchanged");
    show("a", a);
    show("b", b);
    deliver("delivered");
    priority(b, 7);

    printf("= when the queue is ready\n");
    send(a);
    control->ready = 0;
    vcpu_info->evtchn_upcall_pending = 0;
    send(b);
    show_control("second, after the guest cleared ready");
    show("a", a);
    show("b", b);
    __atomic_fetch_and(fifo_word(a), ~EVTCHN_FIFO_LINKED, __ATOMIC_SEQ_CST);
    __atomic_fetch_and(fifo_word(b), ~EVTCHN_FIFO_LINKED, __ATOMIC_SEQ_CST);
    say("send to a pending one that is not linked", send(a));
    show_control("then");
    show("a", a);
    vcpu_info->evtchn_upcall_pending = 0;
    send(b);
    show_control("upcall taken, ready left");
    deliver("delivered");
    control->ready |= 1 << 7;
    vcpu_info->evtchn_upcall_pending = 1;
    deliver("the rest");

    printf("= masked\n");
    *fifo_word(a) = EVTCHN_FIFO_MASKED, *fifo_word(b) = 0;
    send(a), send(b);
    show("masked", a);
    show_control("only b");
    deliver("delivered");
    struct sched_poll poll = { &a, 1, 0 };
    say("poll the masked one", hypercall(sched_op, SCHEDOP_poll, &poll));
    say("unmask", port_op(EVTCHNOP_unmask, a));
    show("unmasked", a);
    say("unmask again", port_op(EVTCHNOP_unmask, a));
    deliver("delivered");
    say("unmask when nothing is pending", port_op(EVTCHNOP_unmask, a));
    show_control("nothing");
    send(a);
    __atomic_fetch_or(fifo_word(a), EVTCHN_FIFO_MASKED, __ATOMIC_SEQ_CST);
    deliver("masked after it was linked");
    show("it", a);
    port_op(EVTCHNOP_unmask, a);
    deliver("unmasked");
    say("unmask a free port", port_op(EVTCHNOP_unmask, 60));
    say("unmask port 0", port_op(EVTCHNOP_unmask, 0));

    printf("= closed\n");
    send(a), send(b);
    say("close a linked one", port_op(EVTCHNOP_close, a));
    show("it", a);
    printf("status %u\n", status(a));
    u32 c = bind_ipi();
    printf("the next is it: %d\n", c == a);
    deliver("delivered");
    port_op(EVTCHNOP_close, c);
    c = bind_ipi();
    printf("and now: %d\n", c == a);
    show("its word", c);
    send(c);
    show_control("at the usual priority");
    deliver("delivered");
    port_op(EVTCHNOP_close, c);
    for (int i = 0; i < 6; i++)
        if (i != 2)
            port_op(EVTCHNOP_close, ports[i]);
}

static void kinds(void)
{
    struct evtchn_alloc_unbound unbound = { DOMID_SELF, DOMID_SELF, 0 };
    say("alloc unbound", op(EVTCHNOP_alloc_unbound, &unbound));
    struct evtchn_bind_interdomain loop = { DOMID_SELF, unbound.port, 0 };
    say("bind to it", op(EVTCHNOP_bind_interdomain, &loop));
    show("near", loop.local_port);
    show("far", unbound.port);
    port_op(EVTCHNOP_unmask, loop.local_port);
    port_op(EVTCHNOP_unmask, unbound.port);
    deliver("at the beginning");
    say("send one way", send(unbound.port));
    say("and the other", send(loop.local_port));
    deliver("delivered");
    struct evtchn_bind_vcpu move = { unbound.port, 0 };
    say("bind to vcpu 0", op(EVTCHNOP_bind_vcpu, &move));
    say("close one end", port_op(EVTCHNOP_close, unbound.port));
    printf("status %u %u\n", status(unbound.port), status(loop.local_port));
    say("close the other", port_op(EVTCHNOP_close, loop.local_port));

    u32 timer = bind_virq(VIRQ_TIMER);
    say("priority of the timer", priority(timer, 0));
    hypercall(vcpu_op, VCPUOP_stop_periodic_timer, 0, 0);
    struct sched_poll poll = { &timer, 1, 0 };
    hypercall(set_timer_op, now() + 1000000);
    say("poll for the timer", hypercall(sched_op, SCHEDOP_poll, &poll));
    show("timer, masked", timer);
    port_op(EVTCHNOP_unmask, timer);
    show_control("unmasked");
    deliver("delivered");
    hypercall(set_timer_op, now() + 1000000);
    nr_order = 0;
    hypercall(sched_op, SCHEDOP_block, 0);
    printf("blocked until the timer: %d\n", nr_order == 1 && order[0] == timer);
    events_off();
    say("send to a virq", send(timer));
    say("close the timer", port_op(EVTCHNOP_close, timer));
}

static void many(void)
{
    u32 last = 0, port;
    while ((port = bind_ipi()) && port < 4200)
        last = port;
    printf("ports: %u\n", port ? port : last);
    say("send to port 4100", send(4100));
    show_control("no page yet");
    for (int i = 1; i < 5; i++) {
        say("expand", expand(virt_to_mfn((void *)pages[i])));
        show_control("then");
    }
    show("port 4100, masked", 4100);
    *fifo_word(4101) = *fifo_word(4102) = 0;
    port_op(EVTCHNOP_unmask, 4100);
    send(4101), send(4102);
    say("priority of port 4102", priority(4102, 2));
    show("port 4100", 4100);
    deliver("delivered");
    long result;
    u32 count = 5;
    while (!(result = expand(virt_to_mfn((void *)pages[5]))))
        count++;
    printf("array pages: %u, then %ld\n", count, result);
    for (port = 4200; port > 4090; port--)
        port_op(EVTCHNOP_close, port);
    send(4102);
}

/* Words that no kernel would write: they hurt nobody, and what Xen makes of them is the same everywhere. */
static void scribbles(void)
{
    u32 a = 1000, b = 1001, c = 1002;
    *fifo_word(a) = *fifo_word(b) = *fifo_word(c) = 0;
    send(a);
    *fifo_word(a) |= EVTCHN_FIFO_LINK_MASK;
    show("link of its own", a);
    send(b);
    show("link of Xen's", a);
    *fifo_word(b) |= EVTCHN_FIFO_BUSY | 5;
    send(c);
    show("busy tail", b);
    deliver("delivered");
    *fifo_word(a) = EVTCHN_FIFO_LINK_MASK;
    send(a);
    show("linked with a stale link", a);
    *fifo_word(a) = *fifo_word(b) = *fifo_word(c) = 0;
    memset((void *)control, 0xff, sizeof(*control));
    send(b);
    printf("ready %x, head %x, its neighbours %x %x\n", control->ready, control->head[7], control->head[6],
           control->head[8]);
    *fifo_word(a) = *fifo_word(b) = *fifo_word(c) = 0;
    memset((void *)control, 0, sizeof(*control));
    *fifo_word(c) = EVTCHN_FIFO_LINKED;
    send(c);
    show("linked by the guest", c);
    show_control("not queued");
    *fifo_word(c) = 0x0ffe0000;
    send(c);
    printf("other bits: %x\n", *fifo_word(c));
    *fifo_word(c) = 0;
    control->ready = 0;
    vcpu_info->evtchn_upcall_pending = 0;
}

static void end(void)
{
    u32 port = 1000;
    struct evtchn_reset reset = { DOMID_SELF };
    send(port);
    long result = op(EVTCHNOP_reset, &reset);
    u32 after[3] = { status(port), status(start_info->console.evtchn), status(4100) };
    u32 value = *fifo_word(port);
    page_readonly((void *)control_page);
    page_readonly((void *)pages[0]);
    long pins[2] = { mmuext(MMUEXT_PIN_L1_TABLE, virt_to_mfn((void *)control_page), 0) };
    memset((void *)pages[1], 0, PAGE);
    page_readonly((void *)pages[1]);
    pins[1] = mmuext(MMUEXT_PIN_L1_TABLE, virt_to_mfn((void *)pages[1]), 0);
    mmuext(MMUEXT_UNPIN_TABLE, virt_to_mfn((void *)control_page), 0);
    page_writable((void *)control_page);
    page_writable((void *)pages[0]);
    memset(shared_info->evtchn_pending, 0, sizeof(shared_info->evtchn_pending));
    u32 ipi = bind_ipi();
    send(ipi);
    int two_level = pending_2l(ipi);
    long refused[2] = { priority(ipi, 3), expand(virt_to_mfn((void *)pages[0])) };
    /* The answer has no place to go: the change is made all the same. */
    static struct evtchn_init_control readonly aligned(4096);
    readonly = (struct evtchn_init_control){ virt_to_mfn((void *)control_page), 64, 0, 0, { 0 } };
    page_readonly(&readonly);
    long unwritten = op(EVTCHNOP_init_control, &readonly),
        again = init_control(virt_to_mfn((void *)control_page), 64, 0);
    for (u32 i = 0; i < WORDS; i++)
        pages[0][i] = 0;
    long expanded = expand(virt_to_mfn((void *)pages[0]));
    printf("reset: %ld\n", result);
    printf("status: %d %d %d, word %x\n", after[0], after[1], after[2], value);
    printf("the pages as page tables: %ld %ld\n", pins[0], pins[1]);
    printf("two-level again: port %u pending %d, set priority %ld, expand %ld\n", ipi, two_level, refused[0],
           refused[1]);
    printf("init without a place for the answer: %ld, again %ld, expand %ld\n", unwritten, again, expanded);
    /* Xen raises ports closed long ago after it */
    printf("and the event: %x\n", *fifo_word(ipi) & ~EVTCHN_FIFO_LINK_MASK);
}

void main(void)
{
    trap_hook = upcall;
    fifo_control = control;
    for (int i = 0; i < 6; i++)
        fifo_array[i] = pages[i];
    beginning();
    printf("= priorities\n");
    priorities();
    printf("= kinds\n");
    kinds();
    printf("= many\n");
    many();
    printf("= scribbles\n");
    scribbles();
    printf("= end\n");
    end();
}
