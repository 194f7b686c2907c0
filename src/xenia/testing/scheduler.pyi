"""A scheduling policy, asked from Python: what a simulation of many vcpus needs."""

class Scheduler:
    """The policy `name`, "credit" or "null", for so many pcpus."""
    def __init__(self, name: str, nr_pcpus: int) -> None: ...
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
    def pick(self, pcpu: int, now: int) -> tuple[ScheduledVcpu | None, int, int | None]:
        """Who runs on `pcpu`; after how many ns to choose again, 0 not before something happens; who else should."""
        ...

class ScheduledDomain:
    """What a policy knows of a domain: its weight, and its cap in hundredths of a pcpu, 0 none."""
    def __init__(self, weight: int = 256, cap: int = 0) -> None: ...
    @property
    def cap(self) -> int:
        """As it was made."""
        ...

class ScheduledVcpu:
    """What it knows of a vcpu."""
    @property
    def domain(self) -> ScheduledDomain: ...
    def __init__(self, domain: ScheduledDomain) -> None: ...
    @property
    def asleep(self) -> bool:
        """Whether it has nothing to do."""
        ...
