/* Our functions in the place of Unicorn's: see interpose.c. */
#ifndef XENIA_INTERPOSE_H
#define XENIA_INTERPOSE_H

#include "unicorn_x86.h"

/* What the interposed functions need of the engine that runs on this thread. */
typedef struct {
    uint8_t *machine_memory;
    uint64_t machine_bytes;
    void (*on_syscall)(void *engine, int kind_is_sysenter, int length);
    void (*on_cpuid)(void *engine);
    void *engine;
    uint8_t *code_frames; /* a bit for each machine frame: translations from it exist */
    uint32_t watch_hits; /* data watchpoints (dr6 bits) that the last instruction touched */
    bool watch_armed;    /* the next block is that one instruction */
    uint64_t tlb_fills;
} Interposed;

void interposed_enter(Interposed *current); /* before cpu_exec, on the thread that runs it */

/* Walk the page tables at CR3 for a supervisor read of the hypervisor's or the guest's memory; NULL where unmapped. */
uint8_t *interposed_walk(Interposed *current, CPUX86State *env, uint64_t va);

#endif
