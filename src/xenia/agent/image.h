/*
 * What a root disk runs that was made of a container image: its file /.xenia says so, in NUL-terminated "key=value"
 * strings (ImageCommand of agent/config.py).
 *
 * The image's command takes the place of an init, but one of the host's takes its.  Of the environment,
 * the image's variables go over what all programs find, and the operator's over both.  A command that is an init of its
 * own becomes process 1.
 */
enum { MAX_IMAGE_GROUPS = 64, MAX_OWN = MAX_ENV };

static char image_conf[CONF_SIZE + 1];
static const char *own_variables[MAX_OWN];
static u32 nr_own, has_image, image_uid, image_gid, image_groups[MAX_IMAGE_GROUPS], nr_image_groups;

/* Put "NAME=VALUE" into the environment, in the place of another value of that name. */
static void set_variable(const char *variable)
{
    u64 name = 0;
    u32 at = 0;
    while (variable[name] && variable[name] != '=')
        name++;
    for (; at < nr_env; at++) {
        u64 same = 0;
        while (same <= name && environment[at][same] == variable[same])
            same++;
        if (same > name)
            break;
    }
    if (at == MAX_ENV)
        return;
    environment[at] = variable;
    nr_env += at == nr_env;
    const char *path = value_of(variable, "PATH");
    if (path)
        search_path = path;
}

static void set_own_variables(void)
{
    for (u32 i = 0; i < nr_own; i++)
        set_variable(own_variables[i]);
}

/* Take what the root file system's image runs; whether it is of one. */
static int read_image_command(void)
{
    u64 size;
    u32 nr_image_args = 0;
    if (!read_file("/.xenia", O_NOFOLLOW, image_conf, CONF_SIZE, &size))
        return 0;
    for (const char *at = image_conf; at < image_conf + size; at += length_of(at) + 1) {
        const char *value;
        if ((value = value_of(at, "env")))
            set_variable(value);
        else if ((value = value_of(at, "cwd")) && is_same(directory, "/"))
            directory = value;
        else if ((value = value_of(at, "uid")))
            image_uid = number_of(value);
        else if ((value = value_of(at, "gid")))
            image_gid = number_of(value);
        else if ((value = value_of(at, "group")) && nr_image_groups < MAX_IMAGE_GROUPS)
            image_groups[nr_image_groups++] = number_of(value);
        else if ((value = value_of(at, "arg")) && !is_command && !on_screen && nr_image_args < MAX_ARGS)
            args[nr_image_args++] = value;
    }
    if (nr_image_args)
        nr_args = nr_image_args;
    set_own_variables();
    return 1;
}

/* Nobody would come to mount it writable later. */
static void make_root_writable(void)
{
    if (!root_read_only)
        call5(SYS_mount, 0, "/", 0, MS_REMOUNT, root_flags);
}

/* Become the image's user, who may open his own standard streams by name. */
static void become_image_user(void)
{
    if (!image_uid && !image_gid && !nr_image_groups)
        return;
    for (int fd = 0; fd < 3; fd++)
        call3(SYS_fchown, fd, image_uid, image_gid);
    if (call2(SYS_setgroups, nr_image_groups, image_groups) < 0 || call1(SYS_setgid, image_gid) < 0
        || call1(SYS_setuid, image_uid) < 0) {
        say(2, "xenia: cannot become the image's user\n");
        for (;;)
            call1(SYS_exit, 126);
    }
}

static int is_init_program(const char *path)
{
    return ends_with(path, "/sbin/init") || ends_with(path, "/systemd/systemd");
}
