"""Programs that are told what a domain does."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from xenia import ConfigError, Domain, Machine
from xenia.guests import embedded
from xenia.toolstack.machine.observers import Event, Hypercall, PageTableUpdate

pytestmark = [
    pytest.mark.guest,
    pytest.mark.skipif(embedded() is None, reason="the built-in guest is not built: no C compiler for x86-64"),
]


@contextmanager
def demo() -> Iterator[Domain]:
    """The built-in guest, which was not started yet."""
    kernel = embedded()
    assert kernel is not None
    with Machine(Machine.memory_for(16 << 20), check=True) as machine:
        yield machine.create_domain(kernel, memory=16 << 20)


def halt(domain: Domain) -> None:
    domain.console.expect("> ")
    domain.console.send(b"time\r")
    domain.console.expect("> ")
    domain.console.send(b"halt\r")
    assert domain.wait(60)


def test_every_hypercall_is_told_with_what_it_was_given_and_gave() -> None:
    seen: list[Hypercall] = []
    with demo() as domain:
        with domain.on_hypercall(seen.append) as observer:
            domain.start()
            halt(domain)
        assert observer.lost == 0
        assert Counter(call.name for call in seen) == Counter(domain.statistics["hypercalls"])
    versions = [call for call in seen if call.name == "xen_version" and call.args[0] == 0]
    assert versions and all(call.result == 4 << 16 | 17 for call in versions)
    assert [call.time for call in seen] == sorted(call.time for call in seen)


def test_only_what_was_asked_for_is_told_and_only_to_who_asked() -> None:
    names: list[str] = []
    events: list[Event] = []
    with demo() as domain:
        domain.on_hypercall(lambda call: names.append(call.name), "sched_op", "xen_version")
        domain.on_event(events.append)
        none: list[Event] = []
        domain.on_event(none.append, 4095)
        domain.start()
        halt(domain)
    assert set(names) == {"sched_op", "xen_version"}
    assert events and none == [] and {event.vcpu for event in events} == {0}


def test_changed_entries_of_page_tables_in_use_are_told() -> None:
    updates: list[PageTableUpdate] = []
    with demo() as domain:
        domain.on_page_table_update(updates.append, 1)
        domain.start()
        halt(domain)
        assert domain.handle.audit() == []
    assert updates and all(one.level == 1 and 0 <= one.entry < 512 and one.old != one.new for one in updates)


def test_an_observer_comes_and_goes_while_the_guest_runs() -> None:
    with demo() as domain:
        domain.start()
        domain.console.expect("> ")
        threads = threading.active_count()
        for _ in range(20):
            seen: list[Hypercall] = []
            with domain.on_hypercall(seen.append):
                domain.console.send(b"time\r")
                domain.console.expect("> ")
            assert seen
        assert threading.active_count() <= threads + 1
        told = len(seen)
        domain.console.send(b"halt\r")
        assert domain.wait(60)
        assert len(seen) == told


def test_a_callback_may_do_anything_with_its_domain_and_one_that_raises_is_told_no_more() -> None:
    with demo() as domain:
        destroyed = threading.Event()

        def destroy(event: Event) -> None:
            domain.pause()
            domain.unpause()
            domain.destroy()
            destroyed.set()

        failing = domain.on_hypercall(lambda call: 1 // 0)
        domain.on_event(destroy)
        domain.start()
        assert destroyed.wait(60)
        assert isinstance(failing.failure, ZeroDivisionError)
        with pytest.raises(ConfigError, match="is destroyed"):
            domain.on_event(print)


def test_what_is_not_there_cannot_be_observed() -> None:
    with demo() as domain:
        with pytest.raises(ConfigError, match=r"no hypercall 'mmu_updates': there are .*mmu_update,"):
            domain.on_hypercall(print, "mmu_updates")
        with pytest.raises(ConfigError, match="1 to 4095"):
            domain.on_event(print, 4096)
        with pytest.raises(ConfigError, match="levels 1 to 4"):
            domain.on_page_table_update(print, 5)
