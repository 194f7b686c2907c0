"""How a domain is scheduled: what `Domain.sched` has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from xenia.hypervisor.sched import DomainSched
from xenia.toolstack.config import values
from xenia.toolstack.config.values import given


class Share(NamedTuple):
    """All that a domain was given: of each vcpu the pcpus on which it may run, and on which it had better."""

    weight: int
    cap: int
    affinity: tuple[tuple[frozenset[int], frozenset[int]], ...]


class Sched(DomainSched):
    """Weight, cap, where its vcpus may run, and what each of them is doing.

    ConfigError where it cannot have what it is given.
    """

    @property
    def weight(self) -> int:
        """Its share relative to other domains', 1 to 65535."""
        return super().weight

    @weight.setter
    @given(weight=values.NUMBER)
    def weight(self, weight: int) -> None:
        self.set_weight(weight)

    @property
    def cap(self) -> int:
        """The most that it gets, in hundredths of a pcpu; 0: as much as there is."""
        return super().cap

    @cap.setter
    @given(cap=values.NUMBER)
    def cap(self, cap: int) -> None:
        self.set_cap(cap)

    @given(vcpu=values.NUMBER, hard=values.NUMBERS, soft=values.NUMBERS)
    def pin(self, vcpu: int, hard: Iterable[int] | None = None, soft: Iterable[int] | None = None) -> None:
        """The pcpus on which a vcpu may run (hard), and on which it had better (soft); None: as before."""
        super().pin(vcpu, hard, soft)

    @property
    def share(self) -> Share:
        """What it has, for another domain to have the same."""
        return Share(self.weight, self.cap, tuple((vcpu.hard, vcpu.soft) for vcpu in self.vcpus))

    @given(share=values.instance(Share, "what another domain has"))
    def take(self, share: Share) -> None:
        """Have what another domain of as many vcpus has, or had."""
        self.weight, self.cap = share.weight, share.cap
        for number, (hard, soft) in enumerate(share.affinity):
            self.pin(number, hard, soft)
