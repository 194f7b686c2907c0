"""How a guest ends: the reason is a byte of its own choice, and whatever it is, a `run` tells the end in one line."""

from __future__ import annotations

import pytest

from guests import build as guests
from tests.guests.test_run import needs_debian, run
from tests.guests.tiny import kernel
from xenia import Machine, Reason
from xenia.shutdown import Shutdown

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def ends() -> str:
    """The guest that ends as its command line says."""
    kernel("shutdown_number")
    return str(guests.OUTPUT / "shutdown_number")


@pytest.mark.parametrize("how", ["call", "code", "compat"])
@pytest.mark.parametrize(("number", "code"), [(6, 6), (128, 128), (252, 252), (255, 255), (511, 255), (256, 0), (3, 3)])
def test_the_byte_is_kept_and_what_has_no_name_is_a_crash(ends: str, how: str, number: int, code: int) -> None:
    with Machine(Machine.memory_for(16 << 20)) as machine:
        domain = machine.create_domain(ends, memory=16 << 20, cmdline=f"{how} {number}")
        domain.start()
        reason = Reason(code) if code < 6 else Reason.CRASH
        assert domain.wait(30) == Shutdown(reason, code=code)


@pytest.mark.parametrize(
    ("how", "status", "words"),
    [
        ("call 252", 122, b"with the reason 252"),
        ("code 255", 122, b"with the reason 255"),
        ("compat 6", 122, b"with the reason 6"),
        ("call 3", 122, b"panicked"),
        ("call 2", 117, b"suspended"),
        ("call 1", 120, b"asked to reboot"),
        ("call 5", 120, b"asked to reboot"),
        ("down", 122, b"stopped without a word"),
        ("sleep", 117, b"suspended"),
        ("call 0", 0, b""),
    ],
)
def test_a_quiet_run_says_in_one_line_how_the_guest_ended(ends: str, how: str, status: int, words: bytes) -> None:
    done = run("-q", "--kernel", ends, "--memory", "16M", "--append", how)
    assert done.returncode == status
    assert words in done.stderr
    assert done.stderr.count(b"\n") == (1 if words else 0)


def test_a_guest_sleeps_on_where_input_may_still_wake_it(ends: str) -> None:
    with Machine(Machine.memory_for(16 << 20)) as machine:
        domain = machine.create_domain(ends, memory=16 << 20, cmdline="sleep 1")
        domain.start()
        domain.console.send(b"x")
        assert domain.wait(30) == Shutdown(Reason.POWEROFF, code=0)


@needs_debian
def test_a_kernel_that_dies_before_its_console_is_no_success() -> None:
    done = run("-q", "--append", "mem=64M")
    assert done.returncode == 122
    assert done.stderr.count(b"\n") == 1
    assert b"stopped without a word" in done.stderr


@needs_debian
@pytest.mark.parametrize("state", ["mem", "freeze"])
def test_a_guest_that_suspends_to_memory_ends_as_suspended(state: str) -> None:
    done = run("-q", "--", "sh", "-c", f"echo {state} > /sys/power/state")
    assert done.returncode == 117
    assert b"nobody is there to resume it" in done.stderr
