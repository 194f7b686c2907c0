/* A neighbour that never has enough, in the way that its command line says: "hypercalls", "yields", "events" (to
 * itself, and to its console and store), "timers" (which it sleeps for), "alarms" (which it does not), "ports",
 * "frames", "grants", "flushes", "faults", "words", "lines", "store". */
#include "kit.h"

#define GRANTS   0xffffffffb0000000ul
#define WINDOW   0xffffffffb0100000ul
#define NODES    512

struct xenstore_interface {
    u8 req[1024], rsp[1024];
    volatile u32 req_cons, req_prod, rsp_cons, rsp_prod;
};

static void notify(u32 port)
{
    struct evtchn_port send = { port };
    hypercall(event_channel_op, EVTCHNOP_send, &send);
}

static void nothing(u32 port) { (void)port; }

static void hypercalls(void) { hypercall(xen_version, 0, 0); }
static void yields(void) { hypercall(sched_op, SCHEDOP_yield, 0); }

static u32 own_port;
static void events(void)
{
    notify(own_port);
    notify(start_info->console.evtchn);
    notify(start_info->store_evtchn);
}

static u32 timer_port;
static volatile u32 nr_timers;
static void timer(u32 port) { (void)port, nr_timers++; }
static void timers(void)
{
    struct vcpu_set_singleshot_timer at = { now() + 1000, 0 };
    hypercall(vcpu_op, VCPUOP_set_singleshot_timer, 0, &at);
    hypercall(sched_op, SCHEDOP_block, 0);
}

static void alarms(void)
{
    u32 before = nr_timers;
    struct vcpu_set_singleshot_timer at = { now() + 1000, 0 };
    hypercall(vcpu_op, VCPUOP_set_singleshot_timer, 0, &at);
    while (nr_timers == before)
        ;
}

static void ports(void)
{
    struct evtchn_alloc_unbound alloc = { DOMID_SELF, DOMID_SELF, 0 };
    hypercall(event_channel_op, EVTCHNOP_alloc_unbound, &alloc);
    struct evtchn_bind_interdomain bind = { DOMID_SELF, alloc.port, 0 };
    hypercall(event_channel_op, EVTCHNOP_bind_interdomain, &bind);
    struct evtchn_port near = { alloc.port }, far = { bind.local_port };
    hypercall(event_channel_op, EVTCHNOP_close, &far);
    hypercall(event_channel_op, EVTCHNOP_close, &near);
}

static void frames(void)
{
    u64 list[16];
    for (u32 i = 0; i < 16; i++)
        list[i] = 0x8000 + i;
    struct xen_memory_reservation more = { list, 16, 0, 0, DOMID_SELF };
    hypercall(memory_op, XENMEM_populate_physmap, &more);
    hypercall(memory_op, XENMEM_decrease_reservation, &more);
}

static void grants(void)
{
    struct gnttab_map_grant_ref map = { WINDOW, 2 /* host_map */, 20, DOMID_SELF, 0, 0, 0 };
    hypercall(grant_table_op, GNTTABOP_map_grant_ref, &map, 1);
    struct gnttab_unmap_grant_ref unmap = { WINDOW, 0, map.handle, 0 };
    hypercall(grant_table_op, GNTTABOP_unmap_grant_ref, &unmap, 1);
}

static void make_grant(void)
{
    static u64 list[1];
    struct gnttab_setup_table setup = { DOMID_SELF, 1, 0, list };
    volatile struct grant_entry_v1 *table = (void *)GRANTS;
    hypercall(grant_table_op, GNTTABOP_setup_table, &setup, 1);
    map_page(GRANTS, list[0] * PAGE | KERNEL_PTE);
    map_page(WINDOW, 0);
    table[20].domid = 2;
    table[20].frame = virt_to_mfn(page_alloc());
    table[20].flags = 1 /* permit_access */;
}

static void flushes(void) { mmuext(MMUEXT_TLB_FLUSH_ALL, 0, 0); }
static void faults(void) { attempt("movb (%0), %%al", : : "r"(0x1234) : "rax"); }

static char *page;
static void words(void) { hypercall(console_io, 0, PAGE, page); }
static void lines(void) { console_write(page, 512); }

/* A node of many each time, watched every other time. */
static void store(void)
{
    static u32 round;
    struct xenstore_interface *ring = mfn_to_virt(start_info->store_mfn);
    char path[] = "storm00";
    struct { u32 type, req_id, tx_id, len; } header = { round & 1 ? 4 : 11, round, 0, sizeof(path) + 2 };
    char message[sizeof(header) + sizeof(path) + 2];
    path[5] += round % NODES / 16, path[6] += round % 16;
    memcpy(message, &header, sizeof(header));
    memcpy(message + sizeof(header), path, sizeof(path));
    message[sizeof(message) - 2] = 'x';
    message[sizeof(message) - 1] = 0;
    ring->rsp_cons = ring->rsp_prod;
    if (ring->req_prod - ring->req_cons + sizeof(message) <= sizeof(ring->req)) {
        for (u32 i = 0; i < sizeof(message); i++)
            ring->req[(ring->req_prod + i) % sizeof(ring->req)] = message[i];
        asm volatile("" : : : "memory");
        ring->req_prod += sizeof(message);
        round++;
    }
    notify(start_info->store_evtchn);
}

static const struct { const char *name; void (*once)(void); } storms[] = {
    { "hypercalls", hypercalls }, { "yields", yields }, { "events", events }, { "timers", timers },
    { "alarms", alarms }, { "ports", ports }, { "frames", frames }, { "grants", grants }, { "flushes", flushes },
    { "faults", faults }, { "words", words }, { "lines", lines }, { "store", store },
};

void main(void)
{
    page = page_alloc();
    memset(page, 'x', PAGE);
    make_grant();
    own_port = bind_ipi();
    timer_port = bind_virq(VIRQ_TIMER);
    event_handler(own_port, nothing);
    event_handler(timer_port, timer);
    unmask(own_port);
    unmask(timer_port);
    hypercall(vcpu_op, VCPUOP_stop_periodic_timer, 0, 0);
    events_on();
    printf("go\n");
    for (u32 i = 0; i < sizeof(storms) / sizeof(storms[0]); i++)
        while (strcmp(start_info->cmd_line, storms[i].name) == 0)
            storms[i].once();
    printf("no such storm\n");
}
