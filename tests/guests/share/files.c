/*
 * What a program meets in the folder that it is started in: a line for each call, with what came of it.  On two file
 * systems that behave alike the lines are the same.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static long said(const char *what, long result)
{
    int error = errno;
    printf("%s = %ld", what, result);
    if (result < 0)
        printf(" (%s)", strerror(error));
    printf("\n");
    return result;
}

#define try(call) (errno = 0, said(#call, (long)(call)))

static void look(const char *path)
{
    struct stat found;
    errno = 0;
    int result = lstat(path, &found);
    printf("%s: ", path);
    if (result < 0)
        printf("%s\n", strerror(errno));
    else
        printf("mode %o, %lu links, owner %u %u, %ld bytes\n", found.st_mode, (unsigned long)found.st_nlink,
               found.st_uid, found.st_gid, S_ISREG(found.st_mode) || S_ISLNK(found.st_mode) ? (long)found.st_size : 0);
}

static void opening(void)
{
    int fd;
    try((fd = open("file", O_RDWR)) >= 0 ? 0 : -1);
    try((fd = open("file", O_RDWR | O_CREAT | O_EXCL, 0640)) >= 0 ? 0 : -1);
    try(write(fd, "hello, world", 12));
    try(open("file", O_RDWR | O_CREAT | O_EXCL, 0640));
    try(pread(fd, (char[16]){ 0 }, 16, 7));
    try(lseek(fd, -2, SEEK_END));
    try(ftruncate(fd, 5));
    look("file");
    try(ftruncate(fd, 5000));
    try(pwrite(fd, "x", 1, 9999));
    look("file");
    try(fsync(fd));
    try(fdatasync(fd));
    try(close(fd));
    try(close(open("file", O_WRONLY | O_TRUNC)));
    look("file");
    try((fd = open("file", O_WRONLY | O_APPEND)) >= 0 ? 0 : -1);
    try(write(fd, "one", 3) + write(fd, "two", 3));
    try(read(fd, (char[4]){ 0 }, 4));
    try(close(fd));
    look("file");
    try(open("file/below", O_RDONLY));
    try(open("file", O_RDONLY | O_DIRECTORY));
    try(open(".", O_RDWR));
    try(open(".", O_WRONLY | O_CREAT, 0600));
    try(truncate("file", 2));
    try(truncate("nothing", 2));
    look("file");
    char name[300];
    memset(name, 'n', sizeof name);
    name[255] = 0;
    try(close(open(name, O_CREAT | O_WRONLY, 0600)));
    try(unlink(name));
    name[255] = 'n', name[256] = 0;
    try(open(name, O_CREAT | O_WRONLY, 0600));
}

static void naming(void)
{
    char target[100] = "";
    try(mkdir("d", 0750));
    try(mkdir("d", 0750));
    try(mkdir("d/e", 0700));
    try(mkdir("none/e", 0700));
    look("d");
    try(rmdir("d"));
    try(unlink("d") < 0);
    try(rmdir("file"));
    try(symlink("file", "link"));
    try(symlink("file", "link"));
    try(symlink("/nowhere/at/all", "d/far"));
    try(readlink("link", target, sizeof target));
    printf("-> %.4s\n", target);
    try(readlink("file", target, sizeof target));
    look("link");
    try(open("link", O_RDONLY | O_NOFOLLOW));
    try(close(open("link", O_RDONLY)));
    try(open("d/far", O_RDONLY));
    try(symlink("loop", "loop"));
    try(open("loop", O_RDONLY));
    try(link("file", "second"));
    try(link("file", "second"));
    try(link("d", "folder"));
    look("file");
    try(rename("second", "third"));
    look("second");
    try(rename("third", "d/third"));
    try(rename("nothing", "d/third"));
    try(rename("d", "d/e/f"));
    try(rename("file", "d"));
    try(rename("d/e", "file"));
    try(rename("d/e", "g"));
    try(rename("g", "d"));
    try(rename("d/third", "file"));          /* the same file: nothing happens */
    look("d/third");
    try(unlink("d/third"));
    look("file");
    try(unlink("nothing"));
    try(mkfifo("pipe", 0600));
    look("pipe");
    try(mkdir("pipe", 0700));
    try(unlink("pipe"));
    try(rmdir("d/."));
    try(unlink("d/far") | unlink("loop") | unlink("link"));
    try(rmdir("g") | rmdir("d"));
    try(access("file", R_OK) | access("file", F_OK));
    try(access("nothing", F_OK));
}

static void attributes(void)
{
    struct timespec times[2] = { { 1000000000, 0 }, { 1111111111, 0 } };
    struct stat found;
    struct statvfs system;
    try(chmod("file", 0604));
    look("file");
    try(chmod("file", 0400));
    try(chmod("file", 0600));
    try(chown("file", 0, 0));
    try(utimensat(AT_FDCWD, "file", times, 0));
    stat("file", &found);
    printf("%ld.%09ld ", found.st_atim.tv_sec, found.st_atim.tv_nsec);
    printf("%ld.%09ld\n", found.st_mtim.tv_sec, found.st_mtim.tv_nsec);
    times[0].tv_nsec = UTIME_OMIT, times[1].tv_nsec = UTIME_NOW;
    try(utimensat(AT_FDCWD, "file", times, 0));
    stat("file", &found);
    printf("%ld %d\n", found.st_atim.tv_sec, found.st_mtim.tv_sec > 1111111111);
    try(statvfs(".", &system) == 0 && system.f_blocks > 0 && system.f_namemax == 255);
    try(setxattr("file", "user.colour", "green", 5, XATTR_CREATE));
    try(setxattr("file", "user.colour", "green", 5, XATTR_CREATE));
    try(setxattr("file", "user.none", "green", 5, XATTR_REPLACE));
    try(setxattr("file", "user.colour", "blue", 4, XATTR_REPLACE));
    try(getxattr("file", "user.colour", (char[10]){ 0 }, 10));
    try(getxattr("file", "user.none", (char[10]){ 0 }, 10));
    try(listxattr("file", 0, 0));
    try(removexattr("file", "user.colour"));
    try(removexattr("file", "user.colour"));
    try(listxattr("file", 0, 0));
}

/* Files whose names are gone, or go to others, while they are open. */
static void keeping(void)
{
    struct stat found;
    char data[8] = "";
    int fd = open("kept", O_RDWR | O_CREAT, 0600), other = open("other", O_RDWR | O_CREAT, 0600);
    try(write(fd, "kept", 4) + write(other, "other", 5));
    try(rename("other", "kept"));
    try(pread(fd, data, 8, 0));
    try(pread(other, data, 8, 0));
    try(unlink("kept"));
    try(write(other, "more", 4));
    try(fstat(other, &found));
    printf("%ld bytes\n", (long)found.st_size);
    try(ftruncate(other, 3));
    try(pread(other, data, 8, 0));
    try(fchmod(other, 0640));
    try(close(fd) | close(other));
    look("kept");
    try((fd = open("made", O_CREAT | O_RDWR | O_EXCL, 0444)) >= 0 ? 0 : -1);
    try(write(fd, "to be read", 10));
    try(close(fd));
    look("made");
    try(unlink("made"));
    try((fd = open(".", O_TMPFILE | O_RDWR, 0600)) >= 0 || errno == EOPNOTSUPP);
    close(fd);
}

static void mapping(void)
{
    static char page[8192];
    int fd = open("mapped", O_RDWR | O_CREAT, 0600);
    memset(page, 'a', sizeof page);
    try(write(fd, page, sizeof page));
    char *shared = mmap(0, sizeof page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *private = mmap(0, sizeof page, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    printf("%d %d\n", shared != MAP_FAILED, private != MAP_FAILED);
    if (shared == MAP_FAILED || private == MAP_FAILED)
        return;
    private[1] = 'p';
    shared[5000] = 's';
    try(msync(shared, sizeof page, MS_SYNC));
    try(pread(fd, page, sizeof page, 0));
    printf("%c %c %c\n", page[0], page[1], page[5000]);
    try(munmap(shared, sizeof page) | munmap(private, sizeof page));
    try(close(fd) | unlink("mapped"));
}

/* What another process is refused.  Two files, for Linux's 9p client takes both kinds of locks for one. */
static void locking(void)
{
    struct flock lock = { .l_type = F_WRLCK, .l_start = 10, .l_len = 10 };
    int fd = open("locked", O_RDWR | O_CREAT, 0600), whole = open("whole", O_RDWR | O_CREAT, 0600), status;
    try(fcntl(fd, F_SETLK, &lock));
    try(flock(whole, LOCK_EX));
    fflush(stdout);
    if (fork() == 0) {
        struct flock mine = { .l_type = F_WRLCK, .l_start = 15, .l_len = 10 };
        int again = open("locked", O_RDWR), all = open("whole", O_RDWR);
        try(fcntl(again, F_SETLK, &mine));
        mine.l_start = 20;
        try(fcntl(again, F_SETLK, &mine));
        mine.l_start = 12;
        try(fcntl(again, F_GETLK, &mine));
        printf("%s\n", mine.l_type == F_WRLCK ? "somebody's" : "nobody's");
        try(flock(all, LOCK_SH | LOCK_NB));
        fflush(stdout);
        _exit(0);
    }
    wait(&status);
    lock.l_type = F_UNLCK;
    try(fcntl(fd, F_SETLK, &lock));
    try(flock(whole, LOCK_UN));
    try(close(fd) | close(whole) | unlink("locked") | unlink("whole"));
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Many names, of which some go while they are listed. */
static void listing(void)
{
    static char *names[2000];
    int count = 0, gone = 0;
    struct dirent *entry;
    char name[32];
    try(mkdir("many", 0700));
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "many/%d", i);
        close(open(name, O_CREAT | O_WRONLY, 0600));
    }
    DIR *folder = opendir("many");
    while ((entry = readdir(folder)) && count < 2000)
        names[count++] = strdup(entry->d_name);
    qsort(names, count, sizeof *names, by_name);
    for (int i = 1; i < count; i++)
        gone += !strcmp(names[i], names[i - 1]);
    printf("%d names, %d twice, %s to %s\n", count, gone, names[2], names[count - 1]);
    rewinddir(folder);
    while ((entry = readdir(folder)))
        if (*entry->d_name != '.')
            unlinkat(dirfd(folder), entry->d_name, 0);
    closedir(folder);
    try(rmdir("many"));
}

int main(void)
{
    umask(022);
    opening();
    naming();
    attributes();
    keeping();
    mapping();
    locking();
    listing();
    try(unlink("file"));
    return 0;
}
