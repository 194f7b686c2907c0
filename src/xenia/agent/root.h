/*
 * A root file system on a disk, as the kernel's command line asks for it:
 *
 *     root=/dev/NAME, MAJOR:MINOR or a hexadecimal number  where it is
 *     root=PARTUUID=NUMBER, PARTLABEL=NAME                 of a partition; PARTUUID=NUMBER/PARTNROFF=N is the Nth after it
 *     root=UUID=NUMBER, LABEL=NAME                         of an ext2, ext3 or ext4
 *     root=/dev/disk/by-...                                the same four; udev, which makes such links, is yet to come
 *     rootfstype=TYPE,TYPE  rootflags=OPTIONS  ro  rw      how it is mounted; to be read only, unless told otherwise
 *     rootwait                                             wait for the disk, instead of complaining that it is not there
 *     init=PATH                                            what to run in it
 *
 * The words mean what they mean to a kernel without an initial RAM disk, with one exception: with a command of the
 * host's nobody would come to mount it writable later, so that is done at once.
 *
 * The frontend of a disk that was there from the beginning is connected when its module is loaded: the kernel waits for
 * that.  So a disk that is not there yet will not come by waiting a little.
 */
#include "disks.h"

enum { CMDLINE_SIZE = 4096, NETLINK_KOBJECT_UEVENT = 15 };

static char kernel_words[CMDLINE_SIZE + 1];
static const char *root_type, *root_flags, *init_path;
static u32 root_read_only, root_writable, root_wait;
static char root_failure[512];          /* one line, for whoever reads the console */
static int quiet_printk = -1;           /* how loud the kernel is: open, for /proc may be out of reach later */

static void explain(const char *text)
{
    append(root_failure, sizeof root_failure, text);
}

/* Take what concerns us out of the kernel's command line; whether it names a root file system. */
static int read_kernel_words(void)
{
    s64 fd = call2(SYS_open, "/proc/cmdline", O_RDONLY | O_CLOEXEC);
    s64 size = call3(SYS_read, fd, kernel_words, CMDLINE_SIZE);
    call1(SYS_close, fd);
    for (char *at = kernel_words, *end = at + (size > 0 ? size : 0); at < end; at++) {
        char *word = at, *to = at;
        const char *value;
        for (int quoted = 0; at < end && *at != '\n' && (quoted || *at != ' '); at++) {
            if (*at == '"')
                quoted = !quoted;
            else
                *to++ = *at;
        }
        *to = 0;
        if (is_same(word, "--"))
            break;                      /* what follows is for init */
        if ((value = value_of(word, "root")))
            root_device = *value ? value : 0;
        else if ((value = value_of(word, "rootfstype")))
            root_type = value;
        else if ((value = value_of(word, "rootflags")))
            root_flags = value;
        else if ((value = value_of(word, "init")))
            init_path = value;
        else if (is_same(word, "ro"))
            root_read_only = 1, root_writable = 0;
        else if (is_same(word, "rw"))
            root_writable = 1, root_read_only = 0;
        else if (is_same(word, "rootwait"))
            root_wait = 1;
    }
    if (root_device && starts_with(root_device, "/dev/disk/"))
        unescape((char *)root_device);
    if (root_device && starts_with(root_device, "/dev/ram"))
        root_device = 0;                /* that is where we are */
    return root_device != 0;
}

/* --- directories */

enum { DIRECTORY = 4 };

/* Delete what is in a directory of the initial RAM disk: its memory is free then.  Other file systems are left
 * alone. */
static void delete_contents(int directory, u64 device)
{
    u64 status[18];                     /* struct stat, of which the device comes first */
    char buffer[2048] __attribute__((aligned(8)));
    s64 size;
    if (call2(SYS_fstat, directory, status) < 0 || status[0] != device)
        return;
    while ((size = call3(SYS_getdents64, directory, buffer, sizeof buffer)) > 0) {
        for (s64 at = 0; at < size; at += ((struct Entry *)(buffer + at))->length) {
            struct Entry *entry = (struct Entry *)(buffer + at);
            if (is_dots(entry->name))
                continue;
            if (entry->type == DIRECTORY) {
                s64 below = call3(SYS_openat, directory, entry->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (below >= 0) {
                    delete_contents((int)below, device);
                    call1(SYS_close, below);
                }
            }
            call3(SYS_unlinkat, directory, entry->name, entry->type == DIRECTORY ? AT_REMOVEDIR : 0);
        }
    }
}

static int wait_for_device(char *path, u64 path_size, char *seen, u64 seen_size)
{
    struct { u16 family, pad; u32 process, groups; } address = { 16, 0, 0, 1 };
    static char event[4096];
    s64 events = -1;
    if (root_wait) {
        events = call3(SYS_socket, address.family, 3 | O_CLOEXEC, NETLINK_KOBJECT_UEVENT);
        call3(SYS_bind, events, &address, sizeof address);
    }
    while (!find_device(path, path_size, seen, seen_size))
        if (events < 0 || call3(SYS_read, events, event, sizeof event) == -EACCES)
            return 0;
    call1(SYS_close, events);
    return 1;
}

/* --- mounting it and going there */

static s64 try_mount(const char *path, const char *type, int writable)
{
    s64 error = call5(SYS_mount, path, "/newroot", type, writable ? 0 : MS_RDONLY, root_flags);
    if (writable && (error == -EROFS || error == -EACCES))     /* a disk that is to be read only */
        error = call5(SYS_mount, path, "/newroot", type, MS_RDONLY, root_flags);
    return error;
}

/* Mount with the first of these types that does; each but the last is ended by a newline or comma. */
static s64 mount_as(const char *path, char *types, s64 size, int writable)
{
    s64 error = -ENOENT;
    for (char *at = types, *end = types + (size > 0 ? size : 0); error && at < end; at++) {
        char *type = at;
        while (at < end && *at != '\n' && *at != ',')
            at++;
        *at = 0;
        if (*type == '\t')
            type++;                     /* in /proc/filesystems: one that needs a device */
        else if (starts_with(type, "nodev"))
            continue;
        error = try_mount(path, type, writable);
    }
    return error;
}

/* Mount with the types of rootfstype=, or else with those that modules are at hand for, and those that the kernel
 * has. */
static s64 mount_root(const char *path, int writable)
{
    static const char *const lists[] = { "/etc/filesystems", "/proc/filesystems" };
    static char types[4096];
    s64 error;
    if (root_type) {
        append(types, sizeof types, root_type);
        return mount_as(path, types, (s64)length_of(types), writable);
    }
    /* Its driver knows ext2 and ext3 as well, and as those it would complain first. */
    error = try_mount(path, "ext4", writable);
    for (u32 i = 0; error && i < sizeof lists / sizeof *lists; i++) {
        s64 fd = call2(SYS_open, lists[i], O_RDONLY | O_CLOEXEC);
        s64 size = call3(SYS_read, fd, types, sizeof types - 1);
        call1(SYS_close, fd);
        error = mount_as(path, types, size, writable);
    }
    return error;
}

/* Make what is mounted at /newroot the file system that processes see; 0 and a line in `root_failure` where that
 * fails.  The initial RAM disk's memory is freed, unless something of it is kept. */
static int enter_root(int keeps)
{
    static const char *const moved[] = { "/dev", "/proc", "/sys", "/run" };
    char target[32];
    u64 status[18];
    for (u32 i = 0; i < sizeof moved / sizeof *moved; i++) {
        *target = 0;
        append(target, sizeof target, "/newroot");
        append(target, sizeof target, moved[i]);
        if (call5(SYS_mount, moved[i], target, 0, MS_MOVE, 0) < 0)
            call2(SYS_umount2, moved[i], MNT_DETACH);
    }
    s64 old = call2(SYS_open, "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    call2(SYS_fstat, old, status);
    call1(SYS_chdir, "/newroot");
    if (call5(SYS_mount, ".", "/", 0, MS_MOVE, 0) < 0 || call1(SYS_chroot, ".") < 0) {
        explain(": cannot make it the root of all\n");
        return 0;
    }
    call1(SYS_chdir, "/");
    if (!keeps)
        delete_contents((int)old, status[0]);
    call1(SYS_close, old);
    return 1;
}

/* The same with the root file system on a disk. */
static int take_root(int has_command)
{
    char path[BLOCK_NAME + 8], seen[256];
    explain("xenia: root=");
    explain(root_device);
    quiet_printk = (int)call2(SYS_open, "/proc/sys/kernel/printk", O_WRONLY | O_CLOEXEC);
    if (!wait_for_device(path, sizeof path, seen, sizeof seen)) {
        explain(": no such disk (");
        explain(*seen ? "there are: " : "there are none");
        explain(seen);
        explain(")\n");
        return 0;
    }
    call2(SYS_mkdir, "/newroot", 0755);
    if (mount_root(path, root_writable || (has_command && !root_read_only)) < 0) {
        explain(": no file system there that this kernel can mount\n");
        return 0;
    }
    return enter_root(0);
}

/* Run the root file system's own init on the console; comes back, with a line in `root_failure`, where there is
 * none. */
static void become_init(const char **argv, const char **envp)
{
    static const char *const usual[] = { "/sbin/init", "/etc/init", "/bin/init", "/bin/sh" };
    for (u32 i = 0; i < (init_path ? 1 : sizeof usual / sizeof *usual); i++) {
        argv[0] = init_path ? init_path : usual[i];
        call3(SYS_execve, argv[0], argv, envp);
    }
    explain(init_path ? ": cannot run its " : ": it has no init");
    explain(init_path ? init_path : "");
    explain("\n");
}
