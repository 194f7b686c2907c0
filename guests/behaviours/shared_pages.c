/* The pages that a guest shares with Xen and with the backends are its own memory, and nothing else while they are
 * shared. */
#include "kit.h"

static const u64 window = 0xffffffffa0000000ul;

static void attack_at(void *va, const char *name, u64 mfn)
{
    u64 gdt[1] = { mfn };
    long readonly = hypercall(update_va_mapping, va, mfn * PAGE | PTE_P | PTE_A | PTE_D, UVMF_INVLPG | UVMF_LOCAL);
    long l1 = mmuext(MMUEXT_PIN_L1_TABLE, mfn, 0), l2 = mmuext(MMUEXT_PIN_L2_TABLE, mfn, 0);
    long l3 = mmuext(MMUEXT_PIN_L3_TABLE, mfn, 0), l4 = mmuext(MMUEXT_PIN_L4_TABLE, mfn, 0);
    long root = mmuext(MMUEXT_NEW_BASEPTR, mfn, 0), user = mmuext(MMUEXT_NEW_USER_BASEPTR, mfn, 0);
    long descriptors = hypercall(set_gdt, gdt, 8);
    long hooked = pte_set(window + 0x200000, 2, mfn * PAGE | USER_PTE);
    long writable = hypercall(update_va_mapping, va, mfn * PAGE | KERNEL_PTE, UVMF_INVLPG | UVMF_LOCAL);
    /* it may be the console's: words can wait until here */
    printf("%s: read-only %ld, pinned as L1 %ld, L2 %ld, L3 %ld, L4 %ld, ", name, readonly, l1, l2, l3, l4);
    printf("root %ld, user's root %ld, GDT %ld, below an L2 %ld, writable %ld\n", root, user, descriptors, hooked,
           writable);
}

static void attack(const char *name, u64 mfn) { attack_at(mfn_to_virt(mfn), name, mfn); }

static void give_away(const char *name, u64 mfn)
{
    u64 in[1] = { mfn }, out[1] = { 1000 };
    struct xen_memory_exchange exchange = { { in, 1, 0, 0, DOMID_SELF }, { out, 1, 0, 0, DOMID_SELF }, 0 };
    printf("%s: exchange %ld, ", name, hypercall(memory_op, XENMEM_exchange, &exchange));
    struct gnttab_transfer t = { mfn, 0, 8, 99 };
    printf("transfer %ld ", hypercall(grant_table_op, GNTTABOP_transfer, &t, 1));
    printf("%d, ", t.status);
    struct xen_memory_reservation r = { in, 1, 0, 0, DOMID_SELF };
    printf("decrease %ld\n", hypercall(memory_op, XENMEM_decrease_reservation, &r));
}

/* Not mapped, and pinned nowhere: nothing holds it but who shares it. */
static void give_away_unmapped(const char *name, u64 mfn)
{
    hypercall(update_va_mapping, mfn_to_virt(mfn), 0, UVMF_INVLPG);
    give_away(name, mfn);
    printf("mapped again %ld\n", pte_set(window, 1, mfn * PAGE | KERNEL_PTE));
    pte_set(window, 1, 0);
}

static void frames_of_xen(void)
{

    u64 frames[1] = { 0 }, status[1] = { 0 };
    struct gnttab_set_version version = { 2 };
    struct gnttab_setup_table setup = { DOMID_SELF, 1, 99, frames };
    struct gnttab_get_status_frames get = { 1, DOMID_SELF, 99, status };
    hypercall(grant_table_op, GNTTABOP_set_version, &version, 1);
    hypercall(grant_table_op, GNTTABOP_setup_table, &setup, 1);
    hypercall(grant_table_op, GNTTABOP_get_status_frames, &get, 1);
    attack_at((void *)window, "grant table", frames[0]);
    give_away("grant table", frames[0]);
    attack_at((void *)window, "grant status", status[0]);
    give_away("grant status", status[0]);
    attack_at((void *)window, "shared_info", start_info->shared_info / PAGE);
    give_away("shared_info", start_info->shared_info / PAGE);
}

static void event_pages(void)
{
    u64 control_page = virt_to_mfn(page_alloc()), array_page = virt_to_mfn(page_alloc());
    struct evtchn_init_control control = { .control_gfn = control_page };
    printf("event control block: %ld\n", hypercall(event_channel_op, EVTCHNOP_init_control, &control));
    printf("event array: %ld\n", hypercall(event_channel_op, EVTCHNOP_expand_array, &array_page));
    attack("event control block", control_page);
    attack("event array", array_page);
    give_away_unmapped("event control block", control_page);
    give_away_unmapped("event array", array_page);
}

void main(void)
{
    static u8 info_page[4096] aligned(4096);
    struct vcpu_register_vcpu_info info = { virt_to_mfn(info_page), 0, 0 };
    memcpy(info_page, (void *)vcpu_info, 64);
    printf("vcpu_info: %ld\n", hypercall(vcpu_op, VCPUOP_register_vcpu_info, 0, &info));
    vcpu_info = (struct vcpu_info *)info_page;
    map_page(window, 0);

    attack("vcpu_info", info.mfn);
    attack("console", start_info->console.mfn);
    attack("store", start_info->store_mfn);
    give_away("vcpu_info", info.mfn);
    give_away_unmapped("store, mapped nowhere", start_info->store_mfn);
    give_away("console", start_info->console.mfn);
    frames_of_xen();
    event_pages();
    printf("the console still speaks\n");
}
