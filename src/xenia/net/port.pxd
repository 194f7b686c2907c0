# Ports: where frames enter and leave a network.  See port.pyx.
from libc.stdint cimport uint32_t
from xenia.net.frame cimport Frame

# How many calls are under way to who is at a port, and whether anybody is.  False: nobody.
cdef extern from *:
    """
    #include <sched.h>
    #include <stdint.h>
    #ifndef XENIA_PORT
    #define XENIA_PORT
    enum { PORT_CLOSED = 0x80000000u };
    static inline int port_enter(volatile uint32_t *inside)
    {
        uint32_t now = __atomic_load_n(inside, __ATOMIC_ACQUIRE);
        while (!(now & PORT_CLOSED))
            if (__atomic_compare_exchange_n(inside, &now, now + 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE))
                return 1;
        return 0;
    }
    static inline void port_leave(volatile uint32_t *inside)
    {
        __atomic_fetch_sub(inside, 1, __ATOMIC_RELEASE);
    }
    static inline void port_close(volatile uint32_t *inside)
    {
        __atomic_fetch_or(inside, PORT_CLOSED, __ATOMIC_ACQ_REL);
        while (__atomic_load_n(inside, __ATOMIC_ACQUIRE) != PORT_CLOSED)
            sched_yield();
    }
    static inline void port_open(volatile uint32_t *inside)
    {
        __atomic_store_n(inside, 0, __ATOMIC_RELEASE);
    }
    #endif
    """
    bint port_enter(volatile uint32_t *inside) noexcept nogil
    void port_leave(volatile uint32_t *inside) noexcept nogil
    void port_close(volatile uint32_t *inside) noexcept nogil
    void port_open(volatile uint32_t *inside) noexcept nogil
    enum:
        PORT_CLOSED

# Who is at a port: a guest's card, a bridge, a layer.  Called on any thread, several at once; nothing of it touches
# Python.
cdef struct Receiver:
    void *self
    # Frames from the network, BATCH at the most: taken, or dropped and counted.
    void (*deliver)(void *self, Frame *frames, int count) noexcept nogil
    # After `send` took less than it was given: it takes again.
    void (*ready)(void *self) noexcept nogil


cdef class Port:
    cdef Receiver receiver
    cdef volatile uint32_t inside   # calls under way to the receiver; CLOSED: nobody is at the port

    # Frames for the network, BATCH at the most, from any thread.  How many it took, from the first on; the others
    # stay the caller's, who is called when they may be sent again (Receiver.ready).
    cdef int send(self, Frame *frames, int count) noexcept nogil
    # From now on that one is at the port.  Precondition: nobody is.
    cdef void attach(self, Receiver *receiver) noexcept nogil
    # Nobody is any more: the receiver is neither called nor is a call under way.  Not from within a call to it.
    cdef void detach(self) noexcept nogil
    # For subclasses: call who is at the port, if anybody is.
    cdef void deliver(self, Frame *frames, int count) noexcept nogil
    cdef void ready(self) noexcept nogil
