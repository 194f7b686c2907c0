"""Placement of vcpu_info (public/vcpu.h, VCPUOP_register_vcpu_info).

The frame is held with a reference and a writable type reference as long as Xenia writes to it, so that it can become no
page table.
"""
from libc.stdint cimport uint32_t, uint64_t
from xenia.abi.errno cimport XEN_EINVAL, XEN_ENXIO
from xenia.abi.xen cimport INVALID_M2P_ENTRY, vcpu_info_t
from xenia.domain.domain cimport Vcpu
from xenia.machine.machine cimport FRAME_WRITABLE
from xenia.mm.references cimport get_page_and_type, put_page_and_type


cdef int vcpu_info_register(Vcpu *vcpu, uint64_t mfn, uint32_t offset) noexcept nogil:
    cdef vcpu_info_t *info
    if offset > 4096 - sizeof(vcpu_info_t) or offset & 7:
        return -XEN_ENXIO
    if vcpu.info_mfn != INVALID_M2P_ENTRY:
        return -XEN_EINVAL
    if get_page_and_type(&vcpu.domain.memory, mfn, FRAME_WRITABLE):
        return -XEN_EINVAL
    info = <vcpu_info_t *>(vcpu.domain.machine.base + (mfn << 12) + offset)
    info[0] = vcpu.info[0]
    vcpu.info = info
    vcpu.info_mfn = mfn
    # What was raised while it moved must not be lost: one upcall that looks at every word.
    info.evtchn_pending_sel = <uint64_t>-1
    info.evtchn_upcall_pending = 1
    return 0


cdef void vcpu_info_release(Vcpu *vcpu) noexcept nogil:
    if vcpu.info_mfn == INVALID_M2P_ENTRY:
        return
    vcpu.domain.shared_info.vcpu_info[vcpu.id] = vcpu.info[0]
    vcpu.info = &vcpu.domain.shared_info.vcpu_info[vcpu.id]
    put_page_and_type(&vcpu.domain.memory, vcpu.info_mfn)
    vcpu.info_mfn = INVALID_M2P_ENTRY
