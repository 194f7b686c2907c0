"""Programs that are told what a domain does: hypercalls, events, page-table updates.

What is asked for is picked out where it happens, in compiled code, and told on a thread of the observers' own: the
guest is not held up, and a callback may ask the domain for anything.  A domain that nobody observes pays nothing
(domain/observers).
"""

from __future__ import annotations

import logging
import select
import threading
from collections.abc import Callable, Collection
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, Self

from xenia.errors import ConfigError
from xenia.hypervisor.domain import DomainHandle
from xenia.hypervisor.observe import Watch, hypercall_numbers
from xenia.toolstack.config import values
from xenia.toolstack.config.values import given

_log = logging.getLogger(__name__)

_HYPERCALL, _EVENT, _UPDATE = range(3)  # domain/observers.pxd
_PORTS = 4096
_LEVELS = range(1, 5)
_ROUNDS = 8  # of taking what was seen: as much as may wait (Watch.take)


class Hypercall(NamedTuple):
    """A hypercall that was made, alone or in a multicall.

    name, args   of public/xen.h, and its six registers, whatever it takes of them
    result       what the guest gets; None where the call is made again for what is left, and of iret
    vcpu, time   which made it, and when it was done: CLOCK_MONOTONIC, in seconds
    """

    name: str
    args: tuple[int, ...]
    result: int | None
    vcpu: int
    time: float


class Event(NamedTuple):
    """An event channel's port that was made pending, whether the guest has masked it or not; `vcpu` is whose it is."""

    port: int
    vcpu: int
    time: float


class PageTableUpdate(NamedTuple):
    """An entry of a page table in use that was changed, by whatever hypercall or a write.

    level, table, entry   1 to 4; the machine frame of the table, and which of its 512 entries
    old, new              what was there and what is: machine frames and flags
    """

    level: int
    table: int
    entry: int
    old: int
    new: int
    time: float


class Observer:
    """Somebody who is told, until `close`.  May be used as a context manager.

    failure   what the callback raised, which ends it
    """

    def __init__(self, kind: int, wanted: Collection[int], callback: Callable[[Any], object], home: Observers) -> None:
        self.kind = kind
        self.wanted = wanted
        self.callback = callback
        self.failure: BaseException | None = None
        self._home = home

    def wants(self, kind: int, number: int) -> bool:
        """Whether it is to be told of that."""
        return kind == self.kind and (number in self.wanted or not self.wanted)

    def close(self) -> None:
        """Be told nothing more.  What has happened until now was told when this returns."""
        self._home.leave(self)

    def catch_up(self) -> None:
        """Be told, before this returns, what has happened until now.  Of a domain that runs, as much as was waiting."""
        self._home.catch_up()

    @property
    def lost(self) -> int:
        """How much observers of the domain were not told of because they took too long: the guest does not wait."""
        return self._home.lost

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Observers:
    """All of a domain."""

    def __init__(self, handle: DomainHandle) -> None:
        self._handle = handle
        self._watch: Watch | None = None
        self._observers: list[Observer] = []
        self._telling = threading.RLock()  # held by who takes what was seen, and tells
        self._thread: threading.Thread | None = None
        self._is_telling = False
        self._ended = False
        self._names = {number: name for name, number in hypercall_numbers().items()}

    def on_hypercall(self, callback: Callable[[Hypercall], object], *names: str) -> Observer:
        """See Domain.on_hypercall."""
        known = hypercall_numbers()
        for name in names:
            if name not in known:
                raise ConfigError(f"there is no hypercall '{name}': there are {', '.join(sorted(known))}")
        return self._join(_HYPERCALL, {known[name] for name in names} or set(known.values()), callback)

    def on_event(self, callback: Callable[[Event], object], *ports: int) -> Observer:
        """See Domain.on_event."""
        if not all(0 < port < _PORTS for port in ports):
            raise ConfigError(f"ports that can be told apart are 1 to {_PORTS - 1}")
        return self._join(_EVENT, set(ports), callback)

    def on_page_table_update(self, callback: Callable[[PageTableUpdate], object], *levels: int) -> Observer:
        """See Domain.on_page_table_update."""
        if not set(levels) <= set(_LEVELS):
            raise ConfigError("page tables have the levels 1 to 4")
        return self._join(_UPDATE, set(levels) or set(_LEVELS), callback)

    def leave(self, observer: Observer) -> None:
        """See Observer.close."""
        with self._telling:
            self._tell()
            self._drop(observer)
            self._look()

    def catch_up(self) -> None:
        """See Observer.catch_up."""
        for _ in range(_ROUNDS):
            with self._telling:
                if not self._tell():
                    break

    def close(self) -> None:
        """The domain is destroyed, and does nothing more."""
        with self._telling:
            self._tell()
            self._ended, self._observers = True, []
            self._look()
            watch, thread = self._watch, self._thread
        if watch is not None and thread is not None:
            watch.wake()
            if thread is not threading.current_thread():
                thread.join()

    @property
    def lost(self) -> int:
        """See Observer.lost."""
        return 0 if self._watch is None else self._watch.lost

    def _join(self, kind: int, wanted: Collection[int], callback: Callable[[Any], object]) -> Observer:
        with self._telling:
            if self._ended:
                raise ConfigError("the domain is destroyed: it does nothing that could be observed")
            observer = Observer(kind, wanted, callback, self)
            self._tell()
            self._observers = [*self._observers, observer]
            if self._watch is None:
                self._watch = Watch(self._handle)
                run, name = partial(self._run, self._watch), f"d{self._handle.domid} observers"
                self._thread = threading.Thread(target=run, name=name, daemon=True)
                self._look()
                self._thread.start()
            else:
                self._look()
            return observer

    def _look(self) -> None:
        """Have that seen which somebody wants to be told."""
        if self._watch is not None:
            wanted = [set[int]().union(*(one.wanted for one in self._of(kind))) for kind in range(3)]
            all_ports = any(not one.wanted for one in self._of(_EVENT))
            hypercalls, levels = (sum(1 << number for number in wanted[kind]) for kind in (_HYPERCALL, _UPDATE))
            self._watch.watch(hypercalls, None if all_ports else sorted(wanted[_EVENT]), levels)

    def _of(self, kind: int) -> list[Observer]:
        return [one for one in self._observers if one.kind == kind]

    def _run(self, watch: Watch) -> None:
        poll = select.poll()
        poll.register(watch.wake_fd, select.POLLIN)
        while not self._ended:
            with self._telling:
                more = self._tell()
                idle = not more and watch.sleep()
            if idle:
                poll.poll()
                watch.awake()

    def _tell(self) -> bool:
        """Tell what was seen; whether there was anything."""
        if self._watch is None or self._is_telling:  # a callback has an observer come or go
            return False
        seen = self._watch.take()
        self._is_telling = True
        failed = False
        for one in seen:
            kind, _, _, number, _, _ = one
            said = self._said(*one)
            for observer in self._observers:
                if observer in self._observers and observer.wants(kind, number):
                    try:
                        observer.callback(said)
                    except BaseException as failure:  # of pytest.fail or sys.exit, too
                        _log.exception("an observer of a domain raised; it is told nothing more")
                        observer.failure = failure
                        self._drop(observer)
                        failed = True
        self._is_telling = False
        if failed:
            self._look()
        return bool(seen)

    def _drop(self, observer: Observer) -> None:
        self._observers = [other for other in self._observers if other is not observer]

    def _said(
        self, kind: int, time: int, vcpu: int, number: int, args: tuple[int, ...], result: int | None
    ) -> Hypercall | Event | PageTableUpdate:
        seconds = time / 1e9
        if kind == _HYPERCALL:
            return Hypercall(self._names[number], args, result, vcpu, seconds)
        if kind == _EVENT:
            return Event(number, vcpu, seconds)
        table, entry, old, new, *_ = args
        return PageTableUpdate(number, table, entry, old, new, seconds)


class Observed:
    """What a domain has for who wants to be told what it does."""

    _observers: Observers

    @given(callback=values.function, names=values.text)
    def on_hypercall(self, callback: Callable[[Hypercall], object], *names: str) -> Observer:
        """Tell `callback` of each hypercall of these names ("mmu_update", "sched_op"; `xenia hypercalls` lists them),
        or of all, on a thread of its own, soon after it was made.

        The guest does not wait for that: an observer that is slower than it misses some (`Observer.lost`).  One whose
        callback raises is told nothing more.  ConfigError for a name that is none, or once the domain is destroyed.
        """
        return self._observers.on_hypercall(callback, *names)

    @given(callback=values.function, ports=values.NUMBER)
    def on_event(self, callback: Callable[[Event], object], *ports: int) -> Observer:
        """Tell `callback` of each event that the guest is sent, at these ports of 1 to 4095, or at any.  As above."""
        return self._observers.on_event(callback, *ports)

    @given(callback=values.function, levels=values.NUMBER)
    def on_page_table_update(self, callback: Callable[[PageTableUpdate], object], *levels: int) -> Observer:
        """Tell `callback` of each entry that is changed in a page table in use, of these levels of 1 to 4, or of any.
        As above."""
        return self._observers.on_page_table_update(callback, *levels)
