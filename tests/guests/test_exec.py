"""Commands in a guest that runs, by the agent in it: one guest for all of this file."""

from __future__ import annotations

import hashlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest

from tests.guests.stock import skip_without
from xenia.errors import ConfigError
from xenia.testing.guests import linux
from xenia.toolstack.commands.process import CommandLost, GuestProcess
from xenia.toolstack.config.machine import MIB
from xenia.toolstack.machine.domain import Domain
from xenia.toolstack.machine.machine import Machine
from xenia.toolstack.provision.initramfs import FRONTENDS, SHARING

pytestmark = pytest.mark.guest

LIMIT = 120.0  # seconds
MODULES = (*FRONTENDS, *SHARING)


@pytest.fixture(scope="module")
def guest() -> Iterator[Domain]:
    skip_without("amd64", MODULES)
    with Machine(Machine.memory_for(256 * MIB)) as machine:
        domain = linux(machine, "while true; do sleep 1000; done", modules=MODULES, append="quiet loglevel=1")
        domain.start()
        yield domain


def shell(guest: Domain, script: str, **options: object) -> str:
    """What a script says that has to go well."""
    ended = guest.run(["sh", "-c", script], timeout=LIMIT, **options)  # type: ignore[arg-type]
    ended.check_returncode()
    return str(ended.stdout.decode())


def await_line(descriptor: int, line: bytes) -> None:
    heard = b""
    while line not in heard:
        assert select.select([descriptor], [], [], LIMIT)[0], heard
        more = os.read(descriptor, 4096)
        assert more, heard
        heard += more


def await_in_guest(guest: Domain, condition: str) -> None:
    """Until that shell condition holds there."""
    shell(guest, f"until {condition} >/dev/null; do sleep 0.05; done")


def test_output_errors_and_the_status_come_back_apart(guest: Domain) -> None:
    result = guest.run(["sh", "-c", "echo out; echo err >&2; exit 7"], timeout=LIMIT)
    assert (result.returncode, result.stdout, result.stderr) == (7, b"out\n", b"err\n")
    assert guest.run(["sh", "-c", "kill -9 $$"], timeout=LIMIT).returncode == -9
    assert guest.run(["nosuch"], timeout=LIMIT).returncode == 127


def test_the_environment_the_folder_and_the_user_are_those_that_were_asked_for(guest: Domain) -> None:
    assert shell(guest, 'echo "$A"; pwd', env={"A": "b  c", "B": "x" * 5000}, cwd="/tmp") == "b  c\n/tmp\n"
    assert shell(guest, "id; echo $HOME") == "uid=0(root) gid=0(root) groups=0(root)\n/root\n"
    assert shell(guest, "id; echo $USER", user="nobody:tty") == "uid=65534(nobody) gid=5(tty)\nnobody\n"
    assert shell(guest, "id -u; id -g", user="1234:99") == "1234\n99\n"
    refused = guest.run(["id"], user="nosuch", timeout=LIMIT)
    assert (refused.returncode, refused.stderr) == (126, b"xenia: no user nosuch in the guest\n")
    assert guest.run(["id"], cwd="/nosuch", timeout=LIMIT).returncode == 126


def test_thousands_of_arguments_arrive(guest: Domain) -> None:
    words = [str(number) for number in range(20_000)]
    assert guest.run(["echo", *words], timeout=LIMIT).stdout.split() == [word.encode() for word in words]


def test_twenty_commands_at_once_have_their_own_streams(guest: Domain) -> None:
    def through(seed: int) -> bool:
        data = Random(seed).randbytes(1 << 20)
        result = guest.run(["sh", "-c", "tee /dev/stderr | sha256sum"], input=data, timeout=LIMIT)
        return bool(result.stderr == data and result.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest())

    with ThreadPoolExecutor(20) as pool:
        assert all(pool.map(through, range(20)))


def test_a_terminal_has_the_size_of_the_window_and_follows_it(guest: Domain) -> None:
    source, target = os.pipe()
    keys, typed = os.pipe()
    script = "trap 'stty size' WINCH; stty size; tty; while read line; do echo got $line; done"
    with GuestProcess(guest.starter, ["sh", "-c", script], window=(33, 99), stdin=keys, stdout=target) as process:
        os.close(target)
        await_line(source, b"33 99\r\n/dev/pts/0\r\n")
        process.resize(44, 111)
        os.write(typed, b"\n")
        await_line(source, b"44 111\r\n")
        os.write(typed, b"\x04")
        assert process.wait(LIMIT) == 0
    for descriptor in (source, keys, typed):
        os.close(descriptor)


def test_signals_reach_the_command(guest: Domain) -> None:
    source, target = os.pipe()
    with GuestProcess(
        guest.starter, ["sh", "-c", "trap 'exit 5' TERM; echo ready; while true; do sleep 0.1; done"], stdout=target
    ) as process:
        os.close(target)
        await_line(source, b"ready\n")
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT) == 5
    os.close(source)


def test_who_leaves_takes_the_command_with_him_and_nothing_is_left_in_the_guest(guest: Domain) -> None:
    shell(guest, "true")  # somebody waits, as afterwards
    before = shell(guest, "pidof xenia-agent init | wc -w; ls /proc/$PPID/fd | wc -l")
    source, target = os.pipe()
    stubborn = "trap '' HUP TERM; echo ready; tail -f /dev/null; tail -f /dev/null"
    with GuestProcess(guest.starter, ["sh", "-c", stubborn], stdout=target):
        os.close(target)
        await_line(source, b"ready\n")
    os.close(source)
    await_in_guest(guest, "! pidof tail")
    assert shell(guest, "pidof xenia-agent init | wc -w; ls /proc/$PPID/fd | wc -l") == before


def test_a_command_that_takes_too_long_is_killed_and_what_it_wrote_is_told(guest: Domain) -> None:
    with pytest.raises(subprocess.TimeoutExpired) as late:
        guest.run(["sh", "-c", "echo begun; exec tail -f /dev/null"], timeout=2)
    assert late.value.stdout == b"begun\n"
    await_in_guest(guest, "! pidof tail")


def test_output_that_nobody_reads_ends_the_command_as_in_a_pipeline(guest: Domain) -> None:
    source, target = os.pipe()
    os.set_blocking(target, False)
    with GuestProcess(guest.starter, ["yes"], stdout=target) as process:
        os.close(target)
        await_line(source, b"y\n")
        os.close(source)
        assert process.wait(LIMIT) == -signal.SIGPIPE


def test_an_agent_that_is_killed_loses_its_command_and_no_other(guest: Domain) -> None:
    with GuestProcess(guest.starter, ["sleep", "3"]) as other:
        with pytest.raises(CommandLost, match="agent ended"):
            guest.run(["sh", "-c", "kill -9 $PPID; exec sleep 100"], timeout=LIMIT)
        assert other.wait(LIMIT) == 0


def test_a_guest_without_room_for_a_process_says_so_and_the_command_ends(guest: Domain) -> None:
    told, target = os.pipe()
    go_on, let_go = os.pipe()
    limit = "old=$(cat /proc/sys/kernel/threads-max); echo 20 >/proc/sys/kernel/threads-max"
    script = f"{limit}; echo full; read word; echo $old >/proc/sys/kernel/threads-max"
    with GuestProcess(guest.starter, ["sh", "-c", script], stdin=go_on, stdout=target) as full:
        await_line(told, b"full\n")
        refused = guest.run(["true"], timeout=LIMIT)
        assert (refused.returncode, refused.stderr) == (126, b"xenia: the guest has no room for another process\n")
        os.write(let_go, b"\n")
        assert full.wait(LIMIT) == 0
    assert shell(guest, "echo again") == "again\n"
    for descriptor in (told, target, go_on, let_go):
        os.close(descriptor)


def test_where_who_waits_was_killed_another_one_is_asked_for(guest: Domain) -> None:
    shell(
        guest,
        "sleep 1; kill -9 $(ls /proc | grep '^[0-9]*$' | sort -n | while read p; do "
        "grep -qs xenia-agent /proc/$p/comm && [ $p != $PPID ] && echo $p; done | tail -1)",
    )
    begun = time.monotonic()
    assert shell(guest, "echo again") == "again\n"
    assert time.monotonic() - begun < LIMIT


def test_a_guest_that_ends_ends_its_commands_and_one_whose_agent_does_not_answer_says_so(guest: Domain) -> None:
    """The last: nothing runs in the guest afterwards."""
    with GuestProcess(guest.starter, ["sleep", "1000"]) as process:
        shell(guest, "true")
        with pytest.raises(CommandLost):
            guest.run(["sh", "-c", "kill -9 $(pidof xenia-agent)"], timeout=LIMIT)
        with pytest.raises(CommandLost):
            process.wait(LIMIT)
    with pytest.raises(ConfigError, match="its agent does not answer"):
        guest.run(["true"], timeout=LIMIT)
    guest.destroy()
    with pytest.raises(ConfigError):
        guest.run(["true"], timeout=LIMIT)
