"""A machine that only schedules: vcpus that compute and sleep by a plan, on pcpus that ask a policy."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import count, repeat

from xenia.testing.scheduler import ScheduledDomain, ScheduledVcpu, Scheduler

MS = 1_000_000


class Load(ScheduledVcpu):
    """A vcpu that computes for so long, sleeps for so long, and so on; ns, a sleep of 0 is none, or a yield."""

    def __init__(
        self, domain: ScheduledDomain, plan: Iterator[tuple[int, int]] | None = None, *, yielding: bool = False
    ) -> None:
        super().__init__(domain)
        self.plan = plan or repeat((1 << 62, 0))
        self.yielding = yielding
        self.left, self.rest = next(self.plan)
        self.ran = 0
        self.woken_at = 0
        self.waits: list[int] = []  # from each wake-up, or end of a turn, to the next turn


class Simulation:
    """Time goes on from decision to decision; `trace` is (time, pcpu, who) of each."""

    def __init__(self, policy: str, nr_pcpus: int, loads: list[Load], *, spare: bool = False) -> None:
        self.scheduler = Scheduler(policy, nr_pcpus, spare)
        self.now = 0
        self.loads = loads
        self.running: list[Load | None] = [None] * nr_pcpus
        self.since = [0] * nr_pcpus
        self.trace: list[tuple[int, int, int | None]] = []
        self._order = count()
        self._due: list[tuple[int, int, int, Load | None]] = []  # when, order, pcpu or -1, who wakes
        self._asked = [0] * nr_pcpus  # order of the last request of each pcpu: earlier ones are void
        self.placed = [load for load in loads if self.scheduler.add(load)]
        for load in self.placed:
            self._at(0, -1, load)

    def _at(self, when: int, pcpu: int, who: Load | None = None) -> None:
        order = next(self._order)
        if pcpu >= 0:
            self._asked[pcpu] = order
        heapq.heappush(self._due, (when, order, pcpu, who))

    def run(self, until: int) -> None:
        """Go on until then."""
        while self._due and self._due[0][0] <= until:
            self.now, order, pcpu, who = heapq.heappop(self._due)
            if who is not None:
                who.woken_at = self.now
                self._poke(self.scheduler.wake(who, self.now))
            elif self._asked[pcpu] == order:
                self._choose(pcpu)
            if not self._due or self._due[0][0] > self.now:
                self.check()
        self.now = until
        for pcpu in range(len(self.running)):
            self._account(pcpu)

    def _poke(self, pcpu: int | None) -> None:
        if pcpu is not None:
            self._at(self.now, pcpu)

    def _account(self, pcpu: int) -> None:
        load, ran = self.running[pcpu], self.now - self.since[pcpu]
        if load is not None:
            load.ran += ran
            load.left -= ran
        self.since[pcpu] = self.now

    def _choose(self, pcpu: int) -> None:
        self._account(pcpu)
        load = self.running[pcpu]
        if load is not None and load.left == 0:
            pause = load.rest
            load.left, load.rest = next(load.plan)
            if pause:
                self.scheduler.sleep(load, self.now)
                self._at(self.now + pause, -1, load)
            elif load.yielding:
                load.yields()
        chosen, slice_ns, poked = self.scheduler.pick(pcpu, self.now)
        self._poke(poked)
        assert chosen is None or isinstance(chosen, Load)
        assert chosen is None or chosen not in [other for i, other in enumerate(self.running) if i != pcpu]
        if chosen is not load:
            if load is not None:
                load.woken_at = self.now
            if chosen is not None:
                chosen.waits.append(self.now - chosen.woken_at)
        self.running[pcpu] = chosen
        self.trace.append((self.now, pcpu, None if chosen is None else self.loads.index(chosen)))
        ends = [self.now + slice_ns] if slice_ns else []
        if chosen is not None:
            ends.append(self.now + chosen.left)
        if ends:
            self._at(min(ends), pcpu)

    def check(self) -> None:
        """Nobody who may run waits while a pcpu has nothing to do."""
        awake = [load for load in self.placed if not load.asleep and not load.domain.cap]
        idle = self.running.count(None)
        assert not idle or all(load in self.running for load in awake), self.now
