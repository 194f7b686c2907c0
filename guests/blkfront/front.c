#include "front.h"

#define PATIENCE 20000000000ul  /* ns: what comes at all comes sooner, on any host */
#define SOON 50000000ul

void front_find(struct front *f)
{
    char names[64], path[128];
    if (store_list("device/vbd", names, sizeof(names))) {
        printf("no disk\n");
        shutdown(SHUTDOWN_crash);
    }
    join(f->path, "device/vbd/", names);
    join(path, f->path, "/backend");
    store_read(path, f->backend, sizeof(f->backend));
}

const char *front_write(struct front *f, const char *key, const char *value)
{
    char path[128];
    join(path, f->path, key);
    return store_write(path, value);
}

int front_state(struct front *f, int state)
{
    char value[2] = { '0' + state, 0 };
    return !front_write(f, "/state", value);
}

int backend_state(struct front *f)
{
    char path[192], value[16];
    join(path, f->backend, "/state");
    return store_read(path, value, sizeof(value)) ? -1 : value[0] - '0';
}

int backend_wait(struct front *f, int state)
{
    for (u64 end = now() + PATIENCE; backend_state(f) != state; doze(start_info->store_evtchn))
        if (now() > end)
            return 0;
    return 1;
}

static void number(struct front *f, const char *key, u64 value)
{
    char path[128];
    join(path, f->path, key);
    store_write_number(path, value);
}

void front_publish(struct front *f)
{
    struct evtchn_alloc_unbound unbound = { DOMID_SELF, 0, 0 };
    hypercall(event_channel_op, EVTCHNOP_alloc_unbound, &unbound);
    mask(unbound.port);
    f->port = unbound.port;
    if (!f->ring)
        f->ring = page_alloc();
    memset(f->ring, 0, PAGE);
    f->ring->req_event = f->ring->rsp_event = 1;
    f->req_prod = f->rsp_cons = 0;
    f->ring_ref = grant(virt_to_mfn(f->ring), GRANT_WRITABLE, 0);
    number(f, "/ring-ref", f->ring_ref);
    number(f, "/event-channel", f->port);
    front_write(f, "/protocol", "x86_64-abi");
    front_write(f, "/feature-persistent", f->persistent ? "1" : "0");
}

int front_connect(struct front *f)
{
    char path[192], value[24];
    front_state(f, INITIALISING);
    if (!backend_wait(f, INIT_WAIT))
        return 0;
    front_publish(f);
    front_state(f, INITIALISED);
    if (!backend_wait(f, CONNECTED))
        return 0;
    join(path, f->backend, "/sectors");
    store_read(path, value, sizeof(value));
    f->sectors = 0;
    for (char *at = value; *at >= '0' && *at <= '9'; at++)
        f->sectors = f->sectors * 10 + *at - '0';
    front_state(f, CONNECTED);
    return 1;
}

int front_close(struct front *f)
{
    struct evtchn_port port = { f->port };
    front_state(f, CLOSING);
    front_state(f, CLOSED);
    int closed = backend_wait(f, CLOSED);
    hypercall(event_channel_op, EVTCHNOP_close, &port);
    if (!grant_end(f->ring_ref))
        closed = 0;
    return closed;
}

void put(struct front *f, const void *request)
{
    memcpy(&f->ring->entries[f->req_prod++ % 32], request, sizeof(struct request));
}

void push(struct front *f)
{
    struct evtchn_port port = { f->port };
    asm volatile("" : : : "memory");
    f->ring->req_prod = f->req_prod;
    hypercall(event_channel_op, EVTCHNOP_send, &port);
}

static long answer_within(struct front *f, u64 patience)
{
    for (u64 end = now() + patience; f->ring->rsp_prod == f->rsp_cons; doze(f->port)) {
        f->ring->rsp_event = f->rsp_cons + 1;
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (f->ring->rsp_prod != f->rsp_cons)
            break;
        if (now() > end)
            return NO_ANSWER;
    }
    struct { u64 id; u8 op; short status; } *response = (void *)&f->ring->entries[f->rsp_cons++ % 32];
    return response->status;
}

long answer(struct front *f) { return answer_within(f, PATIENCE); }
long answer_soon(struct front *f) { return answer_within(f, SOON); }

long send(struct front *f, const void *request)
{
    put(f, request);
    push(f);
    return answer(f);
}

long transfer(struct front *f, u8 op, u64 sector, u32 ref, u8 first, u8 last)
{
    struct request request = { op, 1, 0, 0, 1, sector, { { ref, first, last, 0 } } };
    return send(f, &request);
}
