# public/vcpu.h
from libc.stdint cimport int32_t, uint32_t, uint64_t

cdef enum:
    VCPUOP_initialise = 0
    VCPUOP_up = 1
    VCPUOP_down = 2
    VCPUOP_is_up = 3
    VCPUOP_get_runstate_info = 4
    VCPUOP_register_runstate_memory_area = 5
    VCPUOP_set_periodic_timer = 6
    VCPUOP_stop_periodic_timer = 7
    VCPUOP_set_singleshot_timer = 8
    VCPUOP_stop_singleshot_timer = 9
    VCPUOP_register_vcpu_info = 10
    VCPUOP_send_nmi = 11
    VCPUOP_get_physid = 12
    VCPUOP_register_vcpu_time_memory_area = 13

    VCPU_SSHOTTMR_future = 1 << 0

cdef extern from *:
    """
    #define XENIA_RUNSTATE_UPDATE (1ULL << 63)
    """
    const uint64_t XEN_RUNSTATE_UPDATE "XENIA_RUNSTATE_UPDATE"

cdef struct vcpu_runstate_info_t:
    int32_t state
    uint64_t state_entry_time
    uint64_t time[4]

cdef struct vcpu_set_periodic_timer_t:
    uint64_t period_ns

cdef struct vcpu_set_singleshot_timer_t:
    uint64_t timeout_abs_ns
    uint32_t flags

cdef struct vcpu_register_vcpu_info_t:
    uint64_t mfn
    uint32_t offset
    uint32_t rsvd

cdef struct vcpu_register_runstate_memory_area_t:
    uint64_t addr

cdef struct vcpu_register_time_memory_area_t:
    uint64_t addr
