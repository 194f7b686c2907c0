/*
 * A guest whose memory ends: what is in RAM leaves some to processes, and of those the agent's are the last that the
 * kernel ends, so that somebody can still be asked to look.
 *
 * Linux lets each file system in RAM have half of the memory, in small guests more than there is once it has booted.
 */
enum { TMPFS_MAGIC = 0x01021994, PR_SET_NAME = 15, LEFT_FREE = 12 << 20 };

/* Bytes of memory that nobody has. */
static u64 free_memory(void)
{
    u64 info[14] = { 0 };                           /* struct sysinfo: freeram is the sixth */
    call1(SYS_sysinfo, info);
    return info[5];
}

/* How much of the memory they may have: no more than Linux says, and not all that is free now. */
static void limit_files_in_memory(void)
{
    static const char *const places[] = { "/", "/tmp", "/dev/shm" };
    u64 is_free = free_memory(), room = is_free > 2 * LEFT_FREE ? is_free - LEFT_FREE : is_free / 2;
    for (u32 i = 0; i < sizeof places / sizeof *places; i++) {
        u64 found[15];                              /* struct statfs: f_type, f_bsize, f_blocks, f_bfree, ... */
        char options[32] = "size=";
        if (call2(SYS_statfs, places[i], found) < 0 || found[0] != TMPFS_MAGIC || found[3] * found[1] <= room)
            continue;
        append_number(options, sizeof options, (u32)(((found[2] - found[3]) * found[1] + room) >> 10));
        append(options, sizeof options, "k");
        call5(SYS_mount, "none", places[i], 0, MS_REMOUNT, options);
    }
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
