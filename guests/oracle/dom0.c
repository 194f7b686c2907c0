/* A dom0 for the oracle.  Under real Xen it takes a cpio archive (newc) of guest kernels as its initrd, runs each as an
 * unprivileged domain, relays its console to Xen's, and says how it ended:
 *
 *     == begin traps
 *     ...
 *     == end traps poweroff
 *
 * Beside `NAME` the archive may hold NAME.cmdline, NAME.initrd, NAME.pages (decimal) and NAME.seconds (decimal, the
 * longest it may run).  A kernel is an ELF with Xen notes.  xenstore answers, but knows nothing. */
#include "kit.h"
#include "dom0.h"

static struct file files[256];
static int nr_files;

static u64 hex8(const char *text)
{
    u64 value = 0;
    for (int i = 0; i < 8; i++)
        value = value * 16 + (text[i] <= '9' ? text[i] - '0' : (text[i] | 32) - 'a' + 10);
    return value;
}

static u64 decimal(const struct file *file, u64 otherwise)
{
    u64 value = 0;
    if (!file)
        return otherwise;
    for (u64 i = 0; i < file->size && file->data[i] >= '0' && file->data[i] <= '9'; i++)
        value = value * 10 + file->data[i] - '0';
    return value;
}

static void archive(const u8 *data, u64 size)
{
    for (u64 at = 0; at + 110 < size && nr_files < 256;) {
        const char *header = (const char *)data + at;
        u64 length = hex8(header + 54), name = hex8(header + 94);
        if (memcmp(header, "070701", 6) || !strcmp(header + 110, "TRAILER!!!"))
            return;
        u64 body = (at + 110 + name + 3) & ~3ul;
        files[nr_files++] = (struct file){ header + 110, data + body, length };
        at = (body + length + 3) & ~3ul;
    }
}

static const struct file *beside(const char *name, const char *suffix)
{
    u64 length = strlen(name);
    for (int i = 0; i < nr_files; i++)
        if (starts_with(files[i].name, name) && !strcmp(files[i].name + length, suffix))
            return &files[i];
    return NULL;
}

static int is_kernel(const char *name)
{
    for (; *name; name++)
        if (*name == '.')
            return 0;
    return 1;
}

void relay_console(struct domain *d)
{
    char out[256];
    u64 n = 0;
    struct xencons_interface *ring = d->console;
    u32 produced = ring->out_prod;
    for (; ring->out_cons != produced; ring->out_cons++) {
        char c = ring->out[ring->out_cons % sizeof(ring->out)];
        if (c != '\r')
            out[n++] = c;
        if (n == sizeof(out)) {
            console_write(out, n);
            n = 0;
        }
    }
    if (n)
        console_write(out, n);
    struct evtchn_port send = { d->console_port };
    hypercall(event_channel_op, EVTCHNOP_send, &send);
}

static const char *const endings[] = { "poweroff", "reboot", "suspend", "crash", "watchdog", "soft_reset" };

static void run(const struct file *kernel)
{
    static struct domain d;
    memset(&d, 0, sizeof(d));
    d.nr_pages = decimal(beside(kernel->name, ".pages"), 4096);
    printf("== begin %s\n", kernel->name);
    if (!build(&d, kernel, beside(kernel->name, ".initrd"), beside(kernel->name, ".cmdline"))) {
        printf("== end %s not-built\n", kernel->name);
        return;
    }
    u64 end = now() + decimal(beside(kernel->name, ".seconds"), 20) * 1000000000;
    const char *how = NULL;
    int reason = -1;
    while (!how) {
        u32 ports[] = { d.console_port, d.store_port, d.exception_port };
        struct sched_poll poll = { ports, 3, now() + 200000000 };
        hypercall(sched_op, SCHEDOP_poll, &poll);
        for (int i = 0; i < 3; i++)
            __atomic_and_fetch(&shared_info->evtchn_pending[ports[i] / 64], ~(1ul << ports[i] % 64), __ATOMIC_SEQ_CST);
        relay_console(&d);
        answer_store(&d);
        reason = domain_shutdown(&d);
        if (reason >= 0)
            how = reason < 6 ? endings[reason] : "";
        else if (now() > end)
            how = "timeout";
    }
    relay_console(&d);
    destroy(&d);
    printf("\n== end %s %s", kernel->name, how);
    if (reason >= 6)
        printf("%d", reason);
    printf("\n");
}

void main(void)
{
    archive((const u8 *)start_info->mod_start, start_info->mod_len);
    for (int i = 0; i < nr_files; i++)
        if (is_kernel(files[i].name))
            run(&files[i]);
    printf("== done\n");
    shutdown(SHUTDOWN_reboot);
}
