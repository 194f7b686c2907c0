"""A scheduling policy, asked from Python: what a simulation of many vcpus needs."""

from collections.abc import Collection

from libc.stdlib cimport calloc, free
from libc.string cimport memset

from xenia.sched.credit cimport CreditPolicy, credit_free, credit_init
from xenia.sched.null cimport NullPolicy, null_init
from xenia.sched.policy cimport (
    MAX_PCPUS, NO_PCPU, SCHED_ASLEEP, Choice, PcpuMask, Policy, SchedDomain, SchedVcpu, mask_add,
)


cdef class Scheduler:
    """The policy `name`, "credit" or "null", for so many pcpus; `spare`: the host has more processors."""

    cdef Policy *policy
    cdef NullPolicy null
    cdef CreditPolicy credit
    cdef SchedVcpu **seats
    cdef list vcpus

    def __cinit__(self, name: str, nr_pcpus: int, spare: bool = False):
        self.vcpus = []
        if name == "credit":
            if not credit_init(&self.credit, nr_pcpus, spare):
                raise MemoryError
            self.policy = &self.credit.ops
            return
        self.seats = <SchedVcpu **>calloc(nr_pcpus, sizeof(SchedVcpu *))
        if self.seats == NULL:
            raise MemoryError
        null_init(&self.null, self.seats, nr_pcpus)
        self.policy = &self.null.ops

    def __dealloc__(self):
        credit_free(&self.credit)
        free(self.seats)

    def add(self, ScheduledVcpu vcpu) -> bool:
        """Whether there is a place for one more, which is asleep."""
        vcpu.vcpu.owner = <void *>vcpu
        self.vcpus.append(vcpu)
        return self.policy.add(self.policy, &vcpu.vcpu)

    def remove(self, ScheduledVcpu vcpu, now: int) -> None:
        """It goes."""
        self.policy.remove(self.policy, &vcpu.vcpu, now)
        self.vcpus.remove(vcpu)

    def wake(self, ScheduledVcpu vcpu, now: int) -> int | None:
        """It has something to do: a pcpu that had better choose anew."""
        cdef int pcpu = self.policy.wake(self.policy, &vcpu.vcpu, now)
        return None if pcpu == NO_PCPU else pcpu

    def sleep(self, ScheduledVcpu vcpu, now: int) -> None:
        """It has nothing to do any more."""
        self.policy.sleep(self.policy, &vcpu.vcpu, now)

    def move(self, ScheduledVcpu vcpu, hard: Collection[int] | None, soft: Collection[int] | None,
             now: int) -> int | None:
        """Where it may run, and where it had better, by number, None anywhere: a pcpu that had better choose anew."""
        cdef PcpuMask hard_mask = mask_of(hard), soft_mask = mask_of(soft)
        cdef int pcpu = self.policy.move(self.policy, &vcpu.vcpu, &hard_mask, &soft_mask, now)
        return None if pcpu == NO_PCPU else pcpu

    def pick(self, pcpu: int, now: int) -> tuple[ScheduledVcpu | None, int, int | None]:
        """Who runs on `pcpu`; after how many ns to choose again, 0 not before something happens; who else should."""
        cdef Choice choice = self.policy.pick(self.policy, pcpu, now)
        vcpu = <object>choice.vcpu.owner if choice.vcpu != NULL else None
        return vcpu, choice.slice_ns, None if choice.poke == NO_PCPU else choice.poke

    def charge(self, ScheduledDomain domain, ns: int) -> int | None:
        """Others worked for it so long: a pcpu that had better choose anew."""
        cdef int pcpu = self.policy.charge(self.policy, &domain.domain, ns)
        return None if pcpu == NO_PCPU else pcpu


cdef PcpuMask mask_of(object pcpus):
    cdef PcpuMask mask
    memset(&mask, 0, sizeof(mask))
    for pcpu in range(MAX_PCPUS) if pcpus is None else pcpus:
        mask_add(&mask, pcpu)
    return mask


cdef class ScheduledDomain:
    """What a policy knows of a domain: its weight, and its cap in hundredths of a pcpu, 0 none."""

    cdef SchedDomain domain

    def __init__(self, weight: int = 256, cap: int = 0) -> None:
        self.domain.weight = weight
        self.domain.cap = cap

    @property
    def weight(self) -> int:
        """As it was made, or set since."""
        return self.domain.weight

    @weight.setter
    def weight(self, value: int) -> None:
        self.domain.weight = value

    @property
    def cap(self) -> int:
        """As it was made, or set since."""
        return self.domain.cap

    @cap.setter
    def cap(self, value: int) -> None:
        self.domain.cap = value


cdef class ScheduledVcpu:
    """What it knows of a vcpu."""

    cdef SchedVcpu vcpu
    cdef readonly ScheduledDomain domain

    def __init__(self, ScheduledDomain domain) -> None:
        self.domain = domain
        self.vcpu.domain = &domain.domain
        self.vcpu.hard = self.vcpu.soft = mask_of(None)

    def yields(self) -> None:
        """At its next decision others go first."""
        self.vcpu.yields = 1

    @property
    def asleep(self) -> bool:
        """Whether it has nothing to do."""
        return self.vcpu.state == SCHED_ASLEEP
