/*
 * Commands that are asked for while the guest runs.
 *
 * A process of its own, "xenia-agent", sees to it that one more is waiting: a process with rings of its own
 * (rings.h), which data/xenia-agent in the guest's home in xenstore names as "VERSION SERIAL PORT REF"; PORT is 0
 * where this kernel cannot share memory, and REF then the KiB of memory that nobody has where that is why.  Who binds
 * that port has it for himself.  What he writes first into the input's ring is the command, as a length (u32) and so
 * many bytes of what /xenia.conf may say; its input follows.  The process that waited serves the command from then on,
 * and another one takes its place.  How the command ends is in the rings' first page.  Whatever dies, the kernel gives
 * back what it had.
 *
 * After a guest was frozen the rings of who waits lead nowhere.  The host then writes control/xenia-agent, and is given
 * another.  All of this outlives the agent where a root file system's init takes over: to that init it is a process
 * which was there before.
 */
enum { EXEC_VERSION = 1 };

static const char knock_key[] = "control/xenia-agent", waiting_key[] = "data/xenia-agent";

/* Say that this process waits; with a port 0, that none can now. */
static int announce(u32 serial)
{
    static struct StoreMessage answer;
    u32 numbers[] = { EXEC_VERSION, serial, ring_port, ring_ref };
    char text[64] = "";
    s64 store = call2(SYS_open, "/dev/xen/xenbus", O_RDWR | O_CLOEXEC);
    for (u32 i = 0; i < 4; i++) {
        append(text, sizeof text, i ? " " : "");
        append_number(text, sizeof text, numbers[i]);
    }
    int is_said = store >= 0 && ask_store((int)store, XS_WRITE, waiting_key, text, length_of(text))
        && hear_store((int)store, &answer) && answer.type == XS_WRITE;
    call1(SYS_close, store);
    return is_said;
}

/* Wait for the next `length` bytes of input; 0 when `left` is closed, and nobody will come. */
static int read_input(u8 *to, u32 length, int left)
{
    volatile struct Ring *ring = &shared->ring[RING_IN];
    for (u32 cons = ring->cons; length; cons = ring->cons) {
        u32 used = ring->prod - cons, at = cons % RING_SIZE;
        u32 run = RING_SIZE - at < length ? RING_SIZE - at : length;
        fence();
        if (used) {
            run = run < used ? run : used;
            memcpy(to, ring_data[RING_IN] + at, run);
            fence();
            ring->cons = cons + run;
            ring_moved(cons, cons + run, &ring->cons_event);
            to += run;
            length -= run;
        } else if (!has_input()) {
            struct { int fd; short events, revents; } wait[] = { { ring_events, POLLIN, 0 }, { left, POLLIN, 0 } };
            call3(SYS_poll, wait, 2, -1);
            if (wait[1].revents)
                return 0;
            if (wait[0].revents)
                take_ring_events();
            for (u32 word; (word = next_word());)
                if (word >> 24 == WORD_HANG_UP)
                    return 0;
        }
    }
    return 1;
}

static void __attribute__((noreturn)) leave(void)
{
    for (;;)
        call1(SYS_exit, 0);
}

/* How the command ended, and that nothing more will come; until the host has let go of the rings. */
static void tell_end(int status)
{
    shared->status = status & 0x7f ? status & 0x7f : status >> 8 & 0xff;
    fence();
    shared->state = status & 0x7f ? WAS_KILLED : HAS_EXITED;
    fence();
    call3(SYS_ioctl, ring_events, NOTIFY, &ring_port);
    while (!hung_up) {
        for (u32 word; (word = next_word());)
            if (word >> 24 == WORD_BYE || word >> 24 == WORD_HANG_UP)
                return;
        take_ring_events();
    }
}

/* Wait for a command, and serve it.  `taken` is where to say that another one is to wait, `left` where it is heard that
 * this one need not. */
static void __attribute__((noreturn)) serve_request(u32 serial, int taken, int left)
{
    int far[3], status = 0, signals = signals_of(SIGNAL_BIT(SIGCHLD));
    u32 size = 0;
    open_rings();
    if (!announce(serial) || !shared || !read_input((u8 *)&size, sizeof size, left))
        leave();
    call3(SYS_write, taken, "t", 1);
    call1(SYS_close, taken);
    if (size > CONF_SIZE || !read_input((u8 *)conf, size, -1))
        leave();
    nr_args = nr_env = nr_own = rows = columns = 0;
    directory = "/";
    user = "0";
    conf[size] = 0;
    parse_conf(size);
    if (!nr_args)
        leave();
    if (wants_tty ? open_terminal(far) < 0 : (open_pipes(far), 0))
        leave();
    s64 child = start_command(far);
    shared->state = RUNS;
    call3(SYS_ioctl, ring_events, NOTIFY, &ring_port);
    serve_command(-1, child, signals, &status);
    drain_all(-1);
    tell_end(status);
    leave();
}

struct Waiting { s64 process; u32 serial; int taken, left; };     /* who waits; descriptors are -1 when there is none */

static void dismiss(struct Waiting *waiting)
{
    call1(SYS_close, waiting->taken);
    call1(SYS_close, waiting->left);
    waiting->taken = waiting->left = -1;
}

static void have_one_wait(struct Waiting *waiting, int store, int signals)
{
    int taken[2] = { -1, -1 }, left[2] = { -1, -1 };
    call2(SYS_pipe2, taken, O_CLOEXEC);
    call2(SYS_pipe2, left, O_CLOEXEC);
    waiting->serial++;
    s64 child = call0(SYS_fork);
    if (child == 0) {
        call1(SYS_close, store);
        call1(SYS_close, signals);
        call1(SYS_close, taken[0]);
        call1(SYS_close, left[1]);
        serve_request(waiting->serial, taken[1], left[0]);
    }
    if (child == -ENOMEM) {
        ring_ref = (u32)(free_memory() >> 10) | 1;
        announce(waiting->serial);
    }
    call1(SYS_close, taken[1]);
    call1(SYS_close, left[0]);
    waiting->taken = taken[0];
    waiting->left = left[1];
}

static void __attribute__((noreturn)) serve_requests(int store)
{
    static struct StoreMessage message;
    struct Waiting waiting = { 0, 0, -1, -1 };
    int signals = signals_of(SIGNAL_BIT(SIGCHLD)), status;
    char byte;
    write_file("/sys/module/xen_gntalloc/parameters/limit", "65536");
    ask_store(store, XS_WATCH, knock_key, "knock", sizeof "knock");
    for (;;) {
        struct { int fd; short events, revents; } wait[] = {
            { store, POLLIN, 0 }, { waiting.taken, POLLIN, 0 }, { signals, POLLIN, 0 },
        };
        call3(SYS_poll, wait, 3, -1);
        if (wait[2].revents) {
            u32 info[32];
            while (call3(SYS_read, signals, info, sizeof info) > 0)
                ;
            while (call4(SYS_wait4, -1, &status, WNOHANG, 0) > 0)
                ;
        }
        if (wait[1].revents) {          /* it was taken, or has died and nobody is to wait until the host asks */
            int was_taken = call3(SYS_read, waiting.taken, &byte, 1) == 1;
            dismiss(&waiting);
            if (was_taken)
                have_one_wait(&waiting, store, signals);
        }
        if (wait[0].revents) {
            if (!hear_store(store, &message))
                leave();
            if (message.type == XS_WATCH_EVENT) {
                dismiss(&waiting);
                have_one_wait(&waiting, store, signals);
            }
        }
    }
}

/* Begin to take commands. */
static void follow_requests(void)
{
    s64 store = call2(SYS_open, "/dev/xen/xenbus", O_RDWR | O_CLOEXEC);
    if (store >= 0 && call0(SYS_fork) == 0) {
        for (int fd = 0; fd < 64; fd++)         /* others wait for the end of those */
            if (fd != store)
                call1(SYS_close, fd);
        s64 null = call2(SYS_open, "/dev/null", O_RDWR);    /* 0: what is opened later is no standard stream */
        call2(SYS_dup2, null, 1);
        call2(SYS_dup2, null, 2);
        call0(SYS_setsid);
        be_agent("xenia-agent");
        shared = 0;
        serve_requests((int)store);
    }
    call1(SYS_close, store);
}
