"""Hypercalls by the hundred thousand, drawn from a seed, made on a domain that stands still."""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from xenia.abi.xen cimport (
    DOMID_SELF,
    HYPERVISOR_event_channel_op,
    HYPERVISOR_grant_table_op,
    HYPERVISOR_memory_op,
    HYPERVISOR_mmu_update,
    HYPERVISOR_mmuext_op,
    HYPERVISOR_multicall,
    HYPERVISOR_set_gdt,
    HYPERVISOR_update_va_mapping,
    HYPERVISOR_vcpu_op,
)
from xenia.domain.domain cimport SHUTDOWN_NONE, Domain, Vcpu
from xenia.domain.events cimport events_apply_mailbox
from xenia.domain.time cimport system_time, timers_fire
from xenia.domain.upcall cimport vcpu_unblock
from xenia.hypercalls.table cimport hypercall_call
from xenia.machine.machine cimport frame_words
from xenia.mm.access cimport copy_to_guest
from xenia.testing.still cimport StillDomain
from xenia.testing.still_build cimport NR_PAGES

from xenia.testing.still import BASE


def fuzz(StillDomain domain, seed: int, calls: int) -> dict[int, int]:
    """Make `calls` hypercalls with arguments drawn from `seed`: how often each number succeeded.

    Arguments are drawn from small numbers, addresses in and around the data pages, frames of its own, of others and of
    nobody, and noise; before each call the argument page is filled the same way.  A shutdown is taken back.  Now and
    then the backends of the store and the console write something to their rings.
    """
    cdef uint64_t state = <uint64_t>seed * <uint64_t>0x9e3779b97f4a7c15 + 1
    cdef uint64_t remaining = calls
    cdef Fuzzer fuzzer = Fuzzer(domain)
    with nogil:
        while remaining:
            fuzzer.fuzz_one(&state)
            remaining -= 1
    return {number: fuzzer.succeeded[number] for number in range(64) if fuzzer.succeeded[number]}


cdef class Fuzzer:
    """One run: the domain, and how often each hypercall succeeded."""

    cdef StillDomain still
    cdef Domain *domain
    cdef uint64_t base
    cdef uint64_t succeeded[64]

    def __cinit__(self, StillDomain domain):
        self.still = domain
        self.domain = domain.domain
        self.base = BASE

    cdef void fuzz_one(self, uint64_t *state) noexcept nogil:
        cdef Vcpu *vcpu = self.domain.vcpus[0]
        cdef uint64_t args[6]
        cdef uint64_t page[32]
        cdef uint64_t number = draw(state) % 50, halves = draw(state) % 4, where = self.base + draw(state) % 4 * 4096, i
        for i in range(32):
            page[i] = self.interesting(state)
            if halves == 0:                 # most structures have fields of four bytes
                page[i] = (page[i] & 0xffff) | (draw(state) % 16) << 32
        if draw(state) % 2:
            self.table_requests(state, page, number)
        copy_to_guest(&self.domain.memory, vcpu.mmu.root_kernel, where, page, sizeof(page))
        if draw(state) % 8 == 0:
            i = self.domain.rings.store_mfn if draw(state) % 2 else self.domain.rings.console_mfn
            memcpy(&frame_words(self.still.memory.machine, i)[draw(state) % 480], page, sizeof(page))
        for i in range(6):
            args[i] = self.interesting(state)
        # mostly of the right shape: command, pointer, count; or pointer, count, 0, DOMID_SELF
        if draw(state) % 4:
            if takes_list(number):
                args[0] = where
                args[1] = draw(state) % 5
                args[2] = 0
                args[3] = DOMID_SELF
            elif number != HYPERVISOR_update_va_mapping:
                args[0] = draw(state) % 16 if draw(state) % 4 else draw(state) % 32
                args[1] = where
                args[2] = draw(state) % 4
        if number == HYPERVISOR_vcpu_op:
            args[2] = args[1]
            args[1] = draw(state) % 8 == 0
        vcpu.preempt = draw(state) % 16 == 0
        self.succeeded[number] += hypercall_call(vcpu, number, args) >= 0
        self.still.processor.state.host_ns += draw(state) % 100_000
        if draw(state) % 64 == 0:
            timers_fire(vcpu, system_time(self.domain))
            events_apply_mailbox(self.domain)
        self.domain.life.shutdown = self.domain.life.shutdown_code = SHUTDOWN_NONE
        vcpu_unblock(vcpu)
        vcpu.yielded = 0

    # Requests that mean something: entries of the domain's own tables for mmu_update, commands for the others, calls
    # for multicall.
    cdef void table_requests(self, uint64_t *state, uint64_t *page, uint64_t number) noexcept nogil:
        cdef uint64_t table, i
        for i in range(8):
            if number == HYPERVISOR_mmu_update:
                table = self.still.frames[NR_PAGES + draw(state) % 4]
                page[2 * i] = table << 12 | draw(state) % 64 << 3 | draw(state) % 3
                page[2 * i + 1] = 0
                if draw(state) % 4:
                    page[2 * i + 1] = self.still.frames[draw(state) % (NR_PAGES + 4)] << 12 | 0x61 | (draw(state) & 6)
            elif number == HYPERVISOR_mmuext_op:
                page[3 * i] = draw(state) % 22
                if draw(state) % 4:
                    page[3 * i + 1] = self.still.frames[draw(state) % (NR_PAGES + 4)]
                else:
                    page[3 * i + 1] = self.interesting(state)
            # a frame, and an offset or a vcpu
            elif number == HYPERVISOR_event_channel_op and i < 2 and draw(state) % 2:
                page[i] = draw(state) % 600 << 3 if i else self.still.frames[draw(state) % (NR_PAGES + 4)]
            elif number == HYPERVISOR_event_channel_op or number == HYPERVISOR_grant_table_op:
                page[i] = (DOMID_SELF if draw(state) % 2 else draw(state) % 8) | draw(state) % 8 << 32
            elif number == HYPERVISOR_multicall and i < 4:
                page[8 * i] = draw(state) % 50
            elif number == HYPERVISOR_memory_op and i < 2:          # a reservation, twice over for exchange
                page[5 * i] = self.base + 4096 + draw(state) % 2 * 4096
                page[5 * i + 1] = 1 + draw(state) % 4
                page[5 * i + 2] = draw(state) % 3
                page[5 * i + 3] = DOMID_SELF
                page[10] = 0

    cdef uint64_t interesting(self, uint64_t *state) noexcept nogil:
        cdef uint64_t kind = draw(state) % 18, value = draw(state)
        if kind < 5:
            return value % 8
        if kind < 8:
            return self.base + (value % 4) * 4096 + (value >> 32) % 32 * 8
        if kind == 8:
            return self.base + value % ((NR_PAGES + 6) * 4096)
        if kind < 11:
            return self.still.frames[value % (NR_PAGES + 4)]
        if kind < 14:                   # a page-table entry, or a machine address
            return (self.still.frames[value % (NR_PAGES + 4)] << 12
                    | (value >> 32 & 0xfff if value >> 48 & 1 else 0x61 | (value >> 32 & 6)))
        if kind == 14:
            return value % (self.still.memory.machine.nr_frames + 8)
        if kind == 15:
            return DOMID_SELF + value % 4
        if kind == 16:
            return <uint64_t>1 << (value & 63)
        return value


# The first argument is a list and the second says how long it is.
cdef inline bint takes_list(uint64_t number) noexcept nogil:
    return number in (HYPERVISOR_mmu_update, HYPERVISOR_mmuext_op, HYPERVISOR_multicall, HYPERVISOR_set_gdt)


cdef inline uint64_t draw(uint64_t *state) noexcept nogil:
    # xorshift64*: the same calls for the same seed, everywhere.
    state[0] ^= state[0] >> 12
    state[0] ^= state[0] << 25
    state[0] ^= state[0] >> 27
    return (state[0] * <uint64_t>0x2545f4914f6cdd1d) >> 11
