#include "netfront.h"

#define PATIENCE 20000000000ul  /* ns: what comes at all comes sooner, on any host */
#define SOON 50000000ul

void card_find(struct card *c)
{
    char names[64], path[128];
    if (store_list("device/vif", names, sizeof(names))) {
        printf("no network card\n");
        shutdown(SHUTDOWN_crash);
    }
    join(c->path, "device/vif/", names);
    join(path, c->path, "/backend");
    store_read(path, c->backend, sizeof(c->backend));
    c->tx = page_alloc();
    c->rx = page_alloc();
    for (int i = 0; i < NR_BUFFERS; i++) {
        c->buffers[i] = page_alloc();
        c->refs[i] = grant(virt_to_mfn(c->buffers[i]), GRANT_WRITABLE, 0);
    }
}

static void tell_number(struct card *c, const char *key, u64 value)
{
    char path[128];
    join(path, c->path, key);
    store_write_number(path, value);
}

static int backend_state(struct card *c)
{
    char path[192], value[16];
    join(path, c->backend, "/state");
    return store_read(path, value, sizeof(value)) ? -1 : value[0] - '0';
}

int backend_wait(struct card *c, int state)
{
    for (u64 end = now() + PATIENCE; backend_state(c) != state; doze(start_info->store_evtchn))
        if (now() > end)
            return 0;
    return 1;
}

static void start_ring(struct ring_head *head, u32 *ref)
{
    memset(head, 0, PAGE);
    head->req_event = head->rsp_event = 1;
    *ref = grant(virt_to_mfn(head), GRANT_WRITABLE, 0);
}

int card_connect(struct card *c)
{
    struct evtchn_alloc_unbound unbound = { DOMID_SELF, 0, 0 };
    tell_number(c, "/state", INITIALISING);
    if (!backend_wait(c, INIT_WAIT))
        return 0;
    hypercall(event_channel_op, EVTCHNOP_alloc_unbound, &unbound);
    mask(c->port = unbound.port);
    start_ring(&c->tx->head, &c->tx_ref);
    start_ring(&c->rx->head, &c->rx_ref);
    c->tx_prod = c->tx_cons = c->rx_prod = c->rx_cons = 0;
    for (int i = 0; i < NR_BUFFERS; i++)
        post_buffer(c);
    tell_number(c, "/tx-ring-ref", c->tx_ref);
    tell_number(c, "/rx-ring-ref", c->rx_ref);
    tell_number(c, "/event-channel", c->port);
    tell_number(c, "/request-rx-copy", 1);
    tell_number(c, "/feature-rx-notify", 1);
    tell_number(c, "/state", CONNECTED);
    return backend_wait(c, CONNECTED);
}

int card_close(struct card *c)
{
    struct evtchn_port port = { c->port };
    tell_number(c, "/state", CLOSING);
    tell_number(c, "/state", CLOSED);
    int closed = backend_wait(c, CLOSED);
    hypercall(event_channel_op, EVTCHNOP_close, &port);
    closed = grant_end(c->tx_ref) && closed;
    closed = grant_end(c->rx_ref) && closed;
    for (int i = 0; i < NR_BUFFERS; i++) {
        closed = grant_end(c->refs[i]) && closed;
        grant_again(c->refs[i], virt_to_mfn(c->buffers[i]), GRANT_WRITABLE, 0);
    }
    return closed;
}

void kick(struct card *c)
{
    struct evtchn_port port = { c->port };
    hypercall(event_channel_op, EVTCHNOP_send, &port);
}

void put(struct card *c, u32 ref, u16 offset, u16 flags, u16 size)
{
    struct tx_request request = { ref, offset, flags, c->tx_prod % ENTRIES, size };
    c->tx->entries[c->tx_prod++ % ENTRIES] = request;
}

void push(struct card *c)
{
    asm volatile("" : : : "memory");
    c->tx->head.req_prod = c->tx_prod;
    kick(c);
}

static int wait_for(struct ring_head *head, u32 cons, u32 port, u64 patience)
{
    for (u64 end = now() + patience; head->rsp_prod == cons; doze(port)) {
        head->rsp_event = cons + 1;
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (head->rsp_prod != cons)
            break;
        if (now() > end)
            return 0;
    }
    return 1;
}

long answer(struct card *c)
{
    if (!wait_for(&c->tx->head, c->tx_cons, c->port, SOON))
        return NO_ANSWER;
    struct tx_response *response = (void *)&c->tx->entries[c->tx_cons++ % ENTRIES];
    return response->status;
}

long send(struct card *c, u32 ref, u16 size)
{
    put(c, ref, 0, 0, size);
    push(c);
    return answer(c);
}

void post(struct card *c, u32 ref)
{
    struct rx_request request = { c->rx_prod % ENTRIES, 0, ref };
    c->rx->entries[c->rx_prod++ % ENTRIES] = request;
    asm volatile("" : : : "memory");
    c->rx->head.req_prod = c->rx_prod;
    if (c->rx->head.req_event == c->rx_prod)
        kick(c);
}

void post_buffer(struct card *c)
{
    post(c, c->refs[c->rx_prod % NR_BUFFERS]);
}

long receive(struct card *c, u64 patience, u8 **data)
{
    if (!wait_for(&c->rx->head, c->rx_cons, c->port, patience))
        return NO_ANSWER;
    *data = c->buffers[c->rx_cons % NR_BUFFERS];
    struct rx_response *response = (void *)&c->rx->entries[c->rx_cons++ % ENTRIES];
    return response->status;
}
