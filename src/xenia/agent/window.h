/*
 * The size of the operator's window, as it changes: the host keeps it in xenstore, at console/window-size in the
 * guest's own home, as "ROWS COLUMNS".  A process of its own watches that and tells the console's tty, whose foreground
 * then gets SIGWINCH.  It outlives the agent where a root file system's init takes over, and ends with the guest.
 * There others set the size that the kernel was started with anew at each login: /run/xenia-window tells those which it
 * is.
 */

static const char size_key[] = "console/window-size";

static void set_window_size(int console, u32 new_rows, u32 new_columns)
{
    struct { u16 rows, columns, x, y; } size = { (u16)new_rows, (u16)new_columns, 0, 0 };
    if (size.rows && size.columns)
        call3(SYS_ioctl, console, TIOCSWINSZ, &size);
}

static int has_window_size(int console)
{
    struct { u16 rows, columns, x, y; } size = { 0 };
    return call3(SYS_ioctl, console, TIOCGWINSZ, &size) == 0 && size.rows;
}

/* Keep the size for those who log in later. */
static void note_window_size(const char *text)
{
    static char line[32];
    *line = 0;
    append(line, sizeof line, text);
    append(line, sizeof line, "\n");
    s64 note = call3(SYS_open, "/run/xenia-window", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    call3(SYS_write, note, line, length_of(line));
    call2(SYS_ftruncate, note, length_of(line));
    call1(SYS_close, note);
}

/* The console is opened anew each time: a getty hangs up whoever has it open. */
static void take_window_size(const char *text)
{
    const char *second = text;
    while (*second && *second != ' ')
        second++;
    note_window_size(text);
    s64 console = call2(SYS_open, "/dev/hvc0", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (console >= 0 && *second)
        set_window_size((int)console, number_of(text), number_of(second + 1));
    call1(SYS_close, console);
}

/* Begin to follow the operator's window. */
static void follow_window(void)
{
    static struct StoreMessage message;
    s64 store = call2(SYS_open, "/dev/xen/xenbus", O_RDWR | O_CLOEXEC);
    if (store >= 0 && call0(SYS_fork) == 0) {
        for (int fd = 0; fd < 3; fd++)
            call1(SYS_close, fd);
        call0(SYS_setsid);
        be_agent("xenia-window");
        ask_store((int)store, XS_WATCH, size_key, "size", sizeof "size");
        while (hear_store((int)store, &message)) {
            if (message.type == XS_WATCH_EVENT)
                ask_store((int)store, XS_READ, size_key, 0, 0);
            else if (message.type == XS_READ)
                take_window_size(message.body);
        }
        for (;;)
            call1(SYS_exit, 0);
    }
    call1(SYS_close, store);
}
