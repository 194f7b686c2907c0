/* CPUID in a page: wherever an instruction may begin. */
#ifndef XENIA_SCAN_H
#define XENIA_SCAN_H

#include "instruction.h"

#include <string.h>

enum {
    SCAN_FIRST = 0x0f,
    SCAN_SECOND = 0xa2,
    SCAN_UNDEFINED = 0x0b, /* instead of the second: ud2 */
    SCAN_MOST = 8,         /* places in a page: each is looked at for up to 30 microseconds */
    SCAN_NEAREST = 32,     /* bytes before a place that are read to know what it is part of */
    SCAN_FARTHEST = 64,
};

enum { SCAN_UNKNOWN, SCAN_INSTRUCTION, SCAN_DISPLACEMENT }; /* what a place is */

/* The instruction that the place is part of, for who begins to read at `begin`. */
static inline int scan_from(const uint8_t *page, int length, int begin, int place, int *displacement)
{
    for (int at = begin;;) {
        Instruction it = instruction_at(page + at, length - at);
        int next = at + (it.length ? it.length : 1);
        if (next <= place && (it.length || at + INSTRUCTION_LONGEST <= place)) {
            at = next;
            continue;
        }
        *displacement = at + it.displacement;
        if (!it.length) /* nor is it known of one that a bad byte follows */
            return SCAN_UNKNOWN;
        if (!it.displacement)
            return at + it.opcode == place ? SCAN_INSTRUCTION : SCAN_UNKNOWN;
        return place >= *displacement && place + 2 <= *displacement + 4 ? SCAN_DISPLACEMENT : SCAN_UNKNOWN;
    }
}

/* It is what it is from whichever byte one begins to read: where that is in the middle of an instruction, it no longer
 * is a few instructions later. */
static inline int scan_place(const uint8_t *page, int length, int place)
{
    int what = SCAN_UNKNOWN, where = 0;
    if (place < SCAN_FARTHEST)
        return SCAN_UNKNOWN;
    for (int begin = place - SCAN_FARTHEST; begin <= place - SCAN_NEAREST; begin++) {
        int displacement, found = scan_from(page, length, begin, place, &displacement);
        if (begin == place - SCAN_FARTHEST) {
            what = found;
            where = displacement;
        }
        if (found == SCAN_UNKNOWN || found != what || (found == SCAN_DISPLACEMENT && displacement != where))
            return SCAN_UNKNOWN;
    }
    return what;
}

/* Where CPUID's second byte is next, from `at` on; `length`: nowhere.  At the begin of a page it counts as well: the
 * first may be at the end of whatever page comes before. */
static inline int scan_next(const uint8_t *page, int length, int at)
{
    for (; at < length; at++) {
        const uint8_t *found = memchr(page + at, SCAN_SECOND, length - at);
        at = found ? (int)(found - page) : length;
        if (!found || at == 0 || page[at - 1] == SCAN_FIRST)
            break;
    }
    return at;
}

enum { PAGE_CLEAN, PAGE_TAINTED, PAGE_PATCHABLE };

/* Clean: CPUID is executed there by nobody, or by who jumps into a displacement.  Patchable: nor would it be in a copy
 * of the page that page_patch had changed. */
static inline int page_look(const uint8_t *page, int length)
{
    int verdict = PAGE_CLEAN, places = 0;
    for (int second = scan_next(page, length, 0); second < length; second = scan_next(page, length, second + 1)) {
        int what = second && ++places <= SCAN_MOST ? scan_place(page, length, second - 1) : SCAN_UNKNOWN;
        if (what == SCAN_UNKNOWN)
            return PAGE_TAINTED;
        if (what == SCAN_INSTRUCTION)
            verdict = PAGE_PATCHABLE;
    }
    return verdict;
}

/* Each CPUID becomes an undefined instruction of the same length. */
static inline void page_patch(uint8_t *page, int length)
{
    for (int second = scan_next(page, length, 1); second < length; second = scan_next(page, length, second + 1))
        if (scan_place(page, length, second - 1) == SCAN_INSTRUCTION)
            page[second] = SCAN_UNDEFINED;
}

/* Is the one what page_patch makes of the other? */
static inline int page_is_patched(const uint8_t *patched, const uint8_t *page, int length)
{
    for (int at = 0; at < length; at++)
        if (patched[at] != page[at]
            && (at == 0 || patched[at] != SCAN_UNDEFINED || page[at] != SCAN_SECOND || page[at - 1] != SCAN_FIRST))
            return 0;
    return page_look(patched, length) == PAGE_CLEAN;
}

#endif
