/*
 * One command, its standard streams and its exit status: that of mode=command, or one that is asked for later (exec.h).
 *
 * Of mode=command records on the console say what happens (agent/protocol.py has the protocol).  The streams go
 * through rings of shared memory where the kernel can share it (rings.h), else in records, too.
 */

enum {
    RECORD = 256, HEADER = 8, PAYLOAD = RECORD - HEADER, WINDOW = 64 << 10,
    /* from the guest */
    HELLO = 1, STDOUT = 2, STDERR = 3, CREDIT = 4, EXITED = 5, KILLED = 6, RINGS = 7,
    /* from the host */
    STDIN = 16, STDIN_END = 17, SIGNAL = 18,
    VERSION = 1,
};

enum { LAST_WORDS = 2000 };     /* milliseconds that a command has to end when it is hung up on */

static void follow_requests(void);

static const u8 magic[3] = { 0x10, 0xf5, 'X' };

static u16 check_of(const u8 *header)
{
    u32 sum = 0x5a;
    for (u32 i = 0; i < 6; i++)
        sum = sum * 31 + header[i];
    return (u16)sum;
}

static void put_header(u8 *record, u32 type, u32 length)
{
    memcpy(record, magic, 3);
    record[3] = (u8)type;
    record[4] = (u8)length;
    record[5] = (u8)(length >> 8);
    u16 check = check_of(record);
    record[6] = (u8)check;
    record[7] = (u8)(check >> 8);
}

static void send(int console, u32 type, const void *data, u32 length)
{
    u8 record[RECORD];
    put_header(record, type, length);
    memcpy(record + HEADER, data, length);
    write_all(console, record, HEADER + length);
}

static void send_number(int console, u32 type, u32 value)
{
    u8 bytes[4] = { (u8)value, (u8)(value >> 8), (u8)(value >> 16), (u8)(value >> 24) };
    send(console, type, bytes, 4);
}

/* Say that the command runs, and where its streams are. */
static void send_hello(int console)
{
    u32 hello[] = { WINDOW }, rings[] = { ring_port, ring_ref };
    u8 payload[1 + sizeof rings] = { VERSION };
    memcpy(payload + 1, shared ? rings : hello, shared ? sizeof rings : sizeof hello);
    send(console, shared ? RINGS : HELLO, payload, 1 + (shared ? sizeof rings : sizeof hello));
}

static int streams[3];         /* the near ends of the command's standard input, output and error; input -1: closed */
static int is_open[3] = { 1, 1, 1 };
static int hung_up;            /* the host has left */

/* Move what one of the command's output pipes holds, or some of it, to the host; how much that was, 0 at the end. */
static s64 forward(int console, u32 type, int pipe)
{
    static u8 data[16 * PAYLOAD], records[16 * RECORD];
    s64 n = shared ? fill_ring(type - STDOUT, pipe) : call3(SYS_read, pipe, data, sizeof data);
    u64 size = 0;
    if (n <= 0)
        return n == -EAGAIN || n == -EINTR ? -1 : 0;
    if (shared)
        return n;
    for (s64 at = 0; at < n; at += PAYLOAD) {       /* full records, so that each is one chunk of the console driver */
        u32 length = (u32)(n - at < PAYLOAD ? n - at : PAYLOAD);
        put_header(records + size, type, length);
        memcpy(records + size + HEADER, data + at, length);
        size += HEADER + length;
    }
    write_all(console, records, size);
    return n;
}

static void obey(s64 child);

/* When the command has ended, what it wrote is still in its pipes.  What its children go on to write is not waited
 * for. */
static void drain(int console, u32 type, int pipe)
{
    int left = 0;
    call3(SYS_ioctl, pipe, FIONREAD, &left);
    if (wants_tty)
        left = 1 << 30;             /* it is told of less than there is: read until there is none */
    while (left > 0) {
        while (shared && !has_room(type - STDOUT)) {
            take_ring_events();
            obey(0);
            if (!is_open[type - STDOUT + 1])
                return;
        }
        s64 n = forward(console, type, pipe);
        if (n <= 0)
            return;
        left -= (int)n;
    }
}

struct Input {              /* what arrived for the command and is not yet in its pipe: a ring of WINDOW bytes */
    u8 ring[WINDOW];
    u32 head, used;
    u32 owed;               /* bytes passed on and not yet granted to the host again */
    int ended;
};

static void close_stream(u32 i)
{
    if (streams[i] >= 0)
        call1(SYS_close, streams[i]);
    streams[i] = -1;
    is_open[i] = 0;
}

static void pump_ring(void)
{
    u32 ended = shared->input_ended;
    s64 n = 1;
    fence();
    while (streams[0] >= 0 && n > 0) {
        n = empty_ring(streams[0]);
        if (n == 0 ? ended : n < 0 && n != -EAGAIN && n != -EINTR)
            close_stream(0);
    }
}

static void pump_input(struct Input *input, int console)
{
    if (shared) {
        pump_ring();
        return;
    }
    while (input->used && streams[0] >= 0) {
        u32 run = WINDOW - input->head < input->used ? WINDOW - input->head : input->used;
        s64 n = call3(SYS_write, streams[0], input->ring + input->head, run);
        if (n == -EAGAIN || n == -EINTR)
            break;
        if (n <= 0) {
            close_stream(0);        /* nobody reads any more */
            break;
        }
        input->head = (input->head + (u32)n) % WINDOW;
        input->used -= (u32)n;
        input->owed += (u32)n;
    }
    if (input->ended && !input->used)
        close_stream(0);
    if (streams[0] < 0)             /* what arrives now has no reader, and no more is asked for */
        input->used = input->owed = 0;
    if (input->owed >= WINDOW / 4 || (input->owed && !input->used)) {
        send_number(console, CREDIT, input->owed);
        input->owed = 0;
    }
}

static void signal_command(s64 child, u32 signal)
{
    if (child > 0)
        call2(SYS_kill, -child, signal);
}

struct Parser {
    u8 record[RECORD];
    u32 have;
};

static void take_record(const u8 *record, struct Input *input, s64 child)
{
    u32 length = record[4] | (u32)record[5] << 8;
    switch (record[3]) {
    case STDIN:
        if (length <= WINDOW - input->used)
            for (u32 i = 0; i < length; i++)
                input->ring[(input->head + input->used++) % WINDOW] = record[HEADER + i];
        break;
    case STDIN_END:
        input->ended = 1;
        break;
    case SIGNAL:
        if (length == 1)
            signal_command(child, record[HEADER]);
        break;
    }
}

static void parse(struct Parser *parser, const u8 *data, u32 length, struct Input *input, s64 child)
{
    for (u32 i = 0; i < length; i++) {
        u8 *record = parser->record;
        record[parser->have++] = data[i];
        if (parser->have <= 3) {
            if (record[parser->have - 1] != magic[parser->have - 1])
                parser->have = data[i] == magic[0] ? (record[0] = magic[0], 1) : 0;
            continue;
        }
        if (parser->have < HEADER)
            continue;
        u32 size = record[4] | (u32)record[5] << 8;
        if (size > PAYLOAD || check_of(record) != (u16)(record[6] | record[7] << 8)) {
            parser->have = 0;
            continue;
        }
        if (parser->have == HEADER + size) {
            take_record(record, input, child);
            parser->have = 0;
        }
    }
}

static void make_raw(int console)
{
    struct { u32 iflag, oflag, cflag, lflag; u8 line, cc[19]; u8 spare[28]; } mode;
    if (call3(SYS_ioctl, console, TCGETS, &mode) < 0)
        return;
    mode.iflag = 0;
    mode.oflag = 0;
    mode.lflag = 0;
    mode.cflag = (mode.cflag & ~0x130u) | 0x30;     /* 8 bits, no parity */
    mode.cc[6] = 1;                                 /* VMIN */
    mode.cc[5] = 0;                                 /* VTIME */
    call3(SYS_ioctl, console, TCSETS, &mode);
}

/* The far ends of a command's streams; the near ones are in `streams`. */
static void open_pipes(int far[3])
{
    for (u32 i = 0; i < 3; i++) {
        int ends[2] = { -1, -1 };
        call2(SYS_pipe2, ends, O_CLOEXEC);
        far[i] = ends[i ? 1 : 0];
        streams[i] = ends[i ? 0 : 1];
        if (shared)
            call3(SYS_fcntl, streams[i], F_SETPIPE_SZ, RING_SIZE);
    }
}

/* The same with a terminal of its own, whose master is both input and output; what is 0 else. */
static s64 open_terminal(int far[3])
{
    static char path[24];
    u32 unlock = 0, number = 0;
    s64 master = call2(SYS_open, "/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC), slave = master;
    if (master >= 0) {
        call3(SYS_ioctl, master, TIOCSPTLCK, &unlock);
        call3(SYS_ioctl, master, TIOCGPTN, &number);
        append(path, sizeof path, "/dev/pts/");
        append_number(path, sizeof path, number);
        slave = call2(SYS_open, path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    }
    if (slave < 0)
        return slave;
    set_window_size((int)master, rows, columns);
    far[0] = far[1] = far[2] = (int)slave;
    streams[0] = (int)call3(SYS_fcntl, master, F_DUPFD_CLOEXEC, 0);
    streams[1] = (int)master;
    streams[2] = -1;
    is_open[2] = 0;
    return 0;
}

/* Fork the command on the far ends of its streams, which are closed here; its process, or as fork. */
static s64 start_command(int far[3])
{
    s64 child = call0(SYS_fork);
    if (child == 0) {
        call0(SYS_setsid);
        be_ordinary();
        if (wants_tty)
            call3(SYS_ioctl, far[0], TIOCSCTTY, 0);
        for (int i = 0; i < 3; i++)
            call2(SYS_dup2, far[i], i);
        execute();
    }
    if (child < 0)
        say(far[2], "xenia: the guest has no room for another process\n");
    for (u32 i = 0; i < 3; i++) {
        if (!i || far[i] != far[0])
            call1(SYS_close, far[i]);
        call3(SYS_fcntl, streams[i], F_SETFL, O_NONBLOCK);
    }
    return child;
}

/* Reap what has ended; whether `child` was among it, with its status. */
static int reap(s64 child, int *status)
{
    s64 pid;
    int one, ended = 0;
    while ((pid = call4(SYS_wait4, -1, &one, WNOHANG, 0)) > 0)
        if (pid == child)
            *status = one, ended = 1;
    return ended;
}

static void hang_up(s64 child)
{
    hung_up = 1;
    signal_command(child, SIGHUP);
    for (u32 i = 0; i < 3; i++)
        close_stream(i);
}

/* Do what the host's words say.  `child` is 0 when the command has ended. */
static void obey(s64 child)
{
    for (u32 word; (word = next_word());) {
        switch (word >> 24) {
        case WORD_SIGNAL:
            signal_command(child, word & 0xff);
            break;
        case WORD_WINDOW:
            set_window_size(streams[1], word >> 12 & 0xfff, word & 0xfff);
            break;
        case WORD_CLOSE:
            close_stream((word & 0xff) == 1 ? 1 : 2);
            break;
        case WORD_HANG_UP:
            hang_up(child);
            break;
        }
    }
}

/* Carry the command's streams until it ends, with `status`; 0 when the guest is to end before that.  `child` is
 * start_command's. */
static int serve_command(int console, s64 child, int signals, int *status)
{
    static struct Input input;
    static struct Parser parser;
    if (child < 0) {
        *status = 126 << 8;
        return 1;
    }
    for (;;) {
        int has_bytes = streams[0] >= 0 && (shared ? has_input() : input.used != 0);
        struct { int fd; short events, revents; } wait[6] = {
            { signals, POLLIN, 0 },
            { console, POLLIN, 0 },
            { is_open[1] && (!shared || has_room(RING_OUT)) ? streams[1] : -1, POLLIN, 0 },
            { is_open[2] && (!shared || has_room(RING_ERR)) ? streams[2] : -1, POLLIN, 0 },
            { streams[0], has_bytes ? POLLOUT : 0, 0 },
            { shared ? ring_events : -1, POLLIN, 0 },
        };
        s64 ready = call3(SYS_poll, wait, 6, hung_up ? LAST_WORDS : -1);
        if (ready == 0)
            signal_command(child, SIGKILL);
        if (ready < 0)
            continue;
        if (wait[5].revents)
            take_ring_events();
        if (wait[1].revents & POLLIN) {
            static u8 data[4096];
            s64 n = call3(SYS_read, console, data, sizeof data);
            if (n > 0)
                parse(&parser, data, (u32)n, &input, child);
        } else if (wait[1].revents & (POLLHUP | POLLERR)) {
            signal_command(child, SIGHUP);          /* the console is gone */
            return 0;
        }
        for (u32 i = 1; i < 3; i++)
            if (wait[1 + i].revents)
                is_open[i] = forward(console, i == 1 ? STDOUT : STDERR, streams[i]) != 0;
        if (wait[4].revents & (POLLERR | POLLHUP))
            close_stream(0);
        pump_input(&input, console);
        if (shared)
            obey(child);
        if (wait[0].revents) {
            u32 info[32];                           /* struct signalfd_siginfo: the signal's number comes first */
            while (call3(SYS_read, signals, info, sizeof info) > 0)
                if (is_end_signal(info[0]))
                    return 0;
            if (reap(child, status))
                return 1;
        }
    }
}

/* Hear of `awaited` signals on a descriptor, and of a pipe that nobody reads when it is written to. */
static int signals_of(u64 awaited)
{
    u64 mask = awaited | SIGNAL_BIT(SIGPIPE);
    call4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, 0, sizeof mask);
    return (int)call4(SYS_signalfd4, -1, &awaited, sizeof awaited, O_CLOEXEC | O_NONBLOCK);
}

static void drain_all(int console)
{
    for (u32 i = 1; i < 3; i++)
        if (is_open[i] && !hung_up)
            drain(console, i == 1 ? STDOUT : STDERR, streams[i]);
}

static void run_command(int is_init, int console)
{
    int far[3], status = 0, signals = signals_of(SIGNAL_BIT(SIGCHLD) | (is_init ? END_SIGNALS : 0));
    open_pipes(far);
    s64 child = start_command(far);
    send_hello(console);
    if (is_init)
        follow_requests();
    if (!serve_command(console, child, signals, &status))
        return;
    drain_all(console);
    if (is_init)
        settle();                                   /* the host may end the guest at the next word */
    if (status & 0x7f)
        send_number(console, KILLED, status & 0x7f);
    else
        send_number(console, EXITED, status >> 8 & 0xff);
}
