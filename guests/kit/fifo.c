/* Event channels (FIFO): the upcall takes what is queued, the most urgent first. */
#include "kit.h"

volatile struct evtchn_fifo_control_block *fifo_control;
volatile u32 *fifo_array[128];
static u32 heads[16];

void fifo_take(void (*handle)(u32 port))
{
    while (__atomic_exchange_n(&vcpu_info->evtchn_upcall_pending, 0, __ATOMIC_SEQ_CST)) {
        u32 ready = __atomic_exchange_n(&fifo_control->ready, 0, __ATOMIC_SEQ_CST);
        while (ready) {
            int queue = __builtin_ctz(ready);
            u32 port = heads[queue] ? heads[queue] : fifo_control->head[queue];
            u32 old = __atomic_fetch_and(fifo_word(port), ~(EVTCHN_FIFO_LINKED | EVTCHN_FIFO_LINK_MASK),
                                         __ATOMIC_SEQ_CST);
            heads[queue] = old & EVTCHN_FIFO_LINK_MASK;
            if (!heads[queue])
                ready &= ~(1u << queue);
            if (old & EVTCHN_FIFO_PENDING && !(old & EVTCHN_FIFO_MASKED)) {
                __atomic_fetch_and(fifo_word(port), ~EVTCHN_FIFO_PENDING, __ATOMIC_SEQ_CST);
                handle(port);
            }
            ready |= __atomic_exchange_n(&fifo_control->ready, 0, __ATOMIC_SEQ_CST);
        }
    }
}
