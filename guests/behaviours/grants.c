/* Grant table: its frames and its versions. */
#include "kit.h"

static void say(const char *name, long result) { printf("%s: %ld\n", name, result); }

void main(void)
{
    static u8 window[4096] aligned(4096);
    u64 frames[64];
    struct gnttab_query_size size = { DOMID_SELF, 0, 0, 99 };
    say("query size", hypercall(grant_table_op, GNTTABOP_query_size, &size, 1));
    printf("status %d, frames %u, more than that possible %d\n", size.status, size.nr_frames,
           size.max_nr_frames > size.nr_frames);
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
    say("command 99", hypercall(grant_table_op, 99, &set, 1));
}
