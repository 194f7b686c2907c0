# public/physdev.h
from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

cdef enum:
    PHYSDEVOP_IRQ_UNMASK_NOTIFY = 4
    PHYSDEVOP_irq_status_query = 5
    PHYSDEVOP_set_iopl = 6
    PHYSDEVOP_set_iobitmap = 7
    PHYSDEVOP_apic_read = 8
    PHYSDEVOP_apic_write = 9
    PHYSDEVOP_alloc_irq_vector = 10
    PHYSDEVOP_free_irq_vector = 11
    PHYSDEVOP_eoi = 12
    PHYSDEVOP_map_pirq = 13
    PHYSDEVOP_unmap_pirq = 14
    PHYSDEVOP_manage_pci_add = 15
    PHYSDEVOP_manage_pci_remove = 16
    PHYSDEVOP_pirq_eoi_gmfn_v1 = 17
    PHYSDEVOP_restore_msi = 19
    PHYSDEVOP_manage_pci_add_ext = 20
    PHYSDEVOP_setup_gsi = 21
    PHYSDEVOP_get_free_pirq = 23
    PHYSDEVOP_pci_mmcfg_reserved = 24
    PHYSDEVOP_pci_device_add = 25
    PHYSDEVOP_pci_device_remove = 26
    PHYSDEVOP_restore_msi_ext = 27
    PHYSDEVOP_pirq_eoi_gmfn_v2 = 28
    PHYSDEVOP_dbgp_op = 29
    PHYSDEVOP_prepare_msix = 30
    PHYSDEVOP_release_msix = 31

    XENIRQSTAT_needs_eoi = 1 << 0

cdef struct physdev_eoi_t:
    uint32_t irq

cdef struct physdev_pirq_eoi_gmfn_t:
    uint64_t gmfn

cdef struct physdev_irq_status_query_t:
    uint32_t irq
    uint32_t flags

cdef struct physdev_set_iopl_t:
    uint32_t iopl

cdef struct physdev_set_iobitmap_t:
    uint64_t bitmap
    uint32_t nr_ports

cdef struct physdev_apic_t:
    uint64_t apic_physbase
    uint32_t reg
    uint32_t value

cdef struct physdev_irq_t:
    uint32_t irq
    uint32_t vector

cdef struct physdev_map_pirq_t:
    uint16_t domid
    int32_t type
    int32_t index
    int32_t pirq
    int32_t bus
    int32_t devfn
    int32_t entry_nr
    uint64_t table_base

cdef struct physdev_unmap_pirq_t:
    uint16_t domid
    int32_t pirq

cdef struct physdev_get_free_pirq_t:
    int32_t type
    uint32_t pirq
