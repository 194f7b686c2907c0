"""`xenia run` as a user sees it: whole processes, real guests, real terminals."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pexpect
import pytest

from guests import build as guests
from tests.unit.storage.test_nbd import Server
from xenia.guests import embedded
from xenia.storage.file import create_file
from xenia.storage.qcow2.create import create_image
from xenia.testing.guests import Debian
from xenia.toolstack.provision.packages import PackageClient

SOURCE = Path(__file__).parents[2] / "src"
XENIA = [sys.executable, "-m", "xenia"]
LIMIT = 120

pytestmark = [
    pytest.mark.guest,
    pytest.mark.skipif(embedded() is None, reason="the built-in guest is not built: no C compiler for x86-64"),
]
needs_debian = pytest.mark.skipif(
    not PackageClient.available(), reason="no apt-get on this host to fetch Debian's kernel with"
)

# An ordinary user is told nothing.
WARNING = b"xenia: you are root, which nothing here needs: an ordinary user has less to lose\n" * (os.geteuid() == 0)


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(SOURCE), "TERM": "xterm", **changes}


def run(*arguments: str, stdin: bytes = b"", **changes: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [*XENIA, "run", *arguments], input=stdin, capture_output=True, env=environment(**changes), timeout=LIMIT,
        check=False,
    )  # fmt: skip


@pytest.fixture
def console() -> Iterator["pexpect.spawn[str]"]:
    """The demo guest on a terminal, at its prompt."""
    child = pexpect.spawn(
        sys.executable, ["-m", "xenia", "run", "--kernel", "demo", "--memory", "16M"],
        env=environment(), encoding="utf-8", timeout=LIMIT, dimensions=(30, 100), echo=True,
    )  # fmt: skip
    child.expect("> ")
    yield child
    child.close(force=True)


@pytest.fixture
def debian_console() -> Iterator[Callable[..., "pexpect.spawn[str]"]]:
    """Debian's kernel on a terminal, at a shell's prompt."""
    children: list[pexpect.spawn[str]] = []

    def start(*options: str) -> "pexpect.spawn[str]":
        child = pexpect.spawn(
            sys.executable, ["-m", "xenia", "run", "--append", "quiet", *options],
            env=environment(), encoding="utf-8", timeout=LIMIT, dimensions=(30, 100),
        )  # fmt: skip
        children.append(child)
        child.expect("/ # ")
        return child

    yield start
    for child in children:
        child.close(force=True)


def is_cooked(child: "pexpect.spawn[str]") -> bool:
    flags = termios.tcgetattr(child.child_fd)[3]
    return bool(flags & termios.ECHO and flags & termios.ICANON)


# --- on a terminal


def test_the_console_is_interactive_and_ctrl_bracket_leaves_it(console: "pexpect.spawn[str]") -> None:
    console.send("memory\r")
    console.expect("16 MiB")
    console.send("\x1d")
    console.expect("left the console")
    console.expect(pexpect.EOF)
    assert is_cooked(console)
    console.wait()
    assert console.exitstatus == 0


def test_the_operator_is_told_how_to_leave() -> None:
    child = pexpect.spawn(
        sys.executable, ["-m", "xenia", "run", "--kernel", "demo"], env=environment(), encoding="utf-8", timeout=LIMIT
    )
    child.expect(r"Ctrl-\] leaves the console")
    child.expect("> ")
    child.send("halt\r")
    child.expect("the guest powered off")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0


def test_ctrl_c_is_the_guests(console: "pexpect.spawn[str]") -> None:
    console.send("\x03")
    console.send("memory\r")
    console.expect("16 MiB")
    assert console.isalive()


def test_ctrl_z_is_the_guests_too(console: "pexpect.spawn[str]") -> None:
    console.send("\x1a\r")
    console.send("time\r")
    console.expect("system time")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_a_signal_ends_the_run_and_the_terminal_is_given_back(number: signal.Signals) -> None:
    master, slave = pty.openpty()
    before = stty(slave)
    child = subprocess.Popen(
        [*XENIA, "run", "--kernel", "demo"], stdin=slave, stdout=slave, stderr=slave, env=environment(),
        start_new_session=True,
    )  # fmt: skip
    shown = b""
    while b"> " not in shown:
        shown += os.read(master, 4096)
    assert stty(slave) != before
    child.send_signal(number)
    child.wait(LIMIT)
    assert child.returncode == -number
    wait_until(slave, before)
    os.close(slave)
    os.close(master)


def stty(slave: int) -> str:
    return subprocess.run(["stty", "-g"], stdin=slave, capture_output=True, text=True, check=True).stdout.strip()


def wait_until(slave: int, mode: str) -> None:
    """After SIGKILL the guardian restores the terminal a moment later; nothing tells when it has."""
    probe = f'for i in $(seq 300); do [ "$(stty -g)" = "{mode}" ] && exit; sleep 0.1; done; exit 1'
    subprocess.run(["sh", "-c", probe], stdin=slave, check=True)


def test_a_guest_that_reboots_comes_back_as_long_as_it_likes(console: "pexpect.spawn[str]") -> None:
    for _ in range(3):
        console.send("reboot\r")
        console.expect("the guest reboots")
        console.expect("> ")
    console.send("halt\r")
    console.expect("the guest powered off")
    console.expect(pexpect.EOF)
    assert is_cooked(console)


@needs_debian
def test_the_shell_follows_the_window_and_a_disk_keeps_what_was_written_to_it_over_a_reboot(
    debian_console: Callable[..., "pexpect.spawn[str]"], tmp_path: Path
) -> None:
    disk = tmp_path / "disk.img"
    disk.touch()
    os.truncate(disk, 1 << 20)
    child = debian_console("--disk", f"file:{disk},cow,vdev=xvdc")
    child.send("stty size; echo $TERM\r")
    child.expect("30 100\r\nxterm\r\n")
    child.send('sh -c \'trap "stty size; kill \\$!" WINCH; echo rea""dy; sleep 60 & wait\'\r')
    child.expect("ready\r\n")
    child.setwinsize(41, 123)
    child.expect("41 123\r\n")
    child.send("echo kept > /dev/xvdc; reboot\r")
    child.expect("the guest reboots")
    child.expect("/ # ")
    child.send("until [ \"$(stty size)\" = '41 123' ]; do :; done; echo st''ill\r")
    child.expect("still")
    child.send("head -n 1 /dev/xvdc\r")
    child.expect("\r\nkept\r\n")
    child.send("poweroff\r")
    child.expect(pexpect.EOF)
    assert disk.read_bytes() == bytes(1 << 20)  # it went to the overlay


def block(verb: str, *words: str, directory: Path | None = None) -> str:
    done = subprocess.run(
        [*XENIA, f"block-{verb}", *words], capture_output=True, text=True, env=environment(), timeout=LIMIT,
        cwd=directory, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_debian
def test_a_running_guest_tells_what_its_disks_have_done_and_takes_others(
    debian_console: Callable[..., "pexpect.spawn[str]"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    for name in ("plain.img", "stack.img"):
        (tmp_path / name).touch()
        os.truncate(tmp_path / name, 4 << 20)
    disks = [f"--disk={tmp_path}/plain.img", f"--disk=file:{tmp_path}/stack.img,cow"]
    child = debian_console("--name", "teller", *disks)
    child.send("dd if=/dev/xvda of=/dev/xvdb bs=1M conv=fsync; echo don''e\r")
    child.expect("done")
    stats = [*XENIA, "stats", "teller"]
    told = subprocess.run([*stats, "--json"], capture_output=True, env=environment(), timeout=LIMIT, check=True)
    (guest,) = json.loads(told.stdout)
    plain, stack = guest["disks"]
    assert guest["name"] == "teller" and guest["hypercalls"]["mmu_update"] > 0
    assert plain["bytes_read"] >= 4 << 20 and stack["bytes_written"] >= 4 << 20 and stack["flushes"] >= 1
    assert plain["requests"] >= plain["batches"] > 0
    assert stack["layers"][0]["bytes_written"] == stack["bytes_written"]
    shown = subprocess.run(stats, capture_output=True, env=environment(), timeout=LIMIT, check=True).stdout.decode()
    assert "teller" in shown and "xvda" in shown and "BATCHES" in shown
    spare = tmp_path / "spare.img"
    spare.touch()
    os.truncate(spare, 1 << 20)
    assert block("attach", "teller", "spare.img,vdev=xvdf", directory=tmp_path) == "xvdf\n"
    child.send("until [ -b /dev/xvdf ]; do :; done; cat /sys/block/xvdf/size; echo he''re\r")
    child.expect("2048\r\nhere")
    assert block("resize", "teller", "xvdf", "2M") == f"{2 << 20}\n"
    child.send("until [ $(cat /sys/block/xvdf/size) = 4096 ]; do :; done; echo lar''ger\r")
    child.expect("larger")
    listed = json.loads(block("list", "teller", "--json"))[2]
    assert [listed[word] for word in ("name", "size", "state", "layers")] == ["xvdf", 2 << 20, "connected", ["file"]]
    block("detach", "teller", "xvdf")
    child.send("until [ ! -b /dev/xvdf ]; do :; done; echo go''ne\r")
    child.expect("gone")
    assert spare.stat().st_size == 2 << 20
    with closing(Server(tmp_path / "socket")) as server:  # its disk outlives its connection
        assert block("attach", "teller", f"nbd:{tmp_path}/socket") == "xvdc\n"
        child.send("until [ -b /dev/xvdc ]; do :; done; echo he''re\r")
        child.expect("here")
        server.drop()
        server.data[:9] = b"connected"
        child.send("dd if=/dev/xvdc bs=512 count=1 iflag=direct 2>/dev/null | head -c 9 | sed s/$/-again/; echo\r")
        child.expect("is there again")
        child.expect("connected-again")
    child.send("poweroff\r")
    child.expect(pexpect.EOF)
    gone = subprocess.run(stats, capture_output=True, env=environment(), timeout=LIMIT, check=False)
    assert gone.returncode == 2 and gone.stderr == b"xenia: no guest 'teller' is running (none is running)\n"


# --- without a terminal


def test_a_quiet_run_warns_of_a_disk_that_looks_like_another_format(tmp_path: Path) -> None:
    disk = tmp_path / "cloud.img"
    with create_file(disk, 1 << 20) as file:
        create_image(file, 1 << 20)
    ended = subprocess.run(
        [*XENIA, "run", "-q", "--kernel", "demo", "--disk", f"file:{disk}"], input=b"halt\r", capture_output=True,
        env=environment(), timeout=LIMIT, check=False,
    )  # fmt: skip
    assert ended.returncode == 0
    assert ended.stderr.decode() == f"xenia: {disk} looks like qcow2: say qcow2:{disk}\n"


def test_a_restart_can_be_asked_for() -> None:
    child = subprocess.Popen(
        [*XENIA, "run", "--kernel", "demo", "--on-reboot", "restart"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=environment(),
    )  # fmt: skip
    assert child.stdin is not None and child.stdout is not None
    for typed in (b"reboot\r", b"halt\r"):
        shown = b""
        while not shown.endswith(b"> "):
            shown += os.read(child.stdout.fileno(), 4096)
        child.stdin.write(typed)
        child.stdin.flush()
    _, errors = child.communicate(timeout=LIMIT)
    assert child.returncode == 0
    assert errors == WARNING + b"xenia: the guest reboots\nxenia: the guest powered off\n"


def test_a_guest_that_does_nothing_but_reboot_is_given_up() -> None:
    kernel = guests.build("shutdown_reboot", guests.OUTPUT / "shutdown_reboot")
    ended = run("--kernel", str(kernel), "--memory", "8M", "--on-reboot", "restart")
    assert ended.returncode == 120
    assert ended.stderr.count(b"xenia: the guest reboots\n") == 10
    assert ended.stderr.endswith(
        b"xenia: the guest reboots too fast (11 times within 10 s of its start); it is not started again\n"
    )


@pytest.mark.parametrize("typed", [b"", b"help\n", b"help"])
def test_the_end_of_input_ends_a_guest_that_nobody_can_type_at_any_more(typed: bytes) -> None:
    ended = run("--kernel", "demo", stdin=typed)
    assert ended.returncode == 0
    assert ended.stderr.endswith(b"xenia: the guest powered off\n")
    assert (b"lists the commands" in ended.stdout) and (b"power off" in ended.stdout) == bool(typed)


def test_a_guest_that_takes_too_long_is_ended_with_the_status_of_timeout() -> None:
    child = subprocess.Popen(
        [*XENIA, "run", "--kernel", "demo", "--timeout", "0.5"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, env=environment(),
    )  # fmt: skip
    assert child.stderr is not None
    assert child.stderr.read().endswith(b"xenia: the guest had not ended when its time was over (--timeout)\n")
    assert child.wait(LIMIT) == 124
    assert child.stdin is not None
    child.stdin.close()


@needs_debian
@pytest.mark.parametrize(
    "script", [b"", pytest.param(b"echo $((6 * 7))\n", marks=pytest.mark.long), b"echo $((6 * 7))"]
)
def test_the_end_of_a_script_on_standard_input_ends_the_shell_and_its_guest(script: bytes) -> None:
    ended = run("-q", "--append", "quiet", stdin=script)
    assert ended.returncode == 0
    assert (b"42\r\n" in ended.stdout) == bool(script)


def test_without_a_terminal_bytes_pass() -> None:
    ended = run("--kernel", "demo", stdin=b"uptime\rhalt\r")
    assert ended.returncode == 0
    assert b"seconds" in ended.stdout or b"up" in ended.stdout
    assert b"\x1b" not in ended.stdout + ended.stderr
    assert ended.stderr == WARNING + b"xenia: the guest powered off\n"


@pytest.mark.parametrize(
    ("typed", "status", "words"),
    [(b"halt\r", 0, b"powered off"), (b"reboot\r", 120, b"reboot"), (b"crash\r", 122, b"panicked")],
)
def test_each_way_to_end_has_its_status_and_its_line(typed: bytes, status: int, words: bytes) -> None:
    ended = run("--kernel", "demo", stdin=typed)
    assert ended.returncode == status
    assert words in ended.stderr
    assert ended.stderr.removeprefix(WARNING).count(b"\n") == 1


def test_quiet_says_nothing_of_a_good_end() -> None:
    assert run("--kernel", "demo", "--quiet", stdin=b"halt\r").stderr == b""


def test_sigint_ends_a_run_that_is_not_interactive() -> None:
    child = subprocess.Popen(
        [*XENIA, "run", "--kernel", "demo"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment(),
    )  # fmt: skip
    assert child.stdout is not None
    shown = b""
    while b"> " not in shown:
        shown += os.read(child.stdout.fileno(), 4096)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=LIMIT)
    assert child.returncode == -signal.SIGINT
    assert b"SIGINT" in errors


def test_a_reader_that_leaves_ends_the_run_as_quietly_as_other_programs() -> None:
    stdin = os.pipe()  # where somebody could still type
    ended = subprocess.run(
        f"{XENIA[0]} -m xenia run -q --kernel demo | head -c 1; echo \" ${{PIPESTATUS[0]}}\"",
        stdin=stdin[0], shell=True, executable="/bin/bash", capture_output=True, env=environment(),
        timeout=LIMIT, check=True,
    )  # fmt: skip
    for descriptor in stdin:
        os.close(descriptor)
    assert ended.stdout.split()[-1] == b"141"
    assert ended.stderr == b""


def test_standard_output_that_is_full_is_one_clear_line() -> None:
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            [*XENIA, "run", "--kernel", "demo"], stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE,
            env=environment(), timeout=LIMIT, check=False,
        )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr == WARNING + b"xenia: cannot write to standard output: No space left on device\n"


def test_without_a_package_client_the_demo_guest_stands_in(tmp_path: Path) -> None:
    ended = run(stdin=b"halt\r", PATH=str(tmp_path), XDG_CACHE_HOME=str(tmp_path))
    assert ended.returncode == 0
    assert b"no package client" in ended.stderr
    assert b"demo guest instead" in ended.stderr
    assert b"Ilwaco" in ended.stdout


def test_a_command_is_not_run_in_the_demo_guest_instead(tmp_path: Path) -> None:
    ended = run("--", "true", PATH=str(tmp_path), XDG_CACHE_HOME=str(tmp_path))
    assert ended.returncode == 2
    assert ended.stdout == b""
    assert ended.stderr.startswith(b"xenia: no package client")


def test_a_kernel_that_is_none_is_one_clear_line(tmp_path: Path) -> None:
    text = tmp_path / "vmlinuz"
    text.write_text("hello")
    ended = run("--kernel", str(text))
    assert ended.returncode == 2
    assert b"not a kernel image" in ended.stderr
    assert ended.stderr.count(b"\n") == 1


def test_scattered_frames_are_scattered() -> None:
    ended = run("--kernel", "demo", "--scatter", "7", stdin=b"memory\rhalt\r")
    assert ended.returncode == 0
    assert b"1 run of frames" not in ended.stdout
    assert b"runs of frames" in ended.stdout


# --- commands in Debian's kernel


@needs_debian
def test_a_command_has_its_own_streams_status_environment_folder_and_arguments() -> None:
    data = bytes(range(256)) * 2000
    options = ["--env", "A=b=c", "--env", "OPERATORS", "--env", "EMPTY=", "--cwd", "/tmp"]
    script = 'cat; (echo "$A|$OPERATORS|${EMPTY-no}|$PWD|$PATH|$TERM"; printf "[%s]" "$@"; echo) >&2; exit 7'
    words = ["a b", "*", "$HOME", "", "-n", "--", "ü", "'\""]
    ended = run(*options, "--", "sh", "-c", script, "sh", *words, stdin=data, OPERATORS="own")
    assert ended.returncode == 7
    assert ended.stdout == data
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    said = ended.stderr.decode().splitlines()[-2:]
    assert said == [f"b=c|own||/tmp|{path}|dumb", "".join(f"[{word}]" for word in words)]


@needs_debian
@pytest.mark.parametrize(
    ("options", "megabytes"),
    [((), 8), (("--flavour", "cloud-amd64"), 8), (("--append", "module_blacklist=xen_gntalloc"), 1)],
    ids=["amd64", "cloud-amd64", "a kernel that cannot share memory"],
)
def test_megabytes_pass_in_both_directions_and_arrive_exactly(options: tuple[str, ...], megabytes: int) -> None:
    data = os.urandom((megabytes << 20) + 333)
    ended = run("-q", *options, "--", "sh", "-c", "tee /dev/stderr; exit 5", stdin=data)
    assert ended.returncode == 5
    assert ended.stdout == data
    assert ended.stderr == data


@needs_debian
def test_a_guest_that_dies_in_the_middle_of_its_output_is_told_as_that() -> None:
    ended = run("-q", "--", "sh", "-c", "(sleep 0.5; echo c >/proc/sysrq-trigger) & cat /dev/zero")
    assert ended.returncode == 122
    assert len(ended.stdout) > 1 << 20 and not ended.stdout.strip(b"\0")


@needs_debian
def test_a_command_that_leaves_its_input_is_not_waited_for() -> None:
    ended = run("-q", "--", "head", "-c", "5", stdin=bytes(8 << 20))
    assert ended.returncode == 0
    assert ended.stdout == bytes(5)
    assert ended.stderr == b""


@needs_debian
def test_a_folder_that_is_not_there_is_said() -> None:
    ended = run("-q", "--cwd", "/nowhere", "--", "true")
    assert ended.returncode == 126
    assert ended.stderr == b"xenia: no directory /nowhere\n"


@needs_debian
def test_a_panic_shows_what_the_kernel_said_and_has_its_status() -> None:
    ended = run("--", "sh", "-c", "echo c > /proc/sysrq-trigger")
    assert ended.returncode == 122
    assert ended.stdout == b""
    assert b"Kernel panic" in ended.stderr
    assert ended.stderr.endswith(b"xenia: the guest's kernel panicked\n")


@needs_debian
def test_a_script_on_standard_input_runs_in_the_guests_shell() -> None:
    ended = run("--append", "quiet", stdin=b"echo $((6 * 7))\npoweroff\n")
    assert ended.returncode == 0
    assert b"\r\n42\r\n" in ended.stdout
    assert b"\x1b" not in ended.stdout


@needs_debian
@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this host to build a pipeline with")
def test_a_guest_stands_in_a_pipeline() -> None:
    ended = subprocess.run(
        f"set -o pipefail; seq 20000 | {XENIA[0]} -m xenia run -q -- sort -rn | head -n 1 | tr -d '\\n'",
        shell=True, executable="/bin/bash", capture_output=True, env=environment(), timeout=LIMIT, check=False,
    )  # fmt: skip
    assert ended.stdout == b"20000"
    assert ended.stderr == b""


@needs_debian
def test_modprobe_finds_what_programs_often_ask_for() -> None:
    done = run("-q", "--", "sh", "-c", "modprobe -a loop overlay 9p tun bridge dm-crypt && ls /sys/module")
    assert done.returncode == 0
    assert {b"loop", b"overlay", b"9p", b"9pnet", b"tun", b"bridge", b"dm_crypt"} <= set(done.stdout.split())


@needs_debian
def test_a_kernel_alone_tells_that_its_disk_needs_a_module_and_takes_those_that_are_named(tmp_path: Path) -> None:
    packaged = Debian().kernel()
    alone = shutil.copy(packaged.image, tmp_path / "vmlinuz")
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))
    command = ("--kernel", str(alone), "--disk", str(disk))
    done = run(*command, "--", "test", "-e", "/dev/xvda")
    assert (done.returncode, done.stderr.count(b"no module xen-blkfront")) == (1, 1)
    assert b"--modules DIR" in done.stderr
    done = run(*command, "--modules", str(packaged.modules), "--", "test", "-e", "/dev/xvda")
    assert (done.returncode, done.stderr.count(b"no module")) == (0, 0)
