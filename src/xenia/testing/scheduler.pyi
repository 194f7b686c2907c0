"""A scheduling policy, asked from Python: what a simulation of many vcpus needs."""

from collections.abc import Collection

class Scheduler:
    """The policy `name`, "credit" or "null", for so many pcpus; `spare`: the host has more processors."""
    def __init__(self, name: str, nr_pcpus: int, spare: bool = False) -> None: ...
    def add(self, vcpu: ScheduledVcpu) -> bool:
        """Whether there is a place for one more, which is asleep."""
        ...
    def remove(self, vcpu: ScheduledVcpu, now: int) -> None:
        """It goes."""
        ...
    def wake(self, vcpu: ScheduledVcpu, now: int) -> int | None:
        """It has something to do: a pcpu that had better choose anew."""
        ...
    def sleep(self, vcpu: ScheduledVcpu, now: int) -> None:
        """It has nothing to do any more."""
        ...
    def move(
        self, vcpu: ScheduledVcpu, hard: Collection[int] | None, soft: Collection[int] | None, now: int
    ) -> int | None:
        """Where it may run, and where it had better, by number, None anywhere: a pcpu that had better choose anew."""
        ...
    def pick(self, pcpu: int, now: int) -> tuple[ScheduledVcpu | None, int, int | None]:
        """Who runs on `pcpu`; after how many ns to choose again, 0 not before something happens; who else should."""
        ...
    def charge(self, domain: ScheduledDomain, ns: int) -> int | None:
        """Others worked for it so long: a pcpu that had better choose anew."""
        ...

class ScheduledDomain:
    """What a policy knows of a domain: its weight, and its cap in hundredths of a pcpu, 0 none."""
    def __init__(self, weight: int = 256, cap: int = 0) -> None: ...
    @property
    def weight(self) -> int:
        """As it was made, or set since."""
        ...
    @weight.setter
    def weight(self, value: int) -> None: ...
    @property
    def cap(self) -> int:
        """As it was made, or set since."""
        ...
    @cap.setter
    def cap(self, value: int) -> None: ...

class ScheduledVcpu:
    """What it knows of a vcpu."""
    @property
    def domain(self) -> ScheduledDomain: ...
    def __init__(self, domain: ScheduledDomain) -> None: ...
    def yields(self) -> None:
        """At its next decision others go first."""
        ...
    @property
    def asleep(self) -> bool:
        """Whether it has nothing to do."""
        ...
