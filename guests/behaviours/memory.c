/* memory_op: frames given back, asked for, exchanged; what the frame table then says of them. */
#include "kit.h"

static void say(const char *name, long result) { printf("%s: %ld\n", name, result); }

void main(void)
{
    u16 self = DOMID_SELF;
    u64 pages[4], mfn[4];
    long before = hypercall(memory_op, XENMEM_current_reservation, &self);
    for (int i = 0; i < 4; i++) {
        void *page = page_alloc();
        pages[i] = virt_to_pfn(page);
        mfn[i] = virt_to_mfn(page);
        hypercall(update_va_mapping, page, 0, UVMF_INVLPG);
    }
    struct xen_memory_reservation r = { mfn, 4, 0, 0, DOMID_SELF };
    say("give four", hypercall(memory_op, XENMEM_decrease_reservation, &r));
    say("fewer by", before - hypercall(memory_op, XENMEM_current_reservation, &self));
    say("give them again", hypercall(memory_op, XENMEM_decrease_reservation, &r));
    say("map one", hypercall(update_va_mapping, pfn_to_virt(pages[0]), mfn[0] * PAGE | KERNEL_PTE, UVMF_INVLPG));
    u64 gpfn[4] = { pages[0], pages[1], pages[2], pages[3] };
    r = (struct xen_memory_reservation){ gpfn, 4, 0, 0, DOMID_SELF };
    say("populate four", hypercall(memory_op, XENMEM_populate_physmap, &r));
    printf("m2p set: %d\n", mfn_to_pfn(gpfn[0]) == pages[0] && mfn_to_pfn(gpfn[3]) == pages[3]);
    say("map one", hypercall(update_va_mapping, pfn_to_virt(pages[0]), gpfn[0] * PAGE | KERNEL_PTE, UVMF_INVLPG));
    printf("as many as before: %d\n", hypercall(memory_op, XENMEM_current_reservation, &self) == before);
    u64 sum = 0;
    for (int i = 0; i < 512; i++)
        sum |= ((u64 *)pfn_to_virt(pages[0]))[i];
    printf("scrubbed: %d\n", !sum);
    u64 extent[2] = { 0 };
    r = (struct xen_memory_reservation){ extent, 1, 0, 0, DOMID_SELF };
    say("increase by one", hypercall(memory_op, XENMEM_increase_reservation, &r));
    printf("m2p of it: %lx\n", mfn_to_pfn(extent[0]));
    r.extent_order = 1;
    say("increase by order 1", hypercall(memory_op, XENMEM_increase_reservation, &r));
    r.extent_order = 9;
    say("increase by order 9", hypercall(memory_op, XENMEM_increase_reservation, &r));
    r.extent_order = 25;
    say("increase by order 25", hypercall(memory_op, XENMEM_increase_reservation, &r));
    r = (struct xen_memory_reservation){ extent, 0, 0, 0, DOMID_SELF };
    say("increase by none", hypercall(memory_op, XENMEM_increase_reservation, &r));
    r = (struct xen_memory_reservation){ extent, 1, 0, 0, 77 };
    say("increase domain 77", hypercall(memory_op, XENMEM_increase_reservation, &r));
    r = (struct xen_memory_reservation){ extent, 1, 0, 0, 0 };
    say("increase domain 0", hypercall(memory_op, XENMEM_increase_reservation, &r));
    r = (struct xen_memory_reservation){ (u64 *)0x1000, 1, 0, 0, DOMID_SELF };
    say("decrease, bad pointer", hypercall(memory_op, XENMEM_decrease_reservation, &r));
    say("populate, bad pointer", hypercall(memory_op, XENMEM_populate_physmap, &r));
    r = (struct xen_memory_reservation){ extent, 1ul << 60, 0, 0, DOMID_SELF };
    say("decrease, absurd count", hypercall(memory_op, XENMEM_decrease_reservation, &r));
    extent[0] = 0x123456789;
    r = (struct xen_memory_reservation){ extent, 1, 0, 0, DOMID_SELF };
    say("decrease, no such frame", hypercall(memory_op, XENMEM_decrease_reservation, &r));
    extent[0] = gpfn[1], extent[1] = 0;
    r.nr_extents = 2;
    say("decrease, the second bad", hypercall(memory_op, XENMEM_decrease_reservation, &r));

    u64 in[2] = { gpfn[2], gpfn[3] }, out[2] = { pages[2], pages[3] };
    struct xen_memory_exchange exchange = { { in, 2, 0, 0, DOMID_SELF }, { out, 2, 0, 0, DOMID_SELF }, 0 };
    say("exchange two", hypercall(memory_op, XENMEM_exchange, &exchange));
    printf("exchanged %lu, new m2p right %d\n", exchange.nr_exchanged, mfn_to_pfn(out[0]) == pages[2]);
    say("map a new one", hypercall(update_va_mapping, pfn_to_virt(pages[2]), out[0] * PAGE | KERNEL_PTE, UVMF_INVLPG));
    exchange.nr_exchanged = 0;
    exchange.in.extent_order = 1;
    say("exchange of unlike sizes", hypercall(memory_op, XENMEM_exchange, &exchange));
}
