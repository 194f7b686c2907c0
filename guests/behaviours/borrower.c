/* Maps reference 22 of domain 1 and unmaps it, for a second and for a hundred times at least: how often, and how long
 * it took. */
#include "kit.h"

static u8 window[4096] aligned(4096);

static void borrow(void)
{
    struct gnttab_map_grant_ref map = { .host_addr = (u64)window, .flags = 2 /* host_map */, .ref = 22, .dom = 1 };
    hypercall(grant_table_op, GNTTABOP_map_grant_ref, &map, 1);
    if (map.status) {
        printf("refused: %d\n", map.status);
        return;
    }
    struct gnttab_unmap_grant_ref unmap = { (u64)window, 0, map.handle, 0 };
    hypercall(grant_table_op, GNTTABOP_unmap_grant_ref, &unmap, 1);
}

void main(void)
{
    u64 start = now(), longest = 0;
    int pairs = 0, late = 0;
    for (; pairs < 100 || now() - start < 1000000000; pairs++) {
        u64 before = now();
        borrow();
        u64 took = now() - before;
        if (took > longest)
            longest = took;
        late += took > 50000000;
    }
    printf("%d pairs, %d of them over 50 ms, the longest %lu us\n", pairs, late, longest / 1000);
}
