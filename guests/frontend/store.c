#include "store.h"

enum { XS_DIRECTORY = 1, XS_READ = 2, XS_WRITE = 11, XS_RM = 13, XS_ERROR = 16 };
struct header { u32 type, req_id, tx_id, len; };
struct xenstore_interface {
    u8 req[1024], rsp[1024];
    volatile u32 req_cons, req_prod, rsp_cons, rsp_prod;
};

static struct xenstore_interface *ring(void) { return mfn_to_virt(start_info->store_mfn); }

static void notify(void)
{
    struct evtchn_port send = { start_info->store_evtchn };
    hypercall(event_channel_op, EVTCHNOP_send, &send);
}

static void put(const void *data, u32 length)
{
    for (u32 i = 0; i < length; i++) {
        while (ring()->req_prod - ring()->req_cons == sizeof(ring()->req)) {
            notify();
            hypercall(sched_op, SCHEDOP_yield, 0);
        }
        ring()->req[ring()->req_prod % sizeof(ring()->req)] = ((const u8 *)data)[i];
        asm volatile("" : : : "memory");
        ring()->req_prod++;
    }
}

/* `room` of the bytes go to data, the rest nowhere. */
static void get(void *data, u32 length, u32 room)
{
    for (u32 i = 0; i < length; i++) {
        while (ring()->rsp_prod == ring()->rsp_cons)
            hypercall(sched_op, SCHEDOP_yield, 0);
        if (i < room)
            ((u8 *)data)[i] = ring()->rsp[ring()->rsp_cons % sizeof(ring()->rsp)];
        asm volatile("" : : : "memory");
        ring()->rsp_cons++;
    }
}

static const char *ask(u32 type, const char *path, const char *value, char *answer, u64 room)
{
    static char error[32];
    struct header header = { type, 1, 0, strlen(path) + 1 };
    if (type == XS_WRITE)
        header.len += strlen(value);
    put(&header, sizeof(header));
    put(path, strlen(path) + 1);
    if (type == XS_WRITE)
        put(value, strlen(value));
    notify();
    get(&header, sizeof(header), sizeof(header));
    char *into = header.type == XS_ERROR ? error : answer;
    u64 most = header.type == XS_ERROR ? sizeof(error) : into ? room : 0;
    get(into, header.len, most ? most - 2 : 0);
    if (most) {
        u64 end = header.len < most - 2 ? header.len : most - 2;
        into[end] = into[end + 1] = 0;
    }
    notify();
    return header.type == XS_ERROR ? error : NULL;
}

const char *store_read(const char *path, char *value, u64 room) { return ask(XS_READ, path, NULL, value, room); }
const char *store_write(const char *path, const char *value) { return ask(XS_WRITE, path, value, NULL, 0); }
const char *store_remove(const char *path) { return ask(XS_RM, path, NULL, NULL, 0); }
const char *store_list(const char *path, char *names, u64 room) { return ask(XS_DIRECTORY, path, NULL, names, room); }

const char *store_write_number(const char *path, u64 value)
{
    char text[24], *at = text + sizeof(text) - 1;
    *at = 0;
    do
        *--at = '0' + value % 10;
    while (value /= 10);
    return store_write(path, at);
}
