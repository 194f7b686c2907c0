/* Grant table: its frames, its versions, a page granted to ourselves, mapped, copied, taken back. */
#include "kit.h"

static void say(const char *name, long result) { printf("%s: %ld\n", name, result); }

void main(void)
{
    static u8 window[4096] aligned(4096);
    u64 frames[64];
    struct gnttab_query_size size = { DOMID_SELF, 0, 0, 99 };
    say("query size", hypercall(grant_table_op, GNTTABOP_query_size, &size, 1));
    printf("status %d, frames %u, more than that possible %d\n", size.status, size.nr_frames, size.max_nr_frames > size.nr_frames);
    struct gnttab_get_version version = { DOMID_SELF, 0, 99 };
    say("get version", hypercall(grant_table_op, GNTTABOP_get_version, &version, 1));
    printf("version %u\n", version.version);
    struct gnttab_setup_table setup = { DOMID_SELF, 1, 99, frames };
    say("setup one frame", hypercall(grant_table_op, GNTTABOP_setup_table, &setup, 1));
    printf("status %d\n", setup.status);
    setup = (struct gnttab_setup_table){ DOMID_SELF, 4, 99, frames };
    say("setup four frames", hypercall(grant_table_op, GNTTABOP_setup_table, &setup, 1));
    printf("status %d\n", setup.status);
    setup = (struct gnttab_setup_table){ DOMID_SELF, 100000, 99, frames };
    say("setup too many", hypercall(grant_table_op, GNTTABOP_setup_table, &setup, 1));
    printf("status %d\n", setup.status);
    setup = (struct gnttab_setup_table){ 77, 1, 99, frames };
    say("setup of domain 77", hypercall(grant_table_op, GNTTABOP_setup_table, &setup, 1));
    printf("status %d\n", setup.status);
    setup = (struct gnttab_setup_table){ 0, 1, 99, frames };
    say("setup of domain 0", hypercall(grant_table_op, GNTTABOP_setup_table, &setup, 1));
    printf("status %d\n", setup.status);
    say("map the table", hypercall(update_va_mapping, window, frames[0] * PAGE | KERNEL_PTE, UVMF_INVLPG));
    volatile struct grant_entry_v1 *table = (void *)window;
    printf("entry 100: flags %x\n", table[100].flags);
    struct gnttab_set_version set = { 3 };
    say("set version 3", hypercall(grant_table_op, GNTTABOP_set_version, &set, 1));
    set.version = 1;
    say("set version 1", hypercall(grant_table_op, GNTTABOP_set_version, &set, 1));

    /* map a reference that grants nothing, then one of domain 0, then of no domain */
    struct gnttab_map_grant_ref map = { (u64)page_alloc(), 2, 100, DOMID_SELF, 99, 0, 0 };
    say("map an empty reference of ours", hypercall(grant_table_op, GNTTABOP_map_grant_ref, &map, 1));
    printf("status %d\n", map.status);
    map.dom = 77;
    say("map of domain 77", hypercall(grant_table_op, GNTTABOP_map_grant_ref, &map, 1));
    printf("status %d\n", map.status);
    map.dom = DOMID_SELF, map.ref = 1000000;
    say("map reference 1000000", hypercall(grant_table_op, GNTTABOP_map_grant_ref, &map, 1));
    printf("status %d\n", map.status);
    map.ref = 100, map.flags = 0;
    say("map with no flags", hypercall(grant_table_op, GNTTABOP_map_grant_ref, &map, 1));
    printf("status %d\n", map.status);
    struct gnttab_unmap_grant_ref unmap = { map.host_addr, 0, 0, 99 };
    say("unmap a handle we have not", hypercall(grant_table_op, GNTTABOP_unmap_grant_ref, &unmap, 1));
    printf("status %d\n", unmap.status);

    u64 *from = page_alloc(), *to = page_alloc();
    from[0] = 0x1111, from[1] = 0x2222;
    struct gnttab_copy copy = { { { .gmfn = virt_to_mfn(from) }, DOMID_SELF, 0 }, { { .gmfn = virt_to_mfn(to) }, DOMID_SELF, 16 }, 16, 0, 99 };
    say("copy between our frames", hypercall(grant_table_op, GNTTABOP_copy, &copy, 1));
    printf("status %d, words %lx %lx\n", copy.status, to[2], to[3]);
    copy.len = 4096;
    say("copy across the end", hypercall(grant_table_op, GNTTABOP_copy, &copy, 1));
    printf("status %d\n", copy.status);
    copy.len = 16, copy.dest.u.gmfn = l4_mfn();
    say("copy into a page table", hypercall(grant_table_op, GNTTABOP_copy, &copy, 1));
    printf("status %d\n", copy.status);
    copy.dest.u.gmfn = 0;
    say("copy into frame 0", hypercall(grant_table_op, GNTTABOP_copy, &copy, 1));
    printf("status %d\n", copy.status);
    copy = (struct gnttab_copy){ { { .ref = 100 }, DOMID_SELF, 0 }, { { .gmfn = virt_to_mfn(to) }, DOMID_SELF, 0 }, 16, 1, 99 };
    say("copy from an empty reference", hypercall(grant_table_op, GNTTABOP_copy, &copy, 1));
    printf("status %d\n", copy.status);
    copy.source.domid = 77;
    say("copy from domain 77", hypercall(grant_table_op, GNTTABOP_copy, &copy, 1));
    printf("status %d\n", copy.status);
    say("none of anything", hypercall(grant_table_op, GNTTABOP_copy, &copy, 0));
    say("command 99", hypercall(grant_table_op, 99, &copy, 1));
    say("bad pointer", hypercall(grant_table_op, GNTTABOP_copy, 0x1000, 1));
    say("huge count", hypercall(grant_table_op, GNTTABOP_copy, &copy, 0x80000000));
}
