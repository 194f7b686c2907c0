/* Locks a file, by flock(2), until there is a byte to read. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    char byte;
    int file = argc > 1 ? open(argv[1], O_RDONLY) : -1;
    if (flock(file, LOCK_EX) < 0) {
        perror("flock");
        return 1;
    }
    puts("locked");
    fflush(stdout);
    return read(0, &byte, 1) != 1;
}
