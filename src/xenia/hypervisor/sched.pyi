"""How a domain is scheduled: its weight and cap, on which pcpus its vcpus may run, what they are doing."""

from collections.abc import Iterable

from xenia.hypervisor.domain import DomainHandle
from xenia.hypervisor.vcpu_state import VcpuInfo

class DomainSched:
    """How `domain` is scheduled: where its machine has the credit2 scheduler, its share of the pcpus."""
    def __init__(self, domain: DomainHandle) -> None: ...
    @property
    def nr_pcpus(self) -> int:
        """How many pcpus its machine's domains share; 0 under the null scheduler."""
        ...
    @property
    def weight(self) -> int:
        """Its share relative to other domains', 1 to 65535."""
        ...
    def set_weight(self, weight: int) -> None:
        """ConfigError where it is none."""
        ...
    @property
    def cap(self) -> int:
        """The most that it gets, in hundredths of a pcpu; 0: as much as there is."""
        ...
    def set_cap(self, cap: int) -> None:
        """ConfigError where it cannot have so much."""
        ...
    def pin(self, vcpu: int, hard: Iterable[int] | None = None, soft: Iterable[int] | None = None) -> None:
        """The pcpus on which a vcpu may run (hard), and on which it had better (soft); None: as before.

        ConfigError where none of them is there.
        """
        ...
    @property
    def vcpus(self) -> list[VcpuInfo]:
        """What each vcpu is doing."""
        ...
    def named(self, pcpus: frozenset[int]) -> str:
        """Of VcpuInfo's pcpus, as xl writes them: "all", or numbers and ranges."""
        ...
