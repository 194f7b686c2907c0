"""A suspended PV domain as a value, and a domain made from it: in other frames, under another number.

What is saved with the domain's own nouns (domain/persist, mm/pv/persist) holds frame numbers in the places where Xen
knows of them: base pointers, GDT frames, rdx.  Here they become page numbers on the way out, and frames again on the
way back.
"""

from array import array
from dataclasses import replace

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from xenia.abi.xen cimport arch_shared_info_t
from xenia.cpu.context cimport EFLAGS_GUEST, EFLAGS_IF, RAX, RDX
from xenia.domain.create cimport domain_hold_rings
from xenia.domain.domain cimport SHUTDOWN_NONE, SHUTDOWN_suspend, Domain, Vcpu
from xenia.domain.persist cimport (
    clock_restore, clock_save, domain_restore, domain_save, vcpu_restore, vcpu_save,
)
from xenia.domain.time cimport time_update, wallclock_update
from xenia.hypervisor.domain cimport DomainHandle
from xenia.hypervisor.machine cimport MachineHandle
from xenia.hypervisor.pool cimport party_begin
from xenia.machine.machine cimport FRAME_L4, Frame, frame_exists
from xenia.mm.access cimport guest_walk
from xenia.mm.pv.persist cimport memory_pin, memory_restore, memory_save, pages_of

from xenia.domain.build.persisted import SavedStart, check_p2m, check_start_info, write_p2m, write_start_info
from xenia.errors import ConfigError
from xenia.hypervisor.saved import SavedGuest
from xenia.persist import check

cdef uint64_t NONE = <uint64_t>-1


def save(DomainHandle handle) -> SavedGuest:
    """All that a guest is which has suspended itself.  The domain is not changed.

    ConfigError, in one line, where it has not, or has done it in a way that nobody can undo: page tables that map what
    is not its own, no p2m list, a wrong start_info.
    """
    cdef Domain *domain = handle.domain
    cdef Vcpu *vcpu = domain.vcpus[0]
    if domain.life.shutdown != SHUTDOWN_suspend or handle.party.nr_seated:
        raise ConfigError("the guest cannot be saved: it has not suspended itself")
    pages = pages_of(&domain.memory)

    def page_number(mfn: int) -> int:
        pfn = domain.machine.m2p[<uint64_t>mfn] if frame_exists(domain.machine, mfn) else NONE
        if pfn >= len(pages) or pages[pfn] != mfn:
            raise ConfigError(f"the guest cannot be saved: frame {mfn:#x} is not its own")
        return pfn

    start = SavedStart(
        start_info=page_number(vcpu.context.gpr[<int>RDX]),
        store=page_number(domain.rings.store_mfn),
        console=page_number(domain.rings.console_mfn),
        p2m=array("Q", (page_number(mfn) for mfn in p2m_frames(domain, handle, pages))).tobytes(),
    )
    check_start_info(handle.page(pages[start.start_info]), start.store, start.console)
    saved = vcpu_save(vcpu)
    return SavedGuest(
        domain=domain_save(domain),
        clock=clock_save(domain),
        vcpu=replace(
            saved,
            root_kernel=page_number(saved.root_kernel),
            root_user=page_number(saved.root_user) if saved.root_user else 0,
            gdt_frames=tuple(map(page_number, saved.gdt_frames)),
            info_frame=None, info_offset=0, runstate_va=0, time_info_va=0,      # it registers them again
        ),
        memory=memory_save(&domain.memory, pages),
        start=start,
        arch_shared_info=bytes((<uint8_t *>&domain.shared_info.arch)[:sizeof(arch_shared_info_t)]),
    )


cdef list p2m_frames(Domain *domain, DomainHandle handle, object pages):
    # Checked: the tables are validated ones, so that the walk meets nothing of others'.
    cdef uint64_t root = domain.shared_info.arch.p2m_cr3 >> 12, va = domain.shared_info.arch.p2m_vaddr, maddr = 0
    cdef uint64_t nr_pages = domain.shared_info.arch.max_pfn, first
    cdef uint32_t error
    cdef Frame *frame
    if not frame_exists(domain.machine, root) or nr_pages == 0 or nr_pages > <uint64_t>len(pages):
        raise ConfigError("the guest cannot be saved: it has not published its p2m list (shared_info's p2m_vaddr)")
    frame = &domain.machine.frames[root]
    if frame.owner != domain.domid or frame.type != FRAME_L4 or frame.type_refs == 0:
        raise ConfigError("the guest cannot be saved: its p2m list is mapped by what is no page table")
    found = []
    for first in range(0, nr_pages, 512):
        if guest_walk(&domain.memory, root, va + 8 * first, 0, &maddr, &error) or maddr & 0xfff:
            raise ConfigError(f"the guest cannot be saved: its p2m list is not mapped at {va + 8 * first:#x}")
        if not domain.machine.frames[maddr >> 12].owner == domain.domid:
            raise ConfigError("the guest cannot be saved: its p2m list is in a frame that is not its own")
        check_p2m(handle.page(maddr >> 12), first, pages)
        found.append(maddr >> 12)
    return found


def rebuild(MachineHandle machine, saved: SavedGuest) -> DomainHandle:
    """A domain that goes on where the saved one was, ready to run: the next number, other frames.

    ConfigError where there is no number or not enough memory, or the state is damaged; nothing is left of it then.
    """
    check(saved)
    handle = DomainHandle(machine, machine.reserve_domid(), len(saved.memory.types), saved.clock.warped)
    try:
        restore(handle, saved)
    except (IndexError, OverflowError, ValueError) as wrong:
        handle.destroy()
        raise ConfigError(f"the saved guest is damaged: {wrong}") from wrong
    except BaseException:
        handle.destroy()
        raise
    return handle


cdef int restore(DomainHandle handle, object saved) except -1:
    cdef Domain *domain = handle.domain
    cdef Vcpu *vcpu = domain.vcpus[0]
    frames = handle.take_memory(saved.memory.max_pages)
    pages = memory_restore(&domain.memory, saved.memory, frames)
    types = dict(zip(array("Q", saved.memory.pfns), saved.memory.types))

    def frame_of(pfn: int, table: bool = True) -> int:
        if not 0 <= pfn < len(pages) or not pages[pfn] or (types[pfn] & 7 and not table):
            raise ConfigError(f"the saved guest is damaged: there is no page {pfn:#x} for that")
        return pages[pfn]

    domain.rings.store_mfn = frame_of(saved.start.store, False)
    domain.rings.console_mfn = frame_of(saved.start.console, False)
    for index, pfn in enumerate(array("Q", saved.start.p2m)):
        write_p2m(handle.page(frame_of(pfn, False)), 512 * index, pages)
    start_info = frame_of(saved.start.start_info, False)
    write_start_info(
        handle.page(start_info), nr_pages=len(frames), shared_info_maddr=domain.shared_info_mfn << 12,
        store_mfn=domain.rings.store_mfn, store_port=domain.rings.store_port,
        console_mfn=domain.rings.console_mfn, console_port=domain.rings.console_port,
    )
    memory_pin(&domain.memory, saved.memory, frames)
    domain_restore(domain, saved.domain)
    vcpu_restore(vcpu, replace(
        saved.vcpu,
        context=replace(saved.vcpu.context, rflags=saved.vcpu.context.rflags & EFLAGS_GUEST | EFLAGS_IF | 2),
        root_kernel=frame_of(saved.vcpu.root_kernel),
        root_user=frame_of(saved.vcpu.root_user) if saved.vcpu.root_user else 0,
        gdt_frames=tuple(map(frame_of, saved.vcpu.gdt_frames)),
    ))
    restore_shared_info(domain, saved.arch_shared_info)
    if domain_hold_rings(domain):
        raise ConfigError("the saved guest is damaged: its store or console page cannot be written")
    clock_restore(domain, saved.clock)
    vcpu.context.gpr[<int>RAX] = 0      # the hypercall's answer: somewhere else
    vcpu.context.gpr[<int>RDX] = start_info
    wallclock_update(domain)
    time_update(vcpu)
    return 0


cdef int restore_shared_info(Domain *domain, object arch) except -1:
    cdef const uint8_t[::1] data = arch
    if data.shape[0] != sizeof(arch_shared_info_t):
        raise ConfigError("the saved guest is damaged: its shared_info cannot be")
    memcpy(&domain.shared_info.arch, &data[0], sizeof(arch_shared_info_t))
    domain.shared_info.arch.pfn_to_mfn_frame_list_list = domain.shared_info.arch.p2m_cr3 = 0
    memset(domain.shared_info.evtchn_mask, 0xff, sizeof(domain.shared_info.evtchn_mask))
    domain.vcpus[0].info.evtchn_pending_sel = 0
    return 0


def resume(DomainHandle handle) -> None:
    """Let a guest that suspended itself go on where it is: its suspend was cancelled."""
    cdef Domain *domain = handle.domain
    if domain.life.shutdown != SHUTDOWN_suspend:
        raise ConfigError("the guest has not suspended itself")
    for thread in handle.threads:
        thread.end()
    domain.vcpus[0].context.gpr[<int>RAX] = 1    # the suspend was cancelled
    domain.life.shutdown = domain.life.shutdown_code = SHUTDOWN_NONE
    domain.links.stop = 0
    handle.threads = []
    handle.ended.clear()
    party_begin(&handle.party, &handle.pool.pool, domain)
    handle.start(handle.on_end)
