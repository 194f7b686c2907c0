"""physdev_op (public/physdev.h) as a domain without devices sees it: I/O privilege is its own affair, interrupt lines
are not."""
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from xenia.abi.errno cimport XEN_EBUSY, XEN_EFAULT, XEN_EINVAL, XEN_ENOSYS, XEN_EPERM
from xenia.abi.physdev cimport (
    PHYSDEVOP_alloc_irq_vector,
    PHYSDEVOP_apic_read,
    PHYSDEVOP_apic_write,
    PHYSDEVOP_dbgp_op,
    PHYSDEVOP_eoi,
    PHYSDEVOP_get_free_pirq,
    PHYSDEVOP_irq_status_query,
    PHYSDEVOP_IRQ_UNMASK_NOTIFY,
    PHYSDEVOP_manage_pci_add,
    PHYSDEVOP_manage_pci_add_ext,
    PHYSDEVOP_manage_pci_remove,
    PHYSDEVOP_map_pirq,
    PHYSDEVOP_pci_device_add,
    PHYSDEVOP_pci_device_remove,
    PHYSDEVOP_pci_mmcfg_reserved,
    PHYSDEVOP_pirq_eoi_gmfn_v1,
    PHYSDEVOP_pirq_eoi_gmfn_v2,
    PHYSDEVOP_prepare_msix,
    PHYSDEVOP_release_msix,
    PHYSDEVOP_restore_msi,
    PHYSDEVOP_restore_msi_ext,
    PHYSDEVOP_set_iobitmap,
    PHYSDEVOP_set_iopl,
    PHYSDEVOP_setup_gsi,
    PHYSDEVOP_unmap_pirq,
    XENIRQSTAT_needs_eoi,
    physdev_apic_t,
    physdev_get_free_pirq_t,
    physdev_irq_status_query_t,
    physdev_irq_t,
    physdev_map_pirq_t,
    physdev_set_iobitmap_t,
    physdev_unmap_pirq_t,
)
from xenia.domain.domain cimport Vcpu
from xenia.hypercalls.guest cimport from_guest, own_domain, to_guest
from xenia.machine.machine cimport FRAME_WRITABLE
from xenia.mm.references cimport get_page_and_type, put_page_and_type


cdef int64_t irq_status_query(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef physdev_irq_status_query_t op
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    if op.irq >= NR_PIRQS:
        return -XEN_EINVAL
    op.flags = XENIRQSTAT_needs_eoi
    return to_guest(vcpu, va, &op, sizeof(op))


cdef int64_t set_iopl(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef uint32_t iopl
    if from_guest(vcpu, &iopl, va, sizeof(iopl)):
        return -XEN_EFAULT
    if iopl > 3:
        return -XEN_EINVAL
    vcpu.ports.iopl = iopl
    return 0


cdef int64_t set_iobitmap(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef physdev_set_iobitmap_t op
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    if op.nr_ports > 65536:
        return -XEN_EINVAL
    vcpu.ports.iobmp_va = op.bitmap
    vcpu.ports.iobmp_limit = op.nr_ports
    return 0


cdef int64_t alloc_irq_vector(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef physdev_irq_t op
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    if op.irq >= NR_PIRQS:
        return -XEN_EINVAL
    op.vector = op.irq
    return to_guest(vcpu, va, &op, sizeof(op))


# A page in which Xen would tell which lines want an EOI.  No line is this domain's, so it stays as the guest made it.
cdef int64_t pirq_eoi_gmfn(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef uint64_t mfn
    if from_guest(vcpu, &mfn, va, sizeof(mfn)):
        return -XEN_EFAULT
    if get_page_and_type(&vcpu.domain.memory, mfn, FRAME_WRITABLE):
        return -XEN_EINVAL
    if vcpu.domain.events.pirq_eoi_mfn:
        put_page_and_type(&vcpu.domain.memory, mfn)
        return -XEN_EBUSY
    vcpu.domain.events.pirq_eoi_mfn = mfn
    return 0


# A number for a line that could be given to the domain; none ever is.
cdef int64_t get_free_pirq(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef physdev_get_free_pirq_t op
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    op.pirq = NR_PIRQS - 1
    return to_guest(vcpu, va, &op, sizeof(op))


# Operations that want a whole argument first and then refuse the caller.
cdef int64_t refuse(Vcpu *vcpu, uint64_t va, uint64_t size) noexcept nogil:
    cdef unsigned char argument[64]
    return -XEN_EFAULT if from_guest(vcpu, argument, va, size) else -XEN_EPERM


cdef int64_t map_pirq(Vcpu *vcpu, uint64_t va, uint64_t size) noexcept nogil:
    cdef unsigned char argument[64]
    cdef int result
    if from_guest(vcpu, argument, va, size):
        return -XEN_EFAULT
    result = own_domain(vcpu.domain, (<uint16_t *>argument)[0])
    return result if result else -XEN_EPERM


cdef int64_t eoi(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef uint32_t irq
    return -XEN_EFAULT if from_guest(vcpu, &irq, va, sizeof(irq)) else -XEN_EINVAL


cdef int64_t physdev_op(Vcpu *vcpu, uint32_t cmd, uint64_t va) noexcept nogil:
    if cmd == PHYSDEVOP_irq_status_query:
        return irq_status_query(vcpu, va)
    if cmd == PHYSDEVOP_set_iopl:
        return set_iopl(vcpu, va)
    if cmd == PHYSDEVOP_set_iobitmap:
        return set_iobitmap(vcpu, va)
    if cmd == PHYSDEVOP_eoi:
        return eoi(vcpu, va)
    if cmd == PHYSDEVOP_pirq_eoi_gmfn_v1 or cmd == PHYSDEVOP_pirq_eoi_gmfn_v2:
        return pirq_eoi_gmfn(vcpu, va)
    if cmd == PHYSDEVOP_apic_read or cmd == PHYSDEVOP_apic_write:
        return refuse(vcpu, va, sizeof(physdev_apic_t))
    if cmd == PHYSDEVOP_alloc_irq_vector:
        return alloc_irq_vector(vcpu, va)
    if cmd == PHYSDEVOP_map_pirq:
        return map_pirq(vcpu, va, sizeof(physdev_map_pirq_t))
    if cmd == PHYSDEVOP_unmap_pirq:
        return map_pirq(vcpu, va, sizeof(physdev_unmap_pirq_t))
    if cmd == PHYSDEVOP_get_free_pirq:
        return get_free_pirq(vcpu, va)
    if cmd in (PHYSDEVOP_manage_pci_add, PHYSDEVOP_manage_pci_remove, PHYSDEVOP_restore_msi):
        return refuse(vcpu, va, 2)
    if cmd in (PHYSDEVOP_restore_msi_ext, PHYSDEVOP_pci_device_remove, PHYSDEVOP_prepare_msix, PHYSDEVOP_release_msix):
        return refuse(vcpu, va, 4)
    if cmd == PHYSDEVOP_dbgp_op:
        return -XEN_EPERM
    if cmd == PHYSDEVOP_setup_gsi:
        return refuse(vcpu, va, 8)
    if cmd == PHYSDEVOP_pci_device_add:
        return refuse(vcpu, va, 12)
    if cmd == PHYSDEVOP_manage_pci_add_ext or cmd == PHYSDEVOP_pci_mmcfg_reserved:
        return refuse(vcpu, va, 16)
    return -XEN_ENOSYS


cdef int64_t do_physdev_op(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    return physdev_op(vcpu, <uint32_t>args[0], args[1])


cdef int64_t do_physdev_op_compat(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    cdef uint32_t cmd
    if from_guest(vcpu, &cmd, args[0], sizeof(cmd)):
        return -XEN_EFAULT
    if cmd == PHYSDEVOP_IRQ_UNMASK_NOTIFY:
        return 0
    if PHYSDEVOP_irq_status_query <= cmd <= PHYSDEVOP_alloc_irq_vector:
        return physdev_op(vcpu, cmd, args[0] + 8)
    return -XEN_ENOSYS
