/* Using grants: references mapped and copied, pages of our own copied, and every refusal's status. */
#include "kit.h"

static void say(const char *name, long result) { printf("%s: %ld\n", name, result); }

void main(void)
{
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
    struct gnttab_copy copy = { { { .gmfn = virt_to_mfn(from) }, DOMID_SELF, 0 },
                                { { .gmfn = virt_to_mfn(to) }, DOMID_SELF, 16 }, 16, 0, 99 };
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
    copy = (struct gnttab_copy){ { { .ref = 100 }, DOMID_SELF, 0 }, { { .gmfn = virt_to_mfn(to) }, DOMID_SELF, 0 }, 16,
                                 1, 99 };
    say("copy from an empty reference", hypercall(grant_table_op, GNTTABOP_copy, &copy, 1));
    printf("status %d\n", copy.status);
    copy.source.domid = 77;
    say("copy from domain 77", hypercall(grant_table_op, GNTTABOP_copy, &copy, 1));
    printf("status %d\n", copy.status);
    say("none of anything", hypercall(grant_table_op, GNTTABOP_copy, &copy, 0));
    say("bad pointer", hypercall(grant_table_op, GNTTABOP_copy, 0x1000, 1));
    say("huge count", hypercall(grant_table_op, GNTTABOP_copy, &copy, 0x80000000));
}
