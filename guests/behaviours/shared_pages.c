/* The pages that a guest shares with Xen and with the backends are its own memory, and nothing else while they are shared. */
#include "kit.h"

static void attack(const char *name, u64 mfn)
{
    u64 *va = mfn_to_virt(mfn), gdt[1] = { mfn };
    long readonly = page_readonly(va);
    long l1 = mmuext(MMUEXT_PIN_L1_TABLE, mfn, 0), l2 = mmuext(MMUEXT_PIN_L2_TABLE, mfn, 0);
    long l3 = mmuext(MMUEXT_PIN_L3_TABLE, mfn, 0), l4 = mmuext(MMUEXT_PIN_L4_TABLE, mfn, 0);
    long root = mmuext(MMUEXT_NEW_BASEPTR, mfn, 0), user = mmuext(MMUEXT_NEW_USER_BASEPTR, mfn, 0);
    long descriptors = hypercall(set_gdt, gdt, 8);
    u64 window = 0xffffffffa0000000ul;
    map_page(window - 0x200000, 0);
    long hooked = pte_set(window, 2, mfn * PAGE | USER_PTE);
    long writable = page_writable(va);      /* it may be the console's: words can wait until here */
    printf("%s: read-only %ld, pinned as L1 %ld, L2 %ld, L3 %ld, L4 %ld, ", name, readonly, l1, l2, l3, l4);
    printf("root %ld, user's root %ld, GDT %ld, below an L2 %ld, writable %ld\n", root, user, descriptors, hooked, writable);
}

static void give_away(const char *name, u64 mfn)
{
    u64 in[1] = { mfn }, out[1] = { mfn_to_pfn(mfn) };
    struct xen_memory_exchange exchange = { { in, 1, 0, 0, DOMID_SELF }, { out, 1, 0, 0, DOMID_SELF }, 0 };
    printf("%s: exchange %ld, ", name, hypercall(memory_op, XENMEM_exchange, &exchange));
    struct gnttab_transfer t = { mfn, 0, 8, 99 };
    printf("transfer %ld ", hypercall(grant_table_op, GNTTABOP_transfer, &t, 1));
    printf("%d, ", t.status);
    struct xen_memory_reservation r = { in, 1, 0, 0, DOMID_SELF };
    printf("decrease %ld\n", hypercall(memory_op, XENMEM_decrease_reservation, &r));
}

void main(void)
{
    static u8 info_page[4096] aligned(4096);
    struct vcpu_register_vcpu_info info = { virt_to_mfn(info_page), 0, 0 };
    memcpy(info_page, (void *)vcpu_info, 64);
    printf("vcpu_info: %ld\n", hypercall(vcpu_op, VCPUOP_register_vcpu_info, 0, &info));
    vcpu_info = (struct vcpu_info *)info_page;

    attack("vcpu_info", info.mfn);
    attack("console", start_info->console.mfn);
    attack("store", start_info->store_mfn);
    give_away("vcpu_info", info.mfn);
    hypercall(update_va_mapping, mfn_to_virt(start_info->store_mfn), 0, UVMF_INVLPG);
    give_away("store, mapped nowhere", start_info->store_mfn);
    u64 again = 0xffffffffa1000000ul;
    map_page(again, 0);
    printf("mapped again %ld\n", pte_set(again, 1, start_info->store_mfn * PAGE | KERNEL_PTE));
    give_away("console", start_info->console.mfn);
    printf("the console still speaks\n");
}
