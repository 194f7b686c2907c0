# public/sched.h
from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

cdef enum:
    SCHEDOP_yield = 0
    SCHEDOP_block = 1
    SCHEDOP_shutdown = 2
    SCHEDOP_poll = 3
    SCHEDOP_remote_shutdown = 4
    SCHEDOP_shutdown_code = 5
    SCHEDOP_watchdog = 6
    SCHEDOP_pin_override = 7

cdef struct sched_shutdown_t:
    uint32_t reason

cdef struct sched_poll_t:
    uint64_t ports          # guest address of evtchn_port_t[nr_ports]
    uint32_t nr_ports
    uint64_t timeout        # absolute system time, ns; 0 none

cdef struct sched_remote_shutdown_t:
    uint16_t domain_id
    uint32_t reason

cdef struct sched_watchdog_t:
    uint32_t id
    uint32_t timeout        # seconds

cdef struct sched_pin_override_t:
    int32_t pcpu
