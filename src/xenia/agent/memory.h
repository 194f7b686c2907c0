/*
 * A guest whose memory ends: what is in RAM leaves some to processes, and of those the agent's are the last that the
 * kernel ends, so that somebody can still be asked to look.
 *
 * Linux lets each file system in RAM have half of the memory: in small guests one is more than there is once it has
 * booted, and in any guest three are.  So there is one, with one limit: the initial RAM disk where that remains the
 * root of all, or else what is mounted at /run; /dev/shm is a folder of it, and so are the parts of copies (shares.h).
 */
enum { TMPFS_MAGIC = 0x01021994, PR_SET_NAME = 15, LEFT_FREE = 12 << 20 };

static u64 file_system[15];                         /* struct statfs: f_type, f_bsize, f_blocks, f_bfree, ... */

static int is_in_memory(const char *path)
{
    return call2(SYS_statfs, path, file_system) >= 0 && file_system[0] == TMPFS_MAGIC;
}

static void make_folder_of_all(const char *path)
{
    call2(SYS_mkdir, path, 0755);
    call2(SYS_chmod, path, 01777);
}

/* Have /run, /tmp and /dev/shm; answers where what is in memory is. */
static const char *make_folders_in_memory(int root_remains)
{
    const char *place = root_remains && is_in_memory("/") ? "/" : "/run";
    call2(SYS_mkdir, "/run", 0755);
    if (*(place + 1))
        call5(SYS_mount, "tmpfs", "/run", "tmpfs", 0, "mode=0755");
    make_folder_of_all("/tmp");
    make_folder_of_all("/run/xenia-shm");
    call2(SYS_mkdir, "/dev/shm", 0755);
    call5(SYS_mount, "/run/xenia-shm", "/dev/shm", 0, MS_BIND, 0);
    return place;
}

/* Bytes of memory that nobody has. */
static u64 free_memory(void)
{
    u64 info[14] = { 0 };                           /* struct sysinfo: freeram is the sixth */
    call1(SYS_sysinfo, info);
    return info[5];
}

/* How much of the memory files may have, besides what they have: three quarters of what is free now, but not all. */
static void limit_files_in_memory(const char *place)
{
    char options[32] = "size=";
    u64 is_free = free_memory(), left = is_free / 4 > LEFT_FREE ? is_free / 4 : LEFT_FREE;
    u64 room = is_free > 2 * LEFT_FREE ? is_free - left : is_free / 2;
    if (!is_in_memory(place))
        return;
    append_number(options, sizeof options, (u32)(((file_system[2] - file_system[3]) * file_system[1] + room) >> 10));
    append(options, sizeof options, "k");
    call5(SYS_mount, "none", place, 0, MS_REMOUNT, options);
}

/* A process of the agent's own; of what it starts for others the same is not true (be_ordinary). */
static void be_agent(const char *name)
{
    call2(SYS_prctl, PR_SET_NAME, name);
    write_file("/proc/self/oom_score_adj", "-999");
}

static void be_ordinary(void)
{
    write_file("/proc/self/oom_score_adj", "0");
}
