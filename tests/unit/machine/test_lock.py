import threading
from itertools import combinations

import pytest

from xenia.errors import HypervisorBug
from xenia.machine.lock import NAMES, check_lock_order, longest_wait, waits_with_the_interpreter, watch_locks
from xenia.testing.lock import ContendedLock, take_both, try_both


def waits(lock: ContendedLock, then: list[int]) -> threading.Thread:
    """A thread that waits for `lock`, and then notes how many steps its holders had done."""

    def wait() -> None:
        lock.take()
        then.append(lock.steps)
        lock.drop()

    before = lock.waiting
    thread = threading.Thread(target=wait)
    thread.start()
    while lock.waiting == before:
        pass
    return thread


def test_who_waits_has_it_before_the_next_step_of_something_long() -> None:
    # A holder waits for those it lends the lock to for 5 ms, in case that they get no processor: thus the few steps.
    lock = ContendedLock()
    for _ in range(20):
        seen: list[int] = []
        lock.take()
        before = lock.steps
        thread = waits(lock, seen)
        lock.long_work(1000)
        lock.drop()
        thread.join()
        assert seen[0] - before < 20


def test_all_who_wait_have_it_soon() -> None:
    lock = ContendedLock()
    seen: list[int] = []
    lock.take()
    threads = [waits(lock, seen) for _ in range(8)]
    lock.long_work(1_000_000)
    lock.drop()
    for thread in threads:
        thread.join()
    assert len(seen) == 8


def test_who_takes_it_again_and_again_does_not_keep_it() -> None:
    lock = ContendedLock()
    longest_wait(reset=True)
    hogs = [threading.Thread(target=lock.short_works, args=(3_000_000,)) for _ in range(2)]
    for hog in hogs:
        hog.start()
    while any(hog.is_alive() for hog in hogs):
        lock.take()
        lock.drop()
    print(f"the longest wait for a lock that others take 3,000,000 times in a row: {longest_wait() / 1e6:.2f} ms")
    assert lock.steps == 6_000_000
    assert longest_wait() < 500_000_000  # the host's scheduler has its part in it


def test_nobody_is_in_it_together_with_another() -> None:
    lock = ContendedLock()
    threads = [threading.Thread(target=lock.short_works, args=(200_000,)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lock.steps == 1_000_000 and lock.waiting == 0


def test_python_runs_on_though_a_lock_is_waited_for_with_the_interpreter() -> None:
    lock = ContendedLock()
    lock.take()
    thread = threading.Thread(target=lock.take_with_the_interpreter)
    thread.start()
    while not lock.waiting:
        pass
    lock.drop()
    thread.join()
    assert waits_with_the_interpreter(reset=True) == 1


@pytest.mark.parametrize(("outer", "inner"), list(combinations(NAMES, 2)))
def test_locks_are_taken_from_the_outermost_to_the_innermost(outer: str, inner: str) -> None:
    take_both(outer, inner)
    check_lock_order()


@pytest.mark.parametrize(("outer", "inner"), list(combinations(NAMES, 2)))
def test_two_locks_in_the_wrong_order_are_told_with_their_names(outer: str, inner: str) -> None:
    take_both(inner, outer)
    with pytest.raises(HypervisorBug, match=f"'{outer}' was taken under the lock '{inner}'"):
        check_lock_order()
    check_lock_order()


@pytest.mark.parametrize("name", NAMES)
def test_nobody_holds_two_locks_of_one_name(name: str) -> None:
    take_both(name, name)
    with pytest.raises(HypervisorBug, match=f"'{name}' was taken under the lock '{name}'"):
        check_lock_order()


def test_a_lock_that_is_only_tried_may_be_of_any_rank() -> None:
    assert try_both("machine", "directory")
    check_lock_order()


def test_locks_that_are_not_watched_are_not_checked() -> None:
    watch_locks(False)
    try:
        take_both("machine", "directory")
    finally:
        watch_locks(True)
    check_lock_order()
