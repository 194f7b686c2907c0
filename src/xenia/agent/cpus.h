/*
 * Processors that a guest is given while it runs: the kernel says that one has come (a uevent), and leaves it to user
 * space to put it to use.  Where no udev does that, a process of its own does, and ends with the guest.
 */
enum { CPU_ATTEMPTS = 100 };

static const char cpu_came[] = "add@/devices/system/cpu/cpu";

static int has_more_cpus(void)
{
    char possible[2] = { 0 };
    s64 fd = call2(SYS_open, "/sys/devices/system/cpu/possible", O_RDONLY | O_CLOEXEC);
    s64 length = call3(SYS_read, fd, possible, sizeof possible);
    call1(SYS_close, fd);
    return length == 2 && possible[1] == '-';           /* "0-3" */
}

static void use_cpu(const char *number)
{
    char path[64] = "/sys/devices/system/cpu/cpu";
    append(path, sizeof path, number);
    append(path, sizeof path, "/online");
    s64 fd = call2(SYS_open, path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    for (int attempt = 0; attempt < CPU_ATTEMPTS && call3(SYS_write, fd, "1", 1) < 0; attempt++)
        call3(SYS_poll, 0, 0, 20);                      /* said to have come, and not yet marked as present */
    call1(SYS_close, fd);
}

/* Begin to put processors to use that come. */
static void follow_cpus(void)
{
    struct { u16 family, pad; u32 process, groups; } address = { AF_NETLINK, 0, 0, 1 };
    static char message[4096];
    s64 length, events;
    if (!has_more_cpus())
        return;
    events = call3(SYS_socket, AF_NETLINK, SOCK_DGRAM | O_CLOEXEC, NETLINK_KOBJECT_UEVENT);
    if (call3(SYS_bind, events, &address, sizeof address) == 0 && call0(SYS_fork) == 0) {
        for (int fd = 0; fd < 3; fd++)
            call1(SYS_close, fd);
        call0(SYS_setsid);
        be_agent("xenia-cpus");
        while ((length = call3(SYS_read, events, message, sizeof message - 1)) > 0 || length == -EINTR
               || length == -ENOBUFS) {                 /* more came than there is room for: those are lost */
            message[length > 0 ? length : 0] = 0;
            if (starts_with(message, cpu_came))
                use_cpu(message + sizeof cpu_came - 1);
        }
        for (;;)
            call1(SYS_exit, 0);
    }
    call1(SYS_close, events);
}
