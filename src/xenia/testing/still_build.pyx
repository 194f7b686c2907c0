"""How a domain that stands still begins: with page tables and a clock made for it, or as one that was saved, noun by
noun."""

from array import array

from posix.unistd cimport write
from xenia.domain.clock cimport RUNSTATE_running
from xenia.domain.create cimport domain_hold_rings, vcpu_begin_on
from xenia.domain.persist cimport (
    clock_restore, clock_save, domain_restore, domain_save, vcpu_restore, vcpu_save,
)
from xenia.domain.persist_events cimport events_restore, events_save, grants_restore, grants_save
from xenia.domain.time cimport clock_start_with, runstate_change, system_time, time_update, wallclock_update
from xenia.machine.machine cimport FRAME_L4, Machine, frame_words, machine_alloc
from xenia.mm.pv.persist cimport memory_pin, memory_restore, memory_save, pages_of
from xenia.mm.references cimport get_page_and_type
from xenia.testing.recorder cimport recorded_host_clock

from xenia.testing.saved import SavedStill


cdef void count_wake(void *count) noexcept nogil:
    (<int *>count)[0] += 1


cdef void wake_by_fd(void *fd) noexcept nogil:
    cdef uint64_t one = 1
    write((<int *>fd)[0], &one, sizeof(one))


cdef uint64_t told_to_wait(void *since) noexcept nogil:
    return (<uint64_t *>since)[0]


cdef void still_take_memory(Domain *domain, uint64_t *frames, uint64_t spare) noexcept:
    cdef int i
    for i in range(NR_FRAMES):
        frames[i] = machine_alloc(domain.machine, domain.domid)
        domain.machine.m2p[frames[i]] = i
    domain.memory.tot_pages = NR_FRAMES
    domain.memory.max_pages = NR_FRAMES + spare
    domain.shared_info.arch.max_pfn = NR_FRAMES
    domain.rings.store_mfn, domain.rings.console_mfn = frames[STORE_PAGE], frames[CONSOLE_PAGE]


cdef void build_tables(Machine *machine, const uint64_t *frames) noexcept:
    cdef uint64_t l1 = frames[NR_PAGES], l2 = frames[NR_PAGES + 1], l3 = frames[NR_PAGES + 2]
    cdef uint64_t l4 = frames[NR_PAGES + 3], i
    for i in range(NR_FRAMES):
        frame_words(machine, l1)[i] = frames[i] << 12 | (0x63 if i < NR_PAGES else 0x21)
    frame_words(machine, l2)[0] = l1 << 12 | 0x63
    frame_words(machine, l3)[0] = l2 << 12 | 0x63
    frame_words(machine, l4)[SLOT] = l3 << 12 | 0x63


cdef void start_clock(Domain *domain, RecordingState *recorder, bint warped, uint64_t wallclock) noexcept:
    recorder.step = 100_000
    clock_start_with(domain, warped, recorded_host_clock, recorder, wallclock)
    recorder.step = 0


cdef int still_build(Domain *domain, RecordingState *recorder, const uint64_t *frames, bint warped) except -1:
    cdef Vcpu *vcpu = domain.vcpus[0]
    build_tables(domain.machine, frames)
    if vcpu_begin_on(vcpu, frames[NR_PAGES + 3]) or domain_hold_rings(domain):
        raise AssertionError("the page tables do not validate")
    vcpu.initialised = vcpu.is_up = 1
    vcpu.context.kernel = 1
    recorder.host_ns = 1_000_000_000
    start_clock(domain, recorder, warped, 1_700_000_000_123_456_789)
    wallclock_update(domain)
    time_update(vcpu)
    runstate_change(vcpu, RUNSTATE_running, system_time(domain))
    vcpu.timers.changed = 0
    return 0


cdef int still_begin_vcpu(Vcpu *vcpu) noexcept:
    cdef uint64_t root = vcpu.domain.vcpus[0].mmu.root_kernel
    cdef int rc = get_page_and_type(&vcpu.domain.memory, root, FRAME_L4)
    if rc == 0:
        vcpu.initialised = 1
        vcpu.mmu.root_kernel = vcpu.mmu.root_loaded = root
        vcpu.processor.ops.load_root(vcpu.processor, root, False)
    return rc


cdef object still_save(Domain *domain, RecordingState *recorder):
    pages = pages_of(&domain.memory)
    return SavedStill(
        domain_save(domain), clock_save(domain), tuple(vcpu_save(domain.vcpus[i]) for i in range(domain.nr_vcpus)),
        events_save(domain), grants_save(domain), memory_save(&domain.memory, pages), recorder.host_ns,
    )


cdef int still_restore(Domain *domain, RecordingState *recorder, const uint64_t *frames, object saved) except -1:
    cdef int i
    own = array("Q", [frames[i] for i in range(NR_FRAMES)])
    memory_restore(&domain.memory, saved.memory, own)
    memory_pin(&domain.memory, saved.memory, own)
    domain_restore(domain, saved.domain)
    for i in range(len(saved.vcpus)):
        vcpu_restore(domain.vcpus[i], saved.vcpus[i])
    if domain_hold_rings(domain):
        raise AssertionError("the rings cannot be held")
    start_clock(domain, recorder, saved.clock.warped, 0)
    recorder.host_ns = saved.host_ns
    clock_restore(domain, saved.clock)
    events_restore(domain, saved.events)
    grants_restore(domain, saved.grants)
    return 0
