# What a guest's kernel has told Xenia about one of its vcpus, and what it reads back: the part of a PV vcpu that is not
# registers in use.
# The rules are in domain/pv and hypercalls/traps.pyx.
#   lock    none, of all: the vcpu's own thread, or who has the turn while it is down.  nmi_pending: set
#           atomically by any thread, taken by the vcpu's own.
#   saved   all.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from xenia.abi.xen cimport trap_info_t

cdef struct Callback:
    uint64_t address        # 0: none registered
    uint8_t disables_events  # CALLBACKF_mask_events

cdef struct VcpuTraps:      # where exceptions, system calls and events go
    trap_info_t table[256]
    Callback event_callback
    Callback failsafe_callback
    Callback syscall_callback
    Callback syscall32_callback
    Callback sysenter_callback
    uint64_t kernel_sp      # stack_switch; its stack segment is always the flat one
    uint8_t nmi_pending
    uint8_t nmi_masked

cdef struct VcpuControl:    # registers as the guest reads them
    uint64_t gs_base_kernel
    uint64_t gs_base_user
    uint64_t cr0            # as the guest wrote it: TS matters
    uint64_t cr2
    uint64_t cr4
    uint64_t dr[8]
    uint32_t tsc_aux        # MSR_TSC_AUX
    uint64_t mcg_status     # machine checks, of which there are none
    uint64_t mc_ctl2[2]

cdef struct VcpuPorts:      # what it may do with I/O ports, and what it left at those that are there
    uint64_t iobmp_va       # PHYSDEVOP_set_iobitmap: guest address of the port bitmap (a set bit refuses), 0 none
    uint32_t iobmp_limit    # ports it covers
    uint8_t iopl
    uint32_t pci_cf8        # what was last written to port 0xcf8
    uint8_t cmos_index      # and to port 0x70
