/*
 * Which of the guest's block devices root= means; its words are listed in root.h.
 *
 * The labels and numbers of partitions are looked up where the kernel would look: in the partition table of their disk.
 */
struct Entry { u64 inode, offset; u16 length; u8 type; char name[]; };
enum { BLOCK_NAME = 64, SYSFS_TEXT = 1024 };

static const char *root_device;

static void append(char *buffer, u64 size, const char *text)
{
    u64 at = length_of(buffer);
    while (*text && at + 1 < size)
        buffer[at++] = *text++;
    buffer[at] = 0;
}

static void write_file(const char *path, const char *text)
{
    s64 fd = call3(SYS_open, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd >= 0) {
        write_all((int)fd, text, length_of(text));
        call1(SYS_close, fd);
    }
}

static void append_number(char *text, u64 size, u32 number)
{
    char digits[12];
    u32 at = sizeof digits - 1;
    for (digits[at] = 0; at == sizeof digits - 1 || number; number /= 10)
        digits[--at] = (char)('0' + number % 10);
    append(text, size, digits + at);
}

static int is_dots(const char *name)
{
    return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

static u32 digit_of(char c)
{
    return c >= '0' && c <= '9' ? (u32)(c - '0') : c >= 'a' && c <= 'f' ? (u32)(c - 'a' + 10)
         : c >= 'A' && c <= 'F' ? (u32)(c - 'A' + 10) : 16;
}

/* Read a hexadecimal number; `end` is set to what follows it. */
static u32 hex_of(const char *text, const char **end)
{
    u32 n = 0;
    while (digit_of(*text) < 16)
        n = n << 4 | digit_of(*text++);
    *end = text;
    return n;
}

/* Whether `text` is these 16 bytes in hexadecimal, dashes wherever they are. */
static int is_uuid(const char *text, const u8 *bytes)
{
    for (u32 nibble = 0; nibble < 32; text++) {
        if (*text == '-')
            continue;
        if (digit_of(*text) != (u32)(nibble & 1 ? bytes[nibble / 2] & 15 : bytes[nibble / 2] >> 4))
            return 0;
        nibble++;
    }
    return !*text;
}

/* --- what sysfs says of a device */

/* Read /sys/class/block/NAME/FILE. */
static const char *sysfs(const char *name, const char *file, char *text)
{
    char path[BLOCK_NAME + 64] = "/sys/class/block/";
    append(path, sizeof path, name);
    append(path, sizeof path, "/");
    append(path, sizeof path, file);
    s64 fd = call2(SYS_open, path, O_RDONLY | O_CLOEXEC), n = call3(SYS_read, fd, text, SYSFS_TEXT - 1);
    call1(SYS_close, fd);
    text[n > 0 ? n : 0] = 0;
    return text;
}

/* The value of KEY=VALUE in a uevent file, whose lines are cut up for that; 0 if there is none. */
static const char *line_of(char *text, const char *key)
{
    for (char *at = text, *line; *at;) {
        const char *value;
        for (line = at; *at && *at != '\n'; at++)
            ;
        char newline = *at;
        *at = 0;
        if ((value = value_of(line, key)))
            return value;
        *at = newline;
        at += newline != 0;
    }
    return 0;
}

/* Whether a device has this number: MAJOR:MINOR, or both in one as a hexadecimal number. */
static int has_number(const char *name, const char *wanted)
{
    char text[SYSFS_TEXT];
    const char *minor = sysfs(name, "dev", text), *end = wanted;
    u32 major = number_of(minor), number;
    while (*minor && *minor++ != ':')
        ;
    while (*end >= '0' && *end <= '9')
        end++;
    if (*end == ':') {
        for (number = 1; end[number] >= '0' && end[number] <= '9'; number++)
            ;
        return number > 1 && !end[number] && number_of(wanted) == major && number_of(end + 1) == number_of(minor);
    }
    number = hex_of(starts_with(wanted, "0x") ? wanted + 2 : wanted, &end);
    return !*end && (number & 0xfff00) >> 8 == major
        && ((number & 0xff) | (number >> 12 & 0xfff00)) == number_of(minor);
}

/* --- partitions */

static u32 u32_at(const u8 *at)
{
    return at[0] | (u32)at[1] << 8 | (u32)at[2] << 16 | (u32)at[3] << 24;
}

/* Whether the table on a disk gives partition `number` this id: a GPT's UUID, or an MBR's signature and the number. */
static int table_has(s64 disk, u32 sector, u32 number, const char *uuid)
{
    static const u8 order[16] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };
    u8 block[512], id[16];
    if (call4(SYS_pread64, disk, block, sizeof block, sector) == sizeof block
        && starts_with((char *)block, "EFI PART")) {
        u64 table = (u32_at(block + 72) | (u64)u32_at(block + 76) << 32) * sector;
        if (call4(SYS_pread64, disk, block, 32, table + (u64)(number - 1) * u32_at(block + 84)) != 32)
            return 0;
        for (u32 i = 0; i < 16; i++)
            id[i] = block[16 + order[i]];
        return is_uuid(uuid, id);
    }
    const char *end;
    return call4(SYS_pread64, disk, block, sizeof block, 0) == sizeof block && hex_of(uuid, &end) == u32_at(block + 440)
        && end == uuid + 8 && *end == '-' && hex_of(end + 1, &end) == number && !*end;
}

/* Whether a device is the partition of that id, or, with /PARTNROFF=N, the Nth after it. */
static int is_partition(const char *name, const char *wanted)
{
    char text[SYSFS_TEXT], path[BLOCK_NAME + 8] = "/dev/", uuid[64] = "";
    u32 number = number_of(sysfs(name, "partition", text)), sector, at = 0;
    const char *disk;
    for (; wanted[at] && wanted[at] != '/' && at + 1 < sizeof uuid; at++)
        uuid[at] = wanted[at];
    uuid[at] = 0;
    if (wanted[at]) {
        const char *offset = value_of(wanted + at, "/PARTNROFF");
        number = offset && number > number_of(offset) ? number - number_of(offset) : 0;
    }
    sysfs(name, "../uevent", text);
    if (!number || !(disk = line_of(text, "DEVNAME")))
        return 0;
    append(path, sizeof path, disk);
    sector = number_of(sysfs(disk, "queue/logical_block_size", text));
    s64 fd = call2(SYS_open, path, O_RDONLY | O_CLOEXEC);
    int found = table_has(fd, sector, number, uuid);
    call1(SYS_close, fd);
    return found;
}

/* --- file systems */

/* Whether the ext file system on a device has this label (uuid 0) or this UUID as text. */
static int has_ext(const char *device, const char *label, const char *uuid)
{
    u8 super[256];
    s64 fd = call2(SYS_open, device, O_RDONLY | O_CLOEXEC);
    s64 size = call4(SYS_pread64, fd, super, sizeof super, 1024);
    call1(SYS_close, fd);
    if (size != sizeof super || super[56] != 0x53 || super[57] != 0xef)
        return 0;
    if (!label)
        return is_uuid(uuid, super + 104);
    u32 n = 0;
    while (n < 16 && super[120 + n] && super[120 + n] == (u8)label[n])
        n++;
    return !label[n] && (n == 16 || !super[120 + n]);
}

/* --- all of it */

/* What follows KEY= or the directory in which udev would make a link for it; 0 if root= is neither. */
static const char *named_by(const char *key, const char *directory)
{
    const char *value = value_of(root_device, key);
    return value ? value : starts_with(root_device, directory) ? root_device + length_of(directory) : 0;
}

static int is_root(const char *name, const char *path)
{
    char text[SYSFS_TEXT];
    const char *value;
    if ((value = named_by("PARTUUID", "/dev/disk/by-partuuid/")))
        return is_partition(name, value);
    if ((value = named_by("PARTLABEL", "/dev/disk/by-partlabel/"))) {
        sysfs(name, "uevent", text);
        const char *label = line_of(text, "PARTNAME");
        return label && is_same(label, value);
    }
    if ((value = named_by("UUID", "/dev/disk/by-uuid/")))
        return has_ext(path, 0, value);
    if ((value = named_by("LABEL", "/dev/disk/by-label/")))
        return has_ext(path, value, 0);
    return root_device[0] == '/' ? is_same(path, root_device) : has_number(name, root_device);
}

/* Put the device's path into `path`; 0 where there is none yet.  `seen` gets the names of those that were looked at. */
static int find_device(char *path, u64 path_size, char *seen, u64 seen_size)
{
    char buffer[2048] __attribute__((aligned(8)));
    int found = 0;
    s64 size, blocks = call2(SYS_open, "/sys/class/block", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *seen = 0;
    while (!found && (size = call3(SYS_getdents64, blocks, buffer, sizeof buffer)) > 0) {
        for (s64 at = 0; at < size && !found; at += ((struct Entry *)(buffer + at))->length) {
            const char *name = ((struct Entry *)(buffer + at))->name;
            if (is_dots(name) || length_of(name) > BLOCK_NAME)
                continue;
            *path = 0;
            append(path, path_size, "/dev/");
            append(path, path_size, name);
            append(seen, seen_size, *seen ? " " : "");
            append(seen, seen_size, name);
            found = is_root(name, path);
        }
    }
    call1(SYS_close, blocks);
    return found;
}

/* Undo udev's way to write what may not be in a file's name: \x20 is a space. */
static void unescape(char *text)
{
    char *to = text;
    while (*text) {
        if (text[0] == '\\' && text[1] == 'x' && digit_of(text[2]) < 16 && digit_of(text[3]) < 16) {
            *to++ = (char)(digit_of(text[2]) << 4 | digit_of(text[3]));
            text += 4;
        } else {
            *to++ = *text++;
        }
    }
    *to = 0;
}
