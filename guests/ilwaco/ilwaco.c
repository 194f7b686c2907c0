/* Ilwaco: the guest that boots when there is nothing else.  A prompt, and what a paravirtual machine looks like from
 * inside.  The name is that of Denali's own little guest OS. */
#include "kit.h"

static u64 hypercalls_made, ticks, events_seen, started;

static u32 timer_port;

static void set_timer(u64 when)
{
    hypercalls_made++;
    hypercall(set_timer_op, when);
}

static void tick(u32 port)
{
    (void)port;
    ticks++;
    set_timer(now() + 1000000000);
}

static void console_event(u32 port)
{
    (void)port;
    events_seen++;
}

static void version(void)
{
    char text[1024] = { 0 };
    long v = hypercall(xen_version, XENVER_version, 0);
    hypercall(xen_version, XENVER_extraversion, text);
    printf("a paravirtual machine on Xen's interface %ld.%ld%s\n", v >> 16, v & 0xffff, text);
}

static void show_memory(const char *argument)
{
    (void)argument;
    u64 first = pfn_to_mfn(0), runs = 1;
    for (u64 pfn = 1; pfn < start_info->nr_pages; pfn++)
        runs += pfn_to_mfn(pfn) != pfn_to_mfn(pfn - 1) + 1;
    u16 domid = DOMID_SELF;
    hypercalls_made += 2;
    printf("%lu pages of 4 KiB: %lu MiB (may grow to %ld pages, holds %ld)\n", start_info->nr_pages,
           start_info->nr_pages >> 8,
           hypercall(memory_op, XENMEM_maximum_reservation, &domid),
               hypercall(memory_op, XENMEM_current_reservation, &domid));
    printf("pseudo-physical frame 0 is machine frame %lx; the machine gave us %lu run%s of frames\n", first, runs,
           runs == 1 ? "" : "s");
    for (u64 pfn = 0; pfn < 4; pfn++)
        printf("  p2m[%lu] = %lx   m2p[%lx] = %lu\n", pfn, pfn_to_mfn(pfn), pfn_to_mfn(pfn),
               mfn_to_pfn(pfn_to_mfn(pfn)));
    printf("start_info at %016lx, page tables at %016lx (%lu frames), p2m list at %016lx\n", (u64)start_info,
           start_info->pt_base,
           start_info->nr_pt_frames, start_info->mfn_list);
}

static void show_time(const char *argument)
{
    (void)argument;
    u64 ns = now(), seconds = wallclock() % 86400;
    struct vcpu_runstate_info run;
    printf("system time %lu.%09lu s, version %u of the time record\n", ns / 1000000000, ns % 1000000000,
           vcpu_info->time.version);
    printf("wall clock  %02lu:%02lu:%02lu UTC\n", seconds / 3600, seconds / 60 % 60, seconds % 60);
    printf("tsc         %lu, scaled by %u / 2^32 after a shift of %d\n", rdtsc(), vcpu_info->time.tsc_to_system_mul,
           vcpu_info->time.tsc_shift);
    hypercalls_made++;
    if (!hypercall(vcpu_op, VCPUOP_get_runstate_info, 0, &run))
        printf("runstate    running %lu ms, runnable %lu ms, blocked %lu ms, offline %lu ms\n", run.time[0] / 1000000,
               run.time[1] / 1000000, run.time[2] / 1000000, run.time[3] / 1000000);
}

static void show_uptime(const char *argument)
{
    (void)argument;
    u64 ms = (now() - started) / 1000000;
    printf("up %lu.%03lu s, %lu timer ticks\n", ms / 1000, ms % 1000, ticks);
}

static void show_events(const char *argument)
{
    (void)argument;
    static const char *const states[] = { "closed", "unbound", "interdomain", "pirq", "virq", "ipi" };
    for (u32 port = 1; port < 64; port++) {
        struct evtchn_status status = { .dom = DOMID_SELF, .port = port };
        hypercalls_made++;
        if (hypercall(event_channel_op, EVTCHNOP_status, &status) || !status.status)
            continue;
        printf("  port %2u  %-11s%s%s%s\n", port, states[status.status < 6 ? status.status : 0],
               port == start_info->console.evtchn ? " console" : port == start_info->store_evtchn ? " xenstore" :
               port == timer_port ? " timer" : "",
               shared_info->evtchn_pending[port / 64] >> port % 64 & 1 ? " pending" : "",
               shared_info->evtchn_mask[port / 64] >> port % 64 & 1 ? " masked" : "");
    }
    printf("%lu timer events and %lu console events so far\n", ticks, events_seen);
}

static u64 parse(const char *text)
{
    u64 value = 0;
    if (starts_with(text, "0x"))
        text += 2;
    for (; *text; text++) {
        char c = *text | 32;
        if (c >= '0' && c <= '9')
            value = value * 16 + c - '0';
        else if (c >= 'a' && c <= 'f')
            value = value * 16 + c - 'a' + 10;
    }
    return value;
}

static void show_pagetables(const char *argument)
{
    u64 va = *argument ? parse(argument) : (u64)show_pagetables;
    printf("walk of %016lx\n", va);
    if ((va >> 39 & 511) >= 256 && (va >> 39 & 511) < 272) {
        printf("  L4 slots 256 to 271 are the hypervisor's: the machine-to-physical table begins at %016lx\n",
               (u64)MACH2PHYS);
        return;
    }
    for (int level = 4; level; level--) {
        u64 *entry = pte_of(va, level);
        if (!entry)
            break;
        u64 pte = *entry, mfn = (pte & PTE_FRAME) / PAGE;
        printf("  L%d[%3lu] at %016lx = %016lx", level, va >> (12 + 9 * (level - 1)) & 511, (u64)entry, pte);
        if (!(pte & PTE_P)) {
            printf("  not present\n");
            return;
        }
        printf("  mfn %lx", mfn);
        if (mfn_to_pfn(mfn) < start_info->nr_pages)
            printf(" = pfn %lx", mfn_to_pfn(mfn));
        printf("%s%s%s%s%s\n", pte & PTE_W ? " write" : " read-only", pte & PTE_U ? " user" : "",
               pte & PTE_A ? " accessed" : "",
               pte & PTE_D ? " dirty" : "", pte & PTE_NX ? " no-execute" : "");
    }
}

static void show_hypercalls(const char *argument)
{
    (void)argument;
    static const struct { const char *name; u64 number, a, b; } probes[] = {
        { "xen_version(version)", __HYPERVISOR_xen_version, XENVER_version, 0 },
        { "sched_op(yield)", __HYPERVISOR_sched_op, SCHEDOP_yield, 0 },
        { "fpu_taskswitch(0)", __HYPERVISOR_fpu_taskswitch, 0, 0 },
        { "vm_assist(enable, 99)", __HYPERVISOR_vm_assist, VMASST_CMD_enable, 99 },
        { "no such hypercall", 55, 0, 0 },
    };
    for (unsigned i = 0; i < sizeof(probes) / sizeof(*probes); i++) {
        u64 before = now();
        long result = 0;
        for (int n = 0; n < 1000; n++)
            result = hypercall6(probes[i].number, probes[i].a, probes[i].b, 0, 0, 0, 0);
        u64 after = now();
        hypercalls_made += 1000;
        printf("  %-24s = %-8ld %lu ns each\n", probes[i].name, result, (after - before) / 1000);
    }
    printf("about %lu hypercalls made from this prompt\n", hypercalls_made);
}

static void show_fault(const char *argument)
{
    (void)argument;
    attempt("movb $1, (%0)", : : "r"(0x1234ul) : "memory");
    printf("a write to 0x1234: %s, cr2=%lx\n", outcome(), caught_cr2);
    attempt("movb $1, (%0)", : : "r"(start_info->pt_base) : "memory");
    printf("a write to our own page table at %016lx: %s\n", start_info->pt_base, outcome());
    attempt("movq $0, (%0)", : : "r"(MACH2PHYS) : "memory");
    printf("a write to the machine-to-physical table: %s\n", outcome());
    attempt("hlt", :);
    printf("hlt in a kernel that is not in charge: %s\n", outcome());
    printf("each was taken by our own handler; we are still here.\n");
}

static void halt(const char *argument) { (void)argument; shutdown(SHUTDOWN_poweroff); }
static void reboot(const char *argument) { (void)argument; shutdown(SHUTDOWN_reboot); }
static void crash(const char *argument) { (void)argument; asm volatile("ud2"); }
static void help(const char *argument);

static const struct {
    const char *name, *about;
    void (*run)(const char *argument);
} commands[] = {
    { "help", "this list", help },
    { "memory", "what the machine gave us: frames, p2m and m2p", show_memory },
    { "time", "the pvclock, the wall clock, the runstate", show_time },
    { "uptime", "since this guest started", show_uptime },
    { "events", "event channels and what is bound to them", show_events },
    { "pagetables", "walk the page tables: pagetables [address]", show_pagetables },
    { "hypercalls", "make some, and time them", show_hypercalls },
    { "fault", "do what must not be done, and handle it", show_fault },
    { "halt", "power off", halt },
    { "reboot", "ask for a reboot", reboot },
    { "crash", "die of an unexpected trap", crash },
};
#define NR_COMMANDS (sizeof(commands) / sizeof(*commands))

static void help(const char *argument)
{
    (void)argument;
    for (unsigned i = 0; i < NR_COMMANDS; i++)
        printf("  %-11s %s\n", commands[i].name, commands[i].about);
}

static void echo(const char *text) { console_write(text, strlen(text)); }

/* One line: backspace and ^H, ^U kills the line, ^C starts afresh, escape sequences are swallowed, tab completes. */
static void read_line(char *line, int size)
{
    int n = 0, escape = 0;
    for (;;) {
        int c = console_read();
        if (c < 0) {
            hypercalls_made++;
            console_wait();
            continue;
        }
        if (escape) {
            escape = escape == 1 && c == '[' ? 2 : escape == 2 && (c < '@' || c > '~') ? 2 : 0;
            continue;
        }
        switch (c) {
        case 27: escape = 1; break;
        case '\r': case '\n': line[n] = 0; echo("\n"); return;
        case 8: case 127:
            if (n) {
                n--;
                echo("\b \b");
            }
            break;
        case 21:
            for (; n; n--)
                echo("\b \b");
            break;
        case 4:                     /* the end of what is typed */
            if (!n)
                halt(line);
            line[n] = 0; echo("\n"); return;
        case 3: n = 0; echo("^C\n> "); break;
        case '\t': {
            int match = -1, several = 0;
            line[n] = 0;
            for (unsigned i = 0; n && i < NR_COMMANDS; i++)
                if (starts_with(commands[i].name, line))
                    several += match >= 0, match = i;
            if (match >= 0 && !several) {
                echo(commands[match].name + n);
                n = strlen(commands[match].name);
                memcpy(line, commands[match].name, n);
            }
            break;
        }
        default:
            if (c >= ' ' && n < size - 1) {
                line[n++] = c;
                console_write(&line[n - 1], 1);
            }
        }
    }
}

static void run(char *line)
{
    char *argument;
    while (*line == ' ')
        line++;
    if (!*line)
        return;
    for (argument = line; *argument && *argument != ' '; argument++)
        ;
    while (*argument == ' ')
        *argument++ = 0;
    for (unsigned i = 0; i < NR_COMMANDS; i++)
        if (!strcmp(commands[i].name, line)) {
            commands[i].run(argument);
            return;
        }
    printf("%s: no such command; `help' lists them\n", line);
}

void main(void)
{
    char line[128];
    started = now();
    timer_port = bind_virq(VIRQ_TIMER);
    event_handler(timer_port, tick);
    event_handler(start_info->console.evtchn, console_event);
    unmask(timer_port);
    if (!(start_info->flags & SIF_INITDOMAIN))
        unmask(start_info->console.evtchn);
    events_on();
    hypercall(vcpu_op, VCPUOP_stop_periodic_timer, 0, 0);    /* a vcpu begins with one of 100 Hz */
    set_timer(now() + 1000000000);

    printf("\nIlwaco, ");
    version();
    printf("%lu MiB of memory. `help' lists the commands, `halt' powers off.\n", start_info->nr_pages >> 8);
    for (;;) {
        echo("> ");
        read_line(line, sizeof(line));
        run(line);
    }
}
