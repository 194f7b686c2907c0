/* A block frontend by hand (public/io/blkif.h): grants, the handshake, the ring. */
#pragma once
#include "../frontend/grants.h"
#include "../frontend/store.h"

#define SECTOR 512

enum { INITIALISING = 1, INIT_WAIT, INITIALISED, CONNECTED, CLOSING, CLOSED };
enum { OP_READ, OP_WRITE, OP_BARRIER, OP_FLUSH, OP_DISCARD = 5, OP_INDIRECT };
enum { OKAY = 0, ERROR = -1, NOT_SUPPORTED = -2, NO_ANSWER = -100 };

struct segment { u32 ref; u8 first, last; u16 pad; };
struct request {
    u8 op, nr_segments;
    u16 handle;
    u32 pad;
    u64 id, sector;
    struct segment segments[11];
};
struct indirect_request {
    u8 op, indirect_op;
    u16 nr_segments;
    u32 pad;
    u64 id, sector;
    u16 handle, pad2;
    u32 refs[8];
    u8 rest[52];
};
struct discard_request {
    u8 op, flag;
    u16 handle;
    u32 pad;
    u64 id, sector, nr_sectors;
    u8 rest[80];
};
struct ring {
    volatile u32 req_prod, req_event, rsp_prod, rsp_event;
    u8 pad[48];
    struct request entries[32];
};
struct front {
    char path[64], backend[128];
    struct ring *ring;
    u32 port, ring_ref, req_prod, rsp_cons;
    u64 sectors;
    int persistent;             /* ask for it when connecting */
};

void front_find(struct front *f);               /* the domain's only disk */
const char *front_write(struct front *f, const char *key, const char *value);
int front_state(struct front *f, int state);    /* become that; 1 when the store took it */
int backend_state(struct front *f);
int backend_wait(struct front *f, int state);   /* 1 when it came to be so */
void front_publish(struct front *f);            /* a new ring and channel, not yet announced */
int front_connect(struct front *f);
int front_close(struct front *f);               /* until the backend has let go; 1 when it has */

void put(struct front *f, const void *request); /* any of the three */
void push(struct front *f);
long answer(struct front *f);                   /* the next response's status, or NO_ANSWER */
long answer_soon(struct front *f);              /* where none is expected: waits no longer than 50 ms */
long send(struct front *f, const void *request);
long transfer(struct front *f, u8 op, u64 sector, u32 ref, u8 first, u8 last);
