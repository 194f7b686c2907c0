/* Takes all it can of whoever serves it, for ever: words, requests to the store, events, frames, ports.  With `words`
 * on its
   command line only emergency words, which never wait for a reader. */
#include "kit.h"

struct xenstore_interface {
    u8 req[1024], rsp[1024];
    volatile u32 req_cons, req_prod, rsp_cons, rsp_prod;
};

static void notify(u32 port)
{
    struct evtchn_port send = { port };
    hypercall(event_channel_op, EVTCHNOP_send, &send);
}

/* A new node each time, and every other one watched. */
static void ask_store(struct xenstore_interface *ring, u32 round)
{
    char path[] = "flood00000000";
    struct { u32 type, req_id, tx_id, len; } header = { round & 1 ? 4 : 11, round, 0, sizeof(path) + 2 };
    char message[sizeof(header) + sizeof(path) + 2];
    for (u32 i = 0; i < 8; i++)
        path[5 + i] = 'a' + (round >> 4 * i & 15);
    memcpy(message, &header, sizeof(header));
    memcpy(message + sizeof(header), path, sizeof(path));
    message[sizeof(message) - 2] = 'x';
    message[sizeof(message) - 1] = 0;
    ring->rsp_cons = ring->rsp_prod;
    if (ring->req_prod - ring->req_cons + sizeof(message) > sizeof(ring->req))
        return;
    for (u32 i = 0; i < sizeof(message); i++)
        ring->req[(ring->req_prod + i) % sizeof(ring->req)] = message[i];
    asm volatile("" : : : "memory");
    ring->req_prod += sizeof(message);
    notify(start_info->store_evtchn);
}

void main(void)
{
    struct xenstore_interface *store = mfn_to_virt(start_info->store_mfn);
    u64 frames[16];
    char *page = page_alloc();
    memset(page, 'x', PAGE);
    while (starts_with(start_info->cmd_line, "words"))
        hypercall(console_io, 0, PAGE, page);
    for (u32 round = 0;; round++) {
        hypercall(console_io, 0, PAGE, page);
        console_write(page, 512);
        ask_store(store, round);
        notify(start_info->console.evtchn);
        for (u32 i = 0; i < 16; i++)
            frames[i] = 0x1000 + i;
        struct xen_memory_reservation more = { frames, 16, 0, 0, DOMID_SELF };
        hypercall(memory_op, XENMEM_populate_physmap, &more);
        more.extent_start = frames;
        hypercall(memory_op, XENMEM_decrease_reservation, &more);
        struct evtchn_alloc_unbound port = { DOMID_SELF, 0, 0 };
        hypercall(event_channel_op, EVTCHNOP_alloc_unbound, &port);
        if (round % 64 == 0)
            printf("round %u\n", round);
    }
}
