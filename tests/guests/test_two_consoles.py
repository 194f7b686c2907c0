"""A guest's ring is its console; CONSOLEIO_write is the hypervisor's log, and is shown until the ring is used."""

from __future__ import annotations

import json
import subprocess

import pytest

from guests import build as guests
from tests.guests.test_run import XENIA, environment, run
from tests.guests.tiny import kernel
from xenia import Machine

pytestmark = pytest.mark.guest
EARLY, RING, LATE, AGAIN = (
    f"{text}\n" for text in ("before the ring", "on the ring", "after the ring", "on the ring again")
)


@pytest.fixture(scope="module")
def speaker() -> str:
    kernel("two_consoles")
    return str(guests.OUTPUT / "two_consoles")


@pytest.mark.parametrize("how", ["", "both"])
def test_the_ring_is_the_console_and_the_rest_is_the_log(speaker: str, how: str) -> None:
    heard = bytearray()
    with Machine(Machine.memory_for(16 << 20)) as machine:
        domain = machine.create_domain(speaker, memory=16 << 20, cmdline=how, console=heard.extend)
        domain.start()
        domain.wait(30)
        log = machine.dmesg
    assert heard.decode().replace("\r", "") == EARLY + RING + AGAIN
    assert log == ["(d1) before the ring", "(d1) after the ring", "(XEN) domain 1 ended with poweroff (0)"]


def test_an_early_end_without_a_ring_is_seen(speaker: str) -> None:
    done = run("-q", "--kernel", speaker, "--memory", "16M", "--append", "early")
    assert (done.returncode, done.stdout.decode()) == (122, EARLY)


def test_last_words_to_the_hypervisor_are_told_with_a_crash(speaker: str) -> None:
    done = run("-q", "--kernel", speaker, "--memory", "16M", "--append", "crash")
    assert done.returncode == 122
    assert done.stdout.decode().replace("\r", "") == EARLY + RING + AGAIN
    assert done.stderr.decode() == f"{LATE}my last words: \\x1b[2J\nxenia: the guest's kernel panicked\n"


def test_the_log_of_a_running_guest_can_be_read(speaker: str) -> None:
    command = [*XENIA, "run", "-q", "--kernel", speaker, "--memory", "16M", "--append", "wait", "--name", "speaker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()) as guest:
        try:
            assert guest.stdout is not None
            assert [guest.stdout.readline().strip().decode() for _ in range(2)] == [EARLY.strip(), RING.strip()]
            ask = [*XENIA, "dmesg", str(guest.pid)]
            said = [f"(d1) {EARLY.strip()}", f"(d1) {LATE.strip()}"]
            while said != (told := subprocess.check_output(ask, env=environment(), text=True).splitlines()):
                assert told == said[: len(told)]  # the last line is on its way
            (log,) = json.loads(subprocess.check_output([*ask, "--json"], env=environment()))
            assert (log["name"], log["pid"], log["lines"]) == ("speaker", guest.pid, said)
            assert subprocess.check_output([*ask, "-c"], env=environment(), text=True).splitlines() == said
            assert subprocess.check_output(ask, env=environment(), text=True) == ""
        finally:
            guest.terminate()
