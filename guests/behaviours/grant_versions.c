/* Who takes back what it shares: the version of the grant table while its status frames are mapped; and what domain 0
 * never granted. */
#include "kit.h"

static void say(const char *name, long result) { printf("%s: %ld\n", name, result); }
static u8 window[4096] aligned(4096), second[4096] aligned(4096);

static void set_version(u32 version)
{
    struct gnttab_set_version set = { version };
    long result = hypercall(grant_table_op, GNTTABOP_set_version, &set, 1);
    struct gnttab_get_version get = { DOMID_SELF, 0, 99 };
    hypercall(grant_table_op, GNTTABOP_get_version, &get, 1);
    printf("set version %u: %ld, says %u, is %u\n", version, result, set.version, get.version);
}

static u64 status_frame(u32 nr_frames)
{
    u64 frames[8] = { 0 };
    struct gnttab_get_status_frames get = { nr_frames, DOMID_SELF, 99, frames };
    say("get status frames", hypercall(grant_table_op, GNTTABOP_get_status_frames, &get, 1));
    printf("%u frames: status %d, a frame %d\n", nr_frames, get.status, frames[0] != 0);
    return frames[0];
}

static long map(void *va, u64 entry) { return hypercall(update_va_mapping, va, entry, UVMF_INVLPG); }

static void status_frames(void)
{
    u64 old = *pte_of((u64)window, 1), frame;
    status_frame(1);
    set_version(2);
    status_frame(9);
    frame = status_frame(1);
    say("map it read-only", map(window, frame * PAGE | (KERNEL_PTE & ~PTE_W)));
    set_version(1);
    say("map it again", map(second, frame * PAGE | KERNEL_PTE));
    say("unmap one", map(window, old));
    set_version(1);
    set_version(2);
    ((volatile u16 *)second)[100] = 3;
    printf("status 100 is %x\n", ((volatile u16 *)second)[100]);
    say("unmap the other, without a flush", hypercall(update_va_mapping, second, 0, 0));
    set_version(1);
    status_frame(1);
    say("map what it was", map(window, frame * PAGE | KERNEL_PTE));
    set_version(2);
    frame = status_frame(1);
    say("map the new one", map(window, frame * PAGE | KERNEL_PTE));
    printf("status 100 is %x\n", ((volatile u16 *)window)[100]);
    say("grow", map(window, 0));
    u64 frames[64];
    struct gnttab_setup_table setup = { DOMID_SELF, 12, 99, frames };
    hypercall(grant_table_op, GNTTABOP_setup_table, &setup, 1);
    frame = status_frame(2);
    struct gnttab_get_status_frames get = { 2, DOMID_SELF, 99, frames };
    hypercall(grant_table_op, GNTTABOP_get_status_frames, &get, 1);
    say("map the second", map(window, frames[1] * PAGE | KERNEL_PTE));
    set_version(1);
    set_version(2);
    say("unmap it", map(window, 0));
    set_version(1);
}

static void of_domain(u16 domid)
{
    static const u32 refs[] = { 0, 8, 40, 300, 511, 1000000, 0xffffffff };
    printf("domain %u\n", domid);
    for (u32 i = 0; i < sizeof(refs) / sizeof(refs[0]); i++) {
        struct gnttab_map_grant_ref map = { (u64)window, 2, refs[i], domid, 99, 0, 0 };
        long result = hypercall(grant_table_op, GNTTABOP_map_grant_ref, &map, 1);
        struct gnttab_copy from = { { { .ref = refs[i] }, domid, 0 },
                                    { { .gmfn = virt_to_mfn(second) }, DOMID_SELF, 0 }, 16, 1, 99 };
        hypercall(grant_table_op, GNTTABOP_copy, &from, 1);
        struct gnttab_copy to = { { { .gmfn = virt_to_mfn(second) }, DOMID_SELF, 0 }, { { .ref = refs[i] }, domid, 0 },
                                  16, 2, 99 };
        hypercall(grant_table_op, GNTTABOP_copy, &to, 1);
        printf("reference %u: map %ld, status %d; copy from %d, to %d\n", refs[i], result, map.status, from.status,
               to.status);
    }
    struct gnttab_copy frame = { { { .gmfn = 1 }, domid, 0 }, { { .gmfn = virt_to_mfn(second) }, DOMID_SELF, 0 }, 16, 0,
                                 99 };
    hypercall(grant_table_op, GNTTABOP_copy, &frame, 1);
    printf("copy from a frame of its: %d\n", frame.status);
    for (u32 i = 1; i < 6; i += 4) {
        void *page = page_alloc();
        struct gnttab_transfer give = { virt_to_mfn(page), domid, refs[i], 99 };
        map(page, 0);
        long result = hypercall(grant_table_op, GNTTABOP_transfer, &give, 1);
        printf("transfer to its reference %u: %ld, status %d\n", refs[i], result, give.status);
    }
    struct gnttab_query_size size = { domid, 0, 0, 99 };
    hypercall(grant_table_op, GNTTABOP_query_size, &size, 1);
    printf("size of its table: %d\n", size.status);
    struct evtchn_bind_interdomain bind = { domid, 4000, 0 };
    say("bind to a port of its", hypercall(event_channel_op, EVTCHNOP_bind_interdomain, &bind));
}

void main(void)
{
    map(second, 0);
    map(window, 0);
    status_frames();
    map(second, virt_to_mfn(page_alloc()) * PAGE | KERNEL_PTE);
    of_domain(0);
    of_domain(77);
    of_domain(DOMID_XEN);
    of_domain(DOMID_IO);
}
