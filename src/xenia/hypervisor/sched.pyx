"""How a domain is scheduled: its weight and cap, on which pcpus its vcpus may run, what they are doing."""

from collections.abc import Iterable

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from xenia.domain.domain cimport Vcpu
from xenia.hypervisor.domain cimport DomainHandle
from xenia.hypervisor.pool cimport Seat, party_nudge, seat_move
from xenia.machine.clock cimport monotonic
from xenia.machine.lock cimport lock, unlock
from xenia.sched.policy cimport (
    MAX_WEIGHT, NO_PCPU, SCHED_ASLEEP, SCHED_RUNNING, PcpuMask, mask_add, mask_has,
)

from xenia.errors import ConfigError
from xenia.hypervisor.vcpu_state import VcpuInfo


cdef class DomainSched:
    """How `domain` is scheduled: where its machine has the credit2 scheduler, its share of the pcpus."""

    cdef DomainHandle domain

    def __init__(self, DomainHandle domain) -> None:
        self.domain = domain

    @property
    def nr_pcpus(self) -> int:
        """How many pcpus its machine's domains share; 0 under the null scheduler."""
        return self.domain.machine.nr_pcpus

    @property
    def weight(self) -> int:
        """Its share relative to other domains', 1 to 65535."""
        return self.domain.party.sched.weight

    def set_weight(self, weight: int) -> None:
        """ConfigError where it is none."""
        if not 1 <= weight <= MAX_WEIGHT:
            raise ConfigError(f"a weight is a number from 1 to {MAX_WEIGHT}, not {weight}")
        self.entitle(&self.domain.party.sched.weight, weight)

    @property
    def cap(self) -> int:
        """The most that it gets, in hundredths of a pcpu; 0: as much as there is."""
        return self.domain.party.sched.cap

    def set_cap(self, cap: int) -> None:
        """ConfigError where it cannot have so much."""
        if not 0 <= cap <= 100 * self.domain.max_vcpus:
            raise ConfigError(
                f"a cap is a number from 0 (none) to 100 for each of {self.domain.max_vcpus} vcpus, not {cap}")
        self.entitle(&self.domain.party.sched.cap, cap)

    cdef void entitle(self, uint32_t *what, uint32_t wanted):
        with nogil:
            lock(&self.domain.pool.pool.lock)
            what[0] = wanted
            party_nudge(&self.domain.party)
            unlock(&self.domain.pool.pool.lock)

    cdef Seat *seat(self, vcpu) except NULL:
        if not 0 <= vcpu < self.domain.max_vcpus:       # as a number of any size
            raise ConfigError(f"the domain has vcpus 0 to {self.domain.max_vcpus - 1}, and no vcpu {vcpu}")
        return &self.domain.party.seats[<int>vcpu]

    def pin(self, vcpu: int, hard: Iterable[int] | None = None, soft: Iterable[int] | None = None) -> None:
        """The pcpus on which a vcpu may run (hard), and on which it had better (soft); None: as before.

        ConfigError where none of them is there.
        """
        cdef Seat *seat = self.seat(vcpu)
        cdef PcpuMask hard_mask = seat.sched.hard, soft_mask = seat.sched.soft
        cdef int rc = 0
        nr_pcpus = self.domain.machine.nr_pcpus
        if not nr_pcpus:
            raise ConfigError("the null scheduler pins every vcpu to a pcpu of its own: ask for scheduler=credit2")
        for wanted, mask in ((hard, True), (soft, False)):
            if wanted is None:
                continue
            pcpus = set(wanted)
            if not any(0 <= pcpu < nr_pcpus for pcpu in pcpus):
                raise ConfigError(f"the machine has pcpus 0 to {nr_pcpus - 1}, and none of those that were named")
            if mask:
                hard_mask = mask_of(pcpus, nr_pcpus)
            else:
                soft_mask = mask_of(pcpus, nr_pcpus)
        with nogil:
            rc = seat_move(seat, &hard_mask, &soft_mask)
        if rc:
            raise MemoryError

    @property
    def vcpus(self) -> list[VcpuInfo]:
        """What each vcpu is doing."""
        cdef Seat *seat
        cdef Vcpu *vcpu
        cdef int number, pcpu
        cdef uint64_t ran
        cdef bint runs, sleeps
        nr_pcpus = self.domain.machine.nr_pcpus or self.domain.max_vcpus
        found = []
        for number in range(self.domain.max_vcpus):
            seat = &self.domain.party.seats[number]
            vcpu = self.domain.domain.vcpus[number]
            with nogil:
                lock(&self.domain.pool.pool.lock)
                runs = seat.sched.state == SCHED_RUNNING
                sleeps = seat.sched.state == SCHED_ASLEEP
                ran = seat.ran + (monotonic() - seat.since if runs else 0)
                pcpu = seat.sched.pcpu if seat.seated or seat.ran else NO_PCPU
                unlock(&self.domain.pool.pool.lock)
            online = vcpu.is_up
            state = ("r" if runs else "-") + ("b" if sleeps and online and not self.domain.paused else "-")
            found.append(VcpuInfo(
                number, pcpu if online and pcpu != NO_PCPU else None, bool(online),
                state + ("-" if online and not self.domain.paused else "p"), ran,
                pcpus_of(&seat.sched.hard, nr_pcpus), pcpus_of(&seat.sched.soft, nr_pcpus),
            ))
        return found

    def named(self, pcpus: frozenset[int]) -> str:
        """Of VcpuInfo's pcpus, as xl writes them: "all", or numbers and ranges."""
        nr_pcpus = self.domain.machine.nr_pcpus or self.domain.max_vcpus
        if len(pcpus) == nr_pcpus:
            return "all"
        firsts = [pcpu for pcpu in sorted(pcpus) if pcpu - 1 not in pcpus]
        lasts = [pcpu for pcpu in sorted(pcpus) if pcpu + 1 not in pcpus]
        return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in zip(firsts, lasts))


cdef PcpuMask mask_of(object pcpus, int nr_pcpus):
    # All that there are, and whatever may come: anywhere.
    cdef PcpuMask mask
    memset(&mask, 0xff if pcpus.issuperset(range(nr_pcpus)) else 0, sizeof(mask))
    for pcpu in pcpus:
        if 0 <= pcpu < nr_pcpus:
            mask_add(&mask, pcpu)
    return mask


cdef object pcpus_of(const PcpuMask *mask, int nr_pcpus):
    return frozenset(pcpu for pcpu in range(nr_pcpus) if mask_has(mask, pcpu))
