/*
 * Who a command runs as: NAME or NUMBER, and behind a colon a group in the place of his own; looked up in /etc/passwd
 * and /etc/group.  A number need not be there.
 */
enum { USERS_SIZE = 1 << 16, MAX_GROUPS = 256 };

static char user_file[USERS_SIZE + 1], user_text[1024];
static const char *fields[7];                   /* of the line that was found; they point into `user_text` */

/* Split the line that begins at `line`, and answer where the next one does; 0: there is none. */
static const char *split_line(const char *line)
{
    u32 field = 0, at = 0;
    if (!*line)
        return 0;
    for (u32 i = 0; i < 7; i++)
        fields[i] = "";
    fields[0] = user_text;
    for (; *line && *line != '\n'; line++) {
        if (at + 1 >= sizeof user_text)
            continue;
        if (*line == ':' && field < 6) {
            user_text[at++] = 0;
            fields[++field] = user_text + at;
        } else {
            user_text[at++] = *line;
        }
    }
    user_text[at] = 0;
    return *line ? line + 1 : line;
}

static int is_number(const char *text)
{
    const char *at = text;
    while (*at >= '0' && *at <= '9')
        at++;
    return at != text && !*at;
}

/* Find the line of a name or number; whether there is one. */
static int find_line(const char *path, const char *name)
{
    u64 size;
    read_file(path, 0, user_file, USERS_SIZE, &size);
    for (const char *line = user_file; (line = split_line(line));)
        if (is_same(fields[0], name) || (is_number(name) && is_number(fields[2]) && is_same(fields[2], name)))
            return 1;
    return 0;
}

static int is_listed(const char *list, const char *name)
{
    u64 length = length_of(name);
    for (const char *at = list; *at; at++)
        if ((at == list || at[-1] == ',') && starts_with(at, name) && (at[length] == ',' || !at[length]))
            return 1;
    return 0;
}

static void add_default(const char *key, const char *value)
{
    static char room[4][300], *next = room[0];
    for (u32 i = 0; i < nr_env; i++)
        if (value_of(environment[i], key))
            return;
    append(next, sizeof *room, key);
    append(next, sizeof *room, "=");
    append(next, sizeof *room, value);
    environment[nr_env++] = next;
    next += sizeof *room;
}

static void __attribute__((noreturn)) refuse(const char *what, const char *which)
{
    say(2, "xenia: no ");
    say(2, what);
    say(2, " ");
    say(2, which);
    say(2, " in the guest\n");
    for (;;)
        call1(SYS_exit, 126);
}

/* Become `user`, with what his environment says of him. */
static void become_user(void)
{
    static u32 groups[MAX_GROUPS];
    char name[256] = "", group[256] = "";
    u32 nr_groups = 0, uid, gid = 0;
    const char *colon = user;
    while (*colon && *colon != ':')
        colon++;
    append(name, (u64)(colon - user) + 1 < sizeof name ? (u64)(colon - user) + 1 : sizeof name, user);
    append(group, sizeof group, *colon ? colon + 1 : "");
    int is_there = find_line("/etc/passwd", name);
    if (!is_there && !is_number(name))
        refuse("user", name);
    uid = number_of(is_there ? fields[2] : name);
    gid = is_there ? number_of(fields[3]) : 0;
    if (is_there) {
        *name = 0;
        append(name, sizeof name, fields[0]);
    }
    add_default("HOME", is_there && *fields[5] ? fields[5] : "/");
    add_default("SHELL", is_there && *fields[6] ? fields[6] : "/bin/sh");
    add_default("USER", name);
    add_default("LOGNAME", name);
    if (*group) {
        if (!find_line("/etc/group", group) && !is_number(group))
            refuse("group", group);
        gid = number_of(is_number(group) ? group : fields[2]);
    } else {
        u64 size;
        read_file("/etc/group", 0, user_file, USERS_SIZE, &size);
        groups[nr_groups++] = gid;
        for (const char *line = user_file; (line = split_line(line));)
            if (nr_groups < MAX_GROUPS && is_listed(fields[3], name))
                groups[nr_groups++] = number_of(fields[2]);
    }
    call2(SYS_setgroups, nr_groups, groups);
    if (call1(SYS_setgid, gid) < 0 || call1(SYS_setuid, uid) < 0)
        refuse("way to become", user);
}
