/*
 * What Unicorn asks of the host while a guest runs, by ways that stay open when the process is walled in.
 *
 *   qemu_guest_getrandom   RDRAND's numbers come from the kernel, not from a generator of glib's that opens a device (or, where
 *                          it may not, begins with the time of day).
 *   mmap64, munmap         memory for translated code.  A process that is walled in maps no code any more, so buffers are
 *                          reserved before that, and one that an engine gives back is there for the next.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "host.h"

int __wrap_qemu_guest_getrandom(void *buffer, size_t length)
{
    uint8_t *at = buffer;
    while (length) {
        ssize_t done = getrandom(at, length, 0);
        if (done < 0)
            return -1;
        at += done;
        length -= done;
    }
    return 0;
}

/* ---- memory for translated code ---- */

#define MOST 1024 /* buffers; an engine has one */

typedef struct {
    void *at;
    size_t length;
    bool taken;
} Buffer;

static Buffer buffers[MOST];
static pthread_mutex_t buffers_lock = PTHREAD_MUTEX_INITIALIZER;

extern void *__real_mmap64(void *at, size_t length, int protection, int flags, int fd, int64_t offset);
extern int __real_munmap(void *at, size_t length);

static void *map_code(size_t length)
{
    /* Much of it may never be touched. */
    return __real_mmap64(NULL, length, PROT_READ | PROT_WRITE | PROT_EXEC,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

int code_buffers_reserve(size_t length, int count)
{
    int found = 0;
    pthread_mutex_lock(&buffers_lock);
    for (Buffer *one = buffers; one < buffers + MOST; one++)
        found += one->length == length && !one->taken;
    for (Buffer *one = buffers; one < buffers + MOST && found < count; one++) {
        if (one->length)
            continue;
        void *at = map_code(length);
        if (at == MAP_FAILED)
            break;
        *one = (Buffer){at, length, false};
        found++;
    }
    pthread_mutex_unlock(&buffers_lock);
    return found;
}

void *__wrap_mmap64(void *at, size_t length, int protection, int flags, int fd, int64_t offset)
{
    void *found = NULL;
    if (!(protection & PROT_EXEC))
        return __real_mmap64(at, length, protection, flags, fd, offset);
    pthread_mutex_lock(&buffers_lock);
    for (Buffer *one = buffers; one < buffers + MOST && found == NULL; one++)
        if (one->length == length && !one->taken) {
            one->taken = true;
            found = one->at;
        }
    pthread_mutex_unlock(&buffers_lock);
    return found != NULL ? found : map_code(length);
}

int __wrap_munmap(void *at, size_t length)
{
    pthread_mutex_lock(&buffers_lock);
    for (Buffer *one = buffers; one < buffers + MOST; one++)
        if (one->at == at && one->taken) {
            madvise(at, length, MADV_DONTNEED);
            one->taken = false;
            pthread_mutex_unlock(&buffers_lock);
            return 0;
        }
    pthread_mutex_unlock(&buffers_lock);
    return __real_munmap(at, length);
}
