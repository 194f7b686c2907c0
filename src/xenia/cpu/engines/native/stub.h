/* What Xenia and a stub share: addresses, the two areas of shared memory, and what the maker is told.  See stub.c. */
#ifndef XENIA_STUB_H
#define XENIA_STUB_H

/* The stub's own addresses: slot 160 of the top page table.  A guest that maps anything there is not run natively. */
#define STUB_BASE 0x500000000000
#define STUB_SLOT 160
#define STUB_END 0x508000000000
#define STUB_CONTROL 0x500000100000 /* StubControl: the stub may only read it */
#define STUB_REPORT 0x500000200000  /* StubReport, and behind it the stack of the guest thread's handler */
#define HOST_END 0x7ffffffff000     /* from here on the host maps nothing */

#define NR_STUBS 16 /* of one virtual cpu */
#define NR_COPIES 128 /* pages: what is executed instead of others (executable.pyx) */
#define STUB_MEMORY 3 /* descriptors */
#define STUB_COPIES 4
#define NR_ORDERS 252
#define CONTROL_SIZE 0x4000
#define REPORT_SIZE 0x8000
#define AREA_SIZE (CONTROL_SIZE + REPORT_SIZE)
#define HANDLER_STACK 0x1000 /* from here to the end of the report */

#include <stdint.h>

/* A system call that the mapper thread makes. */
typedef struct {
    uint64_t number, arguments[6], unused;
} StubOrder;

enum { MAKE_NONE, MAKE_FAULTING, MAKE_LOOKED_AT }; /* who keeps CPUID from it: the processor, or what is mapped there */

/* Of the maker: the stub that is there ends, and, where `make` (MAKE_*), another one takes its place. */
typedef struct {
    uint32_t index, number, make;
} StubRequest;

/* From the maker, or from a stub before it runs guest code.  Process 0: what the request of that number was for is no
 * more, or could not be made, and nothing is mapped there. */
typedef struct {
    uint32_t index, number, process;
} StubNews;

#define OF_GUEST_THREAD (~0ull) /* as the first argument: its thread id */

/* Written by Xenia alone. */
typedef struct {
    volatile uint32_t go;     /* number of the entry: the guest thread waits for the next one here */
    volatile uint32_t parked; /* where it is moved to, which proves that it sleeps */
    volatile uint32_t bell;   /* the mapper waits for it to change */
    volatile uint32_t batch;  /* number of the batch of orders */
    volatile uint32_t kicks;  /* another value: the guest thread is to leave guest code */
    volatile uint32_t count;  /* orders in the batch */
    volatile uint64_t one;
    volatile uint64_t fs, gs; /* bases to go on with */
    volatile uint64_t cpus;   /* masks for sched_setaffinity: the mapper's, */
    volatile uint32_t waits;  /* who waits for a report sleeps, or is about to: it is to be woken */
    volatile uint32_t spins;  /* so often the guest thread looks for the next entry before it sleeps */
    __attribute__((aligned(64))) StubOrder orders[NR_ORDERS];
    volatile uint64_t guest_cpus; /* and the guest thread's */
} StubControl;

/* Written by the guest thread, its handler or whatever else runs there: believed only where it harms nobody else. */
typedef struct {
    volatile uint32_t exit; /* number of the entry that ended */
    volatile uint32_t signal;
    volatile uint64_t context, info; /* addresses of the ucontext and the siginfo, on the handler's stack */
    volatile uint64_t fs, gs;
    volatile uint32_t asleep; /* it waits for the next entry asleep, or is about to */
} StubReport;

_Static_assert(sizeof(StubControl) <= CONTROL_SIZE, "control");
#endif
