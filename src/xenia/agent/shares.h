/*
 * Folders of the host's: each is mounted by its tag, as the configuration says:
 *
 *     share=TAG:rw:/PATH      as it is
 *     share=TAG:ro:/PATH      to be read only
 *     share=TAG:cow:/PATH     below a file system in memory, which takes what is changed (overlayfs)
 *     share=TAG:root:/        the same, as the root of all; /home is to be read only there
 *     share=NAME:disk:/PATH   a copy of one on the disk of that name, an ext4
 *     share=NAME:disk-ro:/PATH    the same, to be read only
 *     share=+TAG:...          any of them, which came while the guest ran, before it was booted again: it begins
 *                             without it, too
 *
 * A frontend that has just been made may not have its rings yet; it is waited for a little.
 */
enum { MAX_SHARES = 64, SHARE_ATTEMPTS = 1000, SHARE_STEP = 5, SHARE_PATH = 4096 + 64 };

struct Share { const char *tag, *mode, *path; int is_optional; };

static struct Share shares[MAX_SHARES];
static u32 nr_shares;

/* Take a share's line of the configuration apart. */
static void read_share(char *line)
{
    struct Share *share = &shares[nr_shares];
    if (nr_shares == MAX_SHARES)
        return;
    share->is_optional = *line == '+';
    line += share->is_optional;
    share->tag = line;
    while (*line && *line != ':')
        line++;
    if (*line)
        *line++ = 0;
    share->mode = line;
    while (*line && *line != ':')
        line++;
    if (*line)
        *line++ = 0;
    share->path = line;
    nr_shares++;
}

static void make_directories(const char *path)
{
    char part[SHARE_PATH];
    for (u64 i = 0; path[i] && i + 1 < sizeof part; i++) {
        part[i] = path[i];
        if (i && path[i + 1] == '/') {
            part[i + 1] = 0;
            call2(SYS_mkdir, part, 0755);
        }
    }
    call2(SYS_mkdir, path, 0755);
}

static s64 mount_folder(const char *tag, const char *path, u64 flags, const char *cache)
{
    char options[128] = "trans=xen,version=9p2000.L,access=any,msize=524288,locktimeout=1,cache=";
    s64 error = -1;
    append(options, sizeof options, cache);
    for (u32 i = 0; error < 0 && i < SHARE_ATTEMPTS; i++) {
        if (i)
            call3(SYS_poll, 0, 0, SHARE_STEP);
        error = call5(SYS_mount, tag, path, "9p", flags, options);
    }
    return error;
}

/* The folder with one in memory over it, at `path`. */
static s64 mount_copy(const char *tag, const char *path)
{
    static const char *const parts[] = { "lower", "upper", "work" };
    static char options[4 * 128];
    char base[128] = "/run/xenia-share/", part[160];
    s64 error;
    append(base, sizeof base, tag);
    make_directories(base);
    *options = 0;
    for (u32 i = 0; i < 3; i++) {
        *part = 0;
        append(part, sizeof part, base);
        append(part, sizeof part, "/");
        append(part, sizeof part, parts[i]);
        call2(SYS_mkdir, part, 0755);
        if (i == 0 && (error = mount_folder(tag, part, MS_RDONLY, "loose")) < 0)
            return error;
        append(options, sizeof options, i ? "," : "");
        append(options, sizeof options, parts[i]);
        append(options, sizeof options, "dir=");
        append(options, sizeof options, part);
    }
    return call5(SYS_mount, "xenia", path, "overlay", 0, options);
}

static void explain_share(const struct Share *share)
{
    explain("xenia: the shared folder ");
    explain(share->tag);
    explain(" cannot be mounted at ");
    explain(share->path);
    explain("\n");
}

static int mount_disk(const char *name, const char *path, u64 flags)
{
    char device[64] = "/dev/";
    append(device, sizeof device, name);
    return call5(SYS_mount, device, path, "ext4", flags, 0) >= 0;
}

static int mount_one(const struct Share *share)
{
    int reads = is_same(share->mode, "ro");
    make_directories(share->path);
    if (is_same(share->mode, "disk") || is_same(share->mode, "disk-ro"))
        return mount_disk(share->tag, share->path, is_same(share->mode, "disk") ? 0 : MS_RDONLY);
    if (is_same(share->mode, "cow"))
        return mount_copy(share->tag, share->path) >= 0;
    return mount_folder(share->tag, share->path, reads ? MS_RDONLY : 0, "mmap") >= 0;
}

/* Mount them all, but for a root; 0 and a line in `root_failure` where one cannot be had that has to be. */
static int mount_shares(void)
{
    for (u32 i = 0; i < nr_shares; i++)
        if (!is_same(shares[i].mode, "root") && !mount_one(&shares[i])) {
            *root_failure = 0;
            explain_share(&shares[i]);
            if (!shares[i].is_optional)
                return 0;
            say(2, root_failure);
            *root_failure = 0;
        }
    return 1;
}

static const struct Share *root_share(void)
{
    for (u32 i = 0; i < nr_shares; i++)
        if (is_same(shares[i].mode, "root"))
            return &shares[i];
    return 0;
}

/* The host's programs know nothing of this kernel's modules: those of the initial RAM disk stay, with their
 * modprobe. */
static void keep_modules(void)
{
    static const char modprobe[] = "/run/xenia-share/modprobe";
    s64 fd = call3(SYS_open, modprobe, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    call1(SYS_close, fd);
    call5(SYS_mount, "/bin/busybox", modprobe, 0, MS_BIND, 0);
    make_directories("/newroot/lib/modules");
    call5(SYS_mount, "/lib/modules", "/newroot/lib/modules", 0, MS_BIND, 0);
    write_file("/proc/sys/kernel/modprobe", modprobe);
}

/* Make a folder of the host's the root of all; 0 and a line in `root_failure` where it cannot be had. */
static int take_share(const struct Share *share)
{
    quiet_printk = (int)call2(SYS_open, "/proc/sys/kernel/printk", O_WRONLY | O_CLOEXEC);
    call2(SYS_mkdir, "/newroot", 0755);
    if (mount_copy(share->tag, "/newroot") < 0) {
        explain_share(share);
        return 0;
    }
    static const char *const own[] = { "/newroot/dev", "/newroot/proc", "/newroot/run", "/newroot/sys" };
    for (u32 i = 0; i < sizeof own / sizeof *own; i++)
        make_directories(own[i]);       /* the host's are not there */
    keep_modules();
    if (!enter_root(1))
        return 0;
    call5(SYS_mount, "/home", "/home", 0, MS_BIND, 0);
    call5(SYS_mount, 0, "/home", 0, MS_REMOUNT | MS_BIND | MS_RDONLY, 0);
    return 1;
}
