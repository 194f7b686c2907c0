/* A network frontend by hand (public/io/netif.h): the handshake, and its two rings. */
#pragma once
#include "../frontend/grants.h"
#include "../frontend/store.h"

#define NR_BUFFERS 32
#define ENTRIES 256

enum { INITIALISING = 1, INIT_WAIT, INITIALISED, CONNECTED, CLOSING, CLOSED };
enum { MORE_DATA = 4, EXTRA_INFO = 8 };
enum { OKAY = 0, ERROR = -1, DROPPED = -2, NO_ANSWER = -100 };

struct tx_request { u32 ref; u16 offset, flags, id, size; };
struct tx_response { u16 id; short status; };
struct rx_request { u16 id, pad; u32 ref; };
struct rx_response { u16 id, offset, flags; short status; };
struct ring_head {
    volatile u32 req_prod, req_event, rsp_prod, rsp_event;
    u8 pad[48];
};
struct tx_ring { struct ring_head head; struct tx_request entries[ENTRIES]; };
struct rx_ring { struct ring_head head; struct rx_request entries[ENTRIES]; };

struct card {
    char path[64], backend[128];
    struct tx_ring *tx;
    struct rx_ring *rx;
    u32 port, tx_ref, rx_ref, tx_prod, tx_cons, rx_prod, rx_cons;
    u8 *buffers[NR_BUFFERS];
    u32 refs[NR_BUFFERS];       /* of the buffers */
};

void card_find(struct card *c);                 /* the domain's only one */
int card_connect(struct card *c);
int card_close(struct card *c);                 /* until the backend has let go; 1 when it has, of all */
int backend_wait(struct card *c, int state);    /* 1 when it came to be so */

void put(struct card *c, u32 ref, u16 offset, u16 flags, u16 size);     /* a request to send */
void push(struct card *c);
void kick(struct card *c);                      /* an event, whatever is in the rings */
long answer(struct card *c);                    /* the next answer's status, or NO_ANSWER */
long send(struct card *c, u32 ref, u16 size);
void post(struct card *c, u32 ref);             /* a page to fill */
void post_buffer(struct card *c);               /* the next of its own */
/* The next frame of one page: its length or an error, and the page it is in; NO_ANSWER after so many ns. */
long receive(struct card *c, u64 patience, u8 **data);
