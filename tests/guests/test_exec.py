"""Commands in a guest that runs, by the agent in it: one guest for all of this file."""

from __future__ import annotations

import hashlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from tests.guests.stock import skip_without
from tests.long import amount
from xenia.errors import ConfigError
from xenia.testing.guests import linux
from xenia.toolstack.commands.copy import copy_in, copy_out
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


@contextmanager
def once_the_next_waits(guest: Domain, script: str) -> Iterator[tuple[GuestProcess, int, int]]:
    """A script that runs when the process for the next command waits already; its output, and its input."""
    told, target = os.pipe()
    go_on, let_go = os.pipe()
    try:
        with GuestProcess(
            guest.starter, ["sh", "-c", f"echo begun; read word; {script}"], stdin=go_on, stdout=target
        ) as process:
            await_line(told, b"begun\n")
            key = f"/local/domain/{guest.domid}/data/xenia-agent"
            guest.wait_for(lambda: guest.xenstore.get(key) != guest.commands._taken, LIMIT)
            os.write(let_go, b"\n")
            yield process, told, let_go
    finally:
        for descriptor in (told, target, go_on, let_go):
            os.close(descriptor)


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


def test_twenty_copies_at_once_arrive_whole_in_both_directions(guest: Domain, tmp_path: Path) -> None:
    def there_and_back(seed: int) -> bool:
        data, name = Random(seed).randbytes(MIB + seed), f"copied-{seed}"
        (tmp_path / name).write_bytes(data)
        guest.copy_in(tmp_path / name, "/tmp")
        guest.copy_out(f"/tmp/{name}", tmp_path / f"back-{seed}")
        said = guest.run(["sha256sum", f"/tmp/{name}"], timeout=LIMIT).stdout.split()[0].decode()
        return said == hashlib.sha256(data).hexdigest() and (tmp_path / f"back-{seed}").read_bytes() == data

    with ThreadPoolExecutor(20) as pool:
        assert all(pool.map(there_and_back, range(20)))
    assert shell(guest, "rm /tmp/copied-*; ls -A /tmp | grep xenia-cp | wc -l") == "0\n"


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
    shell(guest, "true")  # it has booted
    with pytest.raises(subprocess.TimeoutExpired) as late:
        guest.run(["sh", "-c", "echo begun; exec tail -f /dev/null"], timeout=4)
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


def test_many_megabytes_arrive_and_come_back_exactly(guest: Domain) -> None:
    data = Random(64).randbytes(amount(64, 16) * MIB)
    result = guest.run(["sh", "-c", "tee /dev/stderr | sha256sum"], input=data, timeout=LIMIT)
    assert result.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()
    assert hashlib.sha256(result.stderr).digest() == hashlib.sha256(data).digest()


def test_a_large_file_is_copied_in_and_out_with_its_checksum(tmp_path: Path) -> None:
    size = amount(1 << 30, 32 * MIB)
    skip_without("amd64", MODULES)
    source, back, digest = tmp_path / "large", tmp_path / "back", hashlib.sha256()
    draw = Random(1024)
    with source.open("wb") as file:
        for at in range(0, size, MIB):
            piece = draw.randbytes(min(MIB, size - at))
            digest.update(piece)
            file.write(piece)
    memory = size + 192 * MIB
    with Machine(Machine.memory_for(memory)) as machine:
        domain = linux(
            machine, "while true; do sleep 1000; done", modules=MODULES, append="quiet loglevel=1", memory=memory
        )
        domain.start()
        shell(domain, f"mkdir /large; mount -t tmpfs -o size={size + MIB} none /large")
        domain.copy_in(source, "/large")
        said = domain.run(["sha256sum", "/large/large"], timeout=20 * LIMIT).stdout.split()[0].decode()
        domain.copy_out("/large/large", back)
    with back.open("rb") as file:
        assert said == digest.hexdigest() == hashlib.file_digest(file, "sha256").hexdigest()


def test_files_are_copied_in_and_out_with_modes_times_and_links(guest: Domain, tmp_path: Path) -> None:
    tree = tmp_path / "a tree"
    (tree / "inner" / "empty").mkdir(parents=True)
    (tree / "inner" / "a  b").write_bytes(b"blanks")
    (tree / "inner" / "a  b").chmod(0o751)
    (tree / ".link").symlink_to("inner/a  b")
    (tree / ("n" * 150)).write_bytes(Random(1).randbytes(3 * MIB))
    os.utime(tree / "inner" / "a  b", (1e9, 1e9))
    guest.copy_in(tree, "/tmp", recursive=True)
    guest.copy_in([tree], "/tmp/another", recursive=True)
    guest.copy_in(tree, "/tmp/another", recursive=True)  # into it
    assert shell(guest, "cd /tmp; stat -c '%a %Y %U' 'a tree/inner/a  b'; readlink 'a tree/.link'") == (
        "751 1000000000 root\ninner/a  b\n"
    )
    for path in ("/tmp/a tree", "tmp/another/a tree/", "/tmp/a tree/."):
        back = tmp_path / "back"
        guest.copy_out(path, back, recursive=True)
        assert subprocess.run(["diff", "-r", "--no-dereference", tree, back], check=False).returncode == 0
        assert (back / "inner" / "a  b").stat().st_mtime == 1e9
        back.rename(tmp_path / f"back {len(list(tmp_path.iterdir()))}")
    guest.copy_in(tree / "inner" / "a  b", "/tmp/new name", user="nobody")
    assert shell(guest, "stat -c %U '/tmp/new name'; ls -A /tmp | grep xenia-cp | wc -l") == "nobody\n0\n"


def test_a_folder_that_may_only_be_read_is_copied_by_others_than_root_too(guest: Domain, tmp_path: Path) -> None:
    tree = tmp_path / "read only"
    (tree / "inner").mkdir(parents=True)
    (tree / "inner" / "file").write_bytes(b"data\n")
    (tree / "inner").chmod(0o555)
    tree.chmod(0o555)
    guest.copy_in(tree, "/tmp", recursive=True, user="nobody")
    guest.copy_in(tree, "/root", recursive=True)
    told = "cd '/tmp/read only'; cat inner/file; stat -c '%a %U' . inner '/root/read only/inner'"
    assert shell(guest, told) == "data\n755 nobody\n755 nobody\n555 root\n"
    assert shell(guest, "ls -A /tmp | grep xenia-cp | wc -l; rm -r '/tmp/read only' '/root/read only'") == "0\n"


def test_all_of_a_guest_is_copied_but_for_what_its_kernel_makes_up(guest: Domain, tmp_path: Path) -> None:
    shell(guest, "mkdir -p /tmp/there; echo kept >/tmp/there/file; mkfifo /tmp/there/pipe")
    copied = guest.copy_out("/", tmp_path / "all", recursive=True)
    assert {"/proc", "/sys", "/dev"} <= set(copied.passed_over)
    assert (tmp_path / "all" / "tmp" / "there" / "file").read_text() == "kept\n"
    assert os.listdir(tmp_path / "all" / "proc") == os.listdir(tmp_path / "all" / "dev") == []
    assert "tmp/there/pipe: a fifo" in copied.left_out
    assert {what.partition(": ")[2] for what in copied.left_out} <= {"a fifo", "a link that leads elsewhere"}
    with pytest.raises(ConfigError, match="the kernel makes its files up"):
        guest.copy_out("/proc/self", tmp_path / "one", recursive=True)
    shell(guest, "rm -r /tmp/there")


def test_what_cannot_be_copied_is_one_line_and_leaves_nothing_behind(guest: Domain, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(Random(2).randbytes(2 * MIB))
    shell(guest, "mkdir /small; mount -t tmpfs -o size=1m none /small; head -c 2m /dev/urandom >/tmp/large")
    refusals: list[tuple[Callable[[], object], str]] = [
        (lambda: guest.copy_in(large, "/small"), "No space left on device"),
        (lambda: guest.copy_in(large, "/root/x", user="nobody"), "no permission to write there"),
        (lambda: guest.copy_in(large, "/nosuch/"), "no such folder"),
        (lambda: guest.copy_out("/nosuch", tmp_path), "no such file in the guest"),
        (lambda: guest.copy_out("/root", tmp_path), "a folder, which -r copies"),
        (lambda: guest.copy_out("/tmp/large", "/nosuch/"), "no such folder"),
        (lambda: guest.copy_out("/tmp/large", "/proc/large"), r"No such file|not permitted|denied"),
    ]
    for copy, why in refusals:
        with pytest.raises(ConfigError, match=why) as refused:
            copy()
        assert "\n" not in str(refused.value)
    assert shell(guest, "ls -A /small; ls -A /root; umount /small; rm /tmp/large") == ""
    assert os.listdir(tmp_path) == ["large"]


def test_a_copy_that_is_broken_off_leaves_nothing_half_written_at_either_end(guest: Domain, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(Random(3).randbytes(8 * MIB))
    shell(guest, "head -c 8m /dev/urandom >/tmp/large")

    class BrokenOff(Exception):
        pass

    def break_off(_: int) -> None:
        raise BrokenOff

    with pytest.raises(BrokenOff):
        copy_in(guest.starter, [large], "/root", progress=break_off)
    with pytest.raises(BrokenOff):
        copy_out(guest.starter, "/tmp/large", tmp_path / "out", progress=break_off)
    await_in_guest(guest, "! ls -A /root | grep . && ! pidof tar")
    assert os.listdir(tmp_path) == ["large"]


def test_a_copy_whose_agent_is_killed_is_lost_and_brings_nothing(guest: Domain, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(Random(4).randbytes(8 * MIB))
    killed: list[str] = []
    parent = "$(cut -d ' ' -f 4 /proc/{}/stat)".format
    script = (
        f"until pidof tar; do :; done; one={parent('$(pidof tar)')}; until grep -q xenia-agent /proc/$one/comm; do "
        f"one={parent('$one')}; done; kill -9 $one"
    )

    def kill(_: int) -> None:
        if not killed:
            killed.append(shell(guest, script))

    with pytest.raises(CommandLost, match="agent ended"):
        copy_in(guest.starter, [large], "/root", progress=kill)
    await_in_guest(guest, "! ls -A /root | grep .")
    shell(guest, "head -c 8m /dev/urandom >/tmp/outwards")
    killed.clear()
    with pytest.raises(CommandLost, match="agent ended"):
        copy_out(guest.starter, "/tmp/outwards", tmp_path / "out", progress=kill)
    await_in_guest(guest, "! pidof tar && rm /tmp/outwards")
    assert os.listdir(tmp_path) == ["large"]


def test_a_guest_without_room_for_a_process_says_so_and_the_command_ends(guest: Domain) -> None:
    limit = "old=$(cat /proc/sys/kernel/threads-max); echo 20 >/proc/sys/kernel/threads-max"
    script = f"{limit}; echo full; read word; echo $old >/proc/sys/kernel/threads-max"
    with once_the_next_waits(guest, script) as (full, told, let_go):
        await_line(told, b"full\n")
        refused = guest.run(["true"], timeout=LIMIT)
        assert (refused.returncode, refused.stderr) == (126, b"xenia: the guest has no room for another process\n")
        os.write(let_go, b"\n")
        assert full.wait(LIMIT) == 0
    assert shell(guest, "echo again") == "again\n"


def test_a_small_guest_whose_root_in_memory_is_full_takes_commands_still() -> None:
    """Linux would let files have more memory than there is, and end the agent for want of it."""
    skip_without("amd64", MODULES)
    with Machine(Machine.memory_for(96 * MIB)) as machine:
        domain = linux(
            machine, "while true; do sleep 1000; done", modules=MODULES, append="quiet loglevel=4 "
            "initcall_blacklist=tracer_init_tracefs", memory=96 * MIB,
        )  # fmt: skip
        domain.start()
        places = ("/", "/tmp/", "/dev/shm/", "/run/")
        for together in (*((place,) for place in places), places):
            for place in together:
                filled = domain.run(["dd", "if=/dev/zero", f"of={place}full", "bs=64k"], timeout=LIMIT)
                assert filled.returncode == 1 and b"No space left on device" in filled.stderr
            assert shell(domain, f"echo again; rm {' '.join(f'{place}full' for place in together)}") == "again\n"
        said = shell(
            domain, "cd /proc; cat self/oom_score_adj; for p in $(pidof xenia-agent); do cat $p/oom_score_adj; done"
        )
        assert said.split()[0] == "0" and {*said.split()[1:]} == {"-999"}, "the agent is the last that the kernel ends"
        assert "Out of memory" not in domain.console.text


def test_where_who_waits_was_killed_another_one_is_asked_for(guest: Domain) -> None:
    script = (
        "kill -9 $(ls /proc | grep '^[0-9]*$' | sort -n | while read p; do "
        "grep -qs xenia-agent /proc/$p/comm && [ $p != $PPID ] && echo $p; done | tail -1)"
    )
    with once_the_next_waits(guest, script) as (process, _, _):
        assert process.wait(LIMIT) == 0
    begun = time.monotonic()
    assert shell(guest, "echo again") == "again\n"
    assert time.monotonic() - begun < LIMIT


def test_a_guest_that_ends_ends_its_commands_and_one_whose_agent_does_not_answer_says_so(guest: Domain) -> None:
    """The last: nothing runs in the guest afterwards."""
    with GuestProcess(guest.starter, ["sleep", "1000"]) as process:
        others = (
            "others=$(pidof xenia-agent | tr ' ' '\\n' | grep -vx $PPID); kill -9 $others; for one in $others; do "
            "while grep -qs '(xenia-agent) [^XZ]' /proc/$one/stat; do :; done; done"  # they have let go of their rings
        )
        with once_the_next_waits(guest, f"{others}; kill -9 $PPID") as (last, _, _), pytest.raises(CommandLost):
            last.wait(LIMIT)
        with pytest.raises(CommandLost):
            process.wait(LIMIT)
    with pytest.raises(ConfigError, match="its agent does not answer"):
        guest.run(["true"], timeout=LIMIT)
    guest.destroy()
    with pytest.raises(ConfigError):
        guest.run(["true"], timeout=LIMIT)
