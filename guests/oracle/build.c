/* Building an unprivileged PV domain as a toolstack does: domctls for the shell, foreign mappings for its memory. */
#include "dom0.h"

#define DOMCTL_INTERFACE_VERSION 0x15       /* Xen 4.17 */
enum {
    DOMCTL_createdomain = 1, DOMCTL_destroydomain, DOMCTL_pausedomain, DOMCTL_unpausedomain, DOMCTL_getdomaininfo,
    DOMCTL_max_mem = 11, DOMCTL_setvcpucontext, DOMCTL_max_vcpus = 15, DOMCTL_hypercall_init = 22,
};

struct createdomain {
    u32 ssidref;
    u8 handle[16];
    u32 flags, iommu_opts, max_vcpus, max_evtchn_port;
    s32 max_grant_frames, max_maptrack_frames;
    u32 grant_opts, vmtrace_size, cpupool_id, emulation_flags, misc_flags;
};
struct getdomaininfo {
    u16 domain, pad;
    u32 flags;
    u64 tot_pages, max_pages, outstanding_pages, shr_pages, paged_pages, shared_info_frame, cpu_time;
};
struct user_regs {
    u64 r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
    u32 error_code, entry_vector;
    u64 rip;
    u16 cs, pad0;
    u8 saved_upcall_mask, pad1[3];
    u64 rflags, rsp;
    u64 ss, es, ds, fs, gs;
};
struct whole_context {
    u8 fpu[512];
    u64 flags;
    struct user_regs user_regs;
    struct trap_info traps[256];
    u64 ldt_base, ldt_ents, gdt_frames[16], gdt_ents, kernel_ss, kernel_sp, ctrlreg[8], debugreg[8];
    u64 event_callback_eip, failsafe_callback_eip, syscall_callback_eip, vm_assist, fs_base, gs_base_kernel,
        gs_base_user;
};
struct domctl {
    u32 cmd, interface_version;
    u16 domain, pad[3];
    union {
        struct createdomain createdomain;
        struct getdomaininfo getdomaininfo;
        struct { u32 vcpu; struct whole_context *context; } vcpucontext;
        u64 max_memkb, gmfn;
        u32 max_vcpus;
        u8 pad[128];
    } u;
};

struct elf { u8 ident[16]; u16 type, machine; u32 version; u64 entry, phoff, shoff; u32 flags; u16 ehsize, phentsize,
             phnum; };
struct segment { u32 type, flags; u64 offset, vaddr, paddr, filesz, memsz, align; };

static u64 p2m[1 << 18];
static u8 windows[3][4096] aligned(4096);   /* console, store, and one that moves */

static long domctl(struct domain *d, u32 cmd, struct domctl *op)
{
    op->cmd = cmd;
    op->interface_version = DOMCTL_INTERFACE_VERSION;
    op->domain = d->domid;
    return hypercall(domctl, op);
}

/* Map a frame of the domain, or give the window its own page back. */
static void *window(struct domain *d, int n, u64 mfn)
{
    if (hypercall(update_va_mapping_otherdomain, windows[n], mfn * PAGE | KERNEL_PTE, UVMF_INVLPG | UVMF_LOCAL,
                  d->domid))
        printf("dom0: cannot map frame %lx\n", mfn);
    return windows[n];
}

static void unwindow(int n)
{
    page_writable(windows[n]);
}

static void store_page(struct domain *d, u64 pfn, const void *data, u64 length)
{
    u8 *page = window(d, 2, p2m[pfn]);
    memset(page, 0, PAGE);
    memcpy(page, data, length);
}

static void store_bytes(struct domain *d, u64 pa, const u8 *data, u64 length)
{
    while (length) {
        u64 part = PAGE - pa % PAGE;
        if (part > length)
            part = length;
        memcpy((u8 *)window(d, 2, p2m[pa / PAGE]) + pa % PAGE, data, part);
        pa += part, data += part, length -= part;
    }
}

struct notes { u64 entry, virt_base, hypercall_page; };

static void read_notes(struct notes *notes, const u8 *at, u64 size)
{
    const u8 *end = at + size;
    while (at + 12 < end) {
        const u32 *header = (const u32 *)at;
        const u8 *desc = at + 12 + ((header[0] + 3) & ~3u);
        u64 value = header[1] == 8 ? *(const u64 *)desc : header[1] == 4 ? *(const u32 *)desc : 0;
        if (header[0] == 4 && !memcmp(at + 12, "Xen", 4))
            switch (header[2]) {
            case 1: notes->entry = value; break;
            case 2: notes->hypercall_page = value; break;
            case 3: notes->virt_base = value; break;
            }
        at = desc + ((header[1] + 3) & ~3u);
    }
}

static u32 offer_port(struct domain *d, u32 *theirs)
{
    struct evtchn_alloc_unbound offer = { d->domid, 0, 0 };
    hypercall(event_channel_op, EVTCHNOP_alloc_unbound, &offer);
    struct evtchn_bind_interdomain bind = { d->domid, offer.port, 0 };
    hypercall(event_channel_op, EVTCHNOP_bind_interdomain, &bind);
    *theirs = offer.port;
    return bind.local_port;
}

static int create(struct domain *d)
{
    static u16 next = 1;
    static u64 pfns[1024];
    struct domctl op;
    d->domid = next++;
    memset(&op, 0, sizeof(op));
    op.u.createdomain = (struct createdomain){ .handle = { [15] = d->domid }, .max_vcpus = 1, .max_evtchn_port = -1,
        .max_grant_frames = -1, .max_maptrack_frames = -1, .grant_opts = 2 };
    long error = domctl(d, DOMCTL_createdomain, &op);
    memset(&op, 0, sizeof(op));
    op.u.max_vcpus = 1;
    error = error ? error : domctl(d, DOMCTL_max_vcpus, &op);
    memset(&op, 0, sizeof(op));
    op.u.max_memkb = d->nr_pages * 4 + 1024;
    error = error ? error : domctl(d, DOMCTL_max_mem, &op);
    for (u64 pfn = 0; !error && pfn < d->nr_pages; pfn += 1024) {
        u64 n = d->nr_pages - pfn < 1024 ? d->nr_pages - pfn : 1024;
        for (u64 i = 0; i < n; i++)
            pfns[i] = pfn + i;
        struct xen_memory_reservation all = { pfns, n, 0, 0, d->domid };
        if (hypercall(memory_op, XENMEM_populate_physmap, &all) != (long)n)
            error = -12;
        memcpy(&p2m[pfn], pfns, n * 8);
    }
    if (error)
        printf("dom0: cannot create a domain of %lu pages: %ld\n", d->nr_pages, error);
    return !error;
}

int build(struct domain *d, const struct file *kernel, const struct file *initrd, const struct file *cmdline)
{
    const struct elf *elf = (const struct elf *)kernel->data;
    const struct segment *segments = (const struct segment *)(kernel->data + elf->phoff);
    struct notes notes = { elf->entry, 0, 0 };
    struct domctl op;
    u64 end = 0;

    if (d->nr_pages > sizeof(p2m) / sizeof(*p2m) || !create(d))
        return 0;
    for (int i = 0; i < elf->phnum; i++)
        if (segments[i].type == 4)
            read_notes(&notes, kernel->data + segments[i].offset, segments[i].filesz);
    for (int i = 0; i < elf->phnum; i++)
        if (segments[i].type == 1) {
            u64 pa = segments[i].vaddr - notes.virt_base;
            if (segments[i].vaddr < notes.virt_base)
                pa = segments[i].paddr;
            store_bytes(d, pa, kernel->data + segments[i].offset, segments[i].filesz);
            if (pa + segments[i].memsz > end)
                end = pa + segments[i].memsz;
        }

    /* Pseudo-physical order, as the public header tells it: kernel, module, p2m, start_info, store, console, tables,
     * stack. */
    u64 module = (end + PAGE - 1) / PAGE;
    u64 p2m_at = module + (initrd ? (initrd->size + PAGE - 1) / PAGE : 0);
    u64 start = p2m_at + (d->nr_pages * 8 + PAGE - 1) / PAGE;
    u64 store = start + 1, console = start + 2, tables = start + 3;
    u64 counts[5], mapped, nr_tables = 4;
    for (u64 before = 0; nr_tables != before;) {
        before = nr_tables;
        mapped = ((tables + nr_tables + 1) * PAGE + (512 << 10) + (4 << 20) - 1) & ~((4ul << 20) - 1);
        nr_tables = 0;
        for (int level = 1; level <= 4; level++) {
            int shift = 12 + 9 * level;
            u64 first = notes.virt_base >> shift, last = (notes.virt_base + mapped - 1) >> shift;
            counts[level] = level == 4 ? 1 : last - first + 1;
            nr_tables += counts[level];
        }
    }
    u64 stack = tables + nr_tables;

    if (initrd)
        store_bytes(d, module * PAGE, initrd->data, initrd->size);
    store_bytes(d, p2m_at * PAGE, (const u8 *)p2m, d->nr_pages * 8);
    store_page(d, store, "", 0);
    store_page(d, console, "", 0);
    store_page(d, stack, "", 0);

    u64 base[5];                            /* first table of each level; the L4 comes first */
    base[4] = tables;
    for (int level = 3; level >= 1; level--)
        base[level] = base[level + 1] + counts[level + 1];
    for (int level = 4; level >= 1; level--)
        for (u64 i = 0; i < counts[level]; i++) {
            static u64 table[512];
            memset(table, 0, sizeof(table));
            u64 covers = level == 4 ? 0 : ((notes.virt_base >> (12 + 9 * level)) + i) << (12 + 9 * level);
            for (u64 n = 0; n < 512; n++) {
                u64 step = 1ul << (12 + 9 * (level - 1)), va = covers + n * step;
                if (level == 4 && va >> 47)
                    va |= 0xffff000000000000;
                if (va + (step - 1) < notes.virt_base || va > notes.virt_base + (mapped - 1))
                    continue;
                if (level == 1) {
                    u64 pfn = (va - notes.virt_base) / PAGE;
                    if (pfn < d->nr_pages)
                        table[n] = p2m[pfn] * PAGE | (pfn >= tables && pfn < stack ? 0x21 : 0x23);
                } else {
                    u64 below = (va >> (12 + 9 * (level - 1))) - (notes.virt_base >> (12 + 9 * (level - 1)));
                    table[n] = p2m[base[level - 1] + below] * PAGE | 0x67;
                }
            }
            store_page(d, base[level] + i, table, PAGE);
        }

    memset(&op, 0, sizeof(op));
    domctl(d, DOMCTL_getdomaininfo, &op);
    struct shared_info *shared = window(d, 2, op.u.getdomaininfo.shared_info_frame);
    memset(shared, 0, PAGE);
    for (int i = 0; i < 32; i++)
        shared->vcpu_info[i].evtchn_upcall_mask = 1;

    static struct start_info info;
    memset(&info, 0, sizeof(info));
    memcpy(info.magic, "xen-3.0-x86_64", 15);
    info.nr_pages = d->nr_pages;
    info.shared_info = op.u.getdomaininfo.shared_info_frame * PAGE;
    info.store_mfn = p2m[store];
    info.console.mfn = p2m[console];
    d->store_port = offer_port(d, &info.store_evtchn);
    d->console_port = offer_port(d, &info.console.evtchn);
    info.pt_base = notes.virt_base + tables * PAGE;
    info.nr_pt_frames = nr_tables;
    info.mfn_list = notes.virt_base + p2m_at * PAGE;
    if (initrd) {
        info.mod_start = notes.virt_base + module * PAGE;
        info.mod_len = initrd->size;
    }
    if (cmdline)
        memcpy(info.cmd_line, cmdline->data, cmdline->size < 1023 ? cmdline->size : 1023);
    store_page(d, start, &info, sizeof(info));

    d->store = window(d, 0, p2m[store]);
    d->console = window(d, 1, p2m[console]);
    unwindow(2);
    if (notes.hypercall_page) {
        memset(&op, 0, sizeof(op));
        op.u.gmfn = p2m[(notes.hypercall_page - notes.virt_base) / PAGE];
        domctl(d, DOMCTL_hypercall_init, &op);
    }

    struct mmuext_op pin = { MMUEXT_PIN_L4_TABLE, { p2m[tables] }, { 0 } };
    long error = hypercall(mmuext_op, &pin, 1, 0, d->domid);
    static struct whole_context context;
    memset(&context, 0, sizeof(context));
    context.flags = 1 << 2 | 1 << 5;
    context.user_regs = (struct user_regs){ .rip = notes.entry, .rsp = notes.virt_base + (stack + 1) * PAGE,
        .rsi = notes.virt_base + start * PAGE, .rflags = 0x200, .cs = FLAT_KERNEL_CS, .ss = FLAT_KERNEL_SS };
    context.kernel_ss = FLAT_KERNEL_SS;
    context.kernel_sp = context.user_regs.rsp;
    context.ctrlreg[3] = p2m[tables] * PAGE;
    memset(&op, 0, sizeof(op));
    op.u.vcpucontext.context = &context;
    error = error ? error : domctl(d, DOMCTL_setvcpucontext, &op);
    d->exception_port = bind_virq(VIRQ_DOM_EXC);
    memset(&op, 0, sizeof(op));
    error = error ? error : domctl(d, DOMCTL_unpausedomain, &op);
    if (error) {
        printf("dom0: cannot start the domain: %ld\n", error);
        destroy(d);
    }
    return !error;
}

int domain_shutdown(struct domain *d)
{
    struct domctl op;
    memset(&op, 0, sizeof(op));
    if (domctl(d, DOMCTL_getdomaininfo, &op) || op.u.getdomaininfo.domain != d->domid)
        return SHUTDOWN_crash;
    return op.u.getdomaininfo.flags & 4 ? (int)(op.u.getdomaininfo.flags >> 16 & 255) : -1;
}

void destroy(struct domain *d)
{
    u32 ports[] = { d->console_port, d->store_port, d->exception_port };
    struct domctl op;
    unwindow(0);
    unwindow(1);
    for (int i = 0; i < 3; i++) {
        struct evtchn_port close = { ports[i] };
        hypercall(event_channel_op, EVTCHNOP_close, &close);
    }
    long error;
    do {
        memset(&op, 0, sizeof(op));
        error = domctl(d, DOMCTL_destroydomain, &op);
    } while (error == -11 || error == -85);
}
