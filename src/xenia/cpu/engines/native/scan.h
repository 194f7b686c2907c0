/* CPUID in a page: at whatever byte an instruction may begin. */
#ifndef XENIA_SCAN_H
#define XENIA_SCAN_H

#include <stdint.h>
#include <string.h>

enum { SCAN_FIRST = 0x0f, SCAN_SECOND = 0xa2 };

/* Are its two bytes there?  The first of them may be at the end of whatever page comes before: a page that begins with
 * the second counts too. */
static inline int page_has_cpuid(const uint8_t *page, uint64_t length)
{
    const uint8_t *at = page, *end = page + length;
    while ((at = memchr(at, SCAN_SECOND, end - at)) != NULL) {
        if (at == page || at[-1] == SCAN_FIRST)
            return 1;
        at++;
    }
    return 0;
}

#endif
