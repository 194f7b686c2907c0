"""The daemon: domains that belong to no command, who asks for them, and what becomes of them when somebody dies."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import pexpect
import pytest

from tests.guests.stock import skip_without
from tests.guests.test_run import LIMIT, XENIA, environment
from xenia.cli.voice import Voice
from xenia.errors import ConfigError
from xenia.toolstack.config.xl import read
from xenia.toolstack.control.client import Place, ask_daemon
from xenia.toolstack.provision.boot import Screen
from xenia.toolstack.service.create import create as make

pytestmark = pytest.mark.guest

ROOT = Path(__file__).parents[2]
HEAD = "Name                                        ID   Mem VCPUs\tState\tTime(s)"


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where this test's daemon listens, if there is one; it is stopped at the end."""
    folder = tempfile.mkdtemp(prefix="xd")  # a socket's path is short
    monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
    yield Path(folder, "xenia")
    xenia("daemon", "--stop", "--force", status=None)
    until(lambda: xenia("daemon", "--status", status=None).returncode == 1)
    shutil.rmtree(folder)


def xenia(*words: str, status: int | None = 0) -> subprocess.CompletedProcess[str]:
    """One command; `status` is what it has to end with."""
    ended = subprocess.run(
        [*XENIA, *words], capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment(), timeout=LIMIT,
        check=False,
    )  # fmt: skip
    assert status in (None, ended.returncode), (words, ended.stdout, ended.stderr)
    return ended


def create(name: str, *words: str) -> None:
    xenia("create", f"name={name}", "kernel=demo", "memory=16", *words)


def listed() -> dict[str, dict[str, object]]:
    return {row["name"]: row for row in json.loads(xenia("list", "--json").stdout)}


def until(condition: Callable[[], object]) -> None:
    """Wait for what no event tells this process."""
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


def is_called(name: str, domid: int) -> bool:
    return listed()[name]["domid"] == domid


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def attached(name: str) -> pexpect.spawn[str]:
    return pexpect.spawn(
        sys.executable, ["-m", "xenia", "console", name], env=environment(), encoding="utf-8", timeout=LIMIT,
        dimensions=(30, 100),
    )  # fmt: skip


def test_a_daemon_comes_with_the_first_domain_and_xls_verbs_work_on_it(home: Path) -> None:
    assert xenia("list").stdout.splitlines()[0] == HEAD  # without one
    create("web")
    xenia("create", "-p", "name=db", "kernel=demo", "memory=16")
    assert (home / "daemon").stat().st_mode & 0o777 == 0o600 and home.stat().st_mode & 0o777 == 0o700
    head, dom0, web, db = xenia("list").stdout.splitlines()
    assert (head, dom0[:42]) == (HEAD, "Domain-0                                  ")
    assert [line[:42] for line in xenia("list", "0", "web").stdout.splitlines()] == [HEAD[:42], dom0[:42], web[:42]]
    assert web.split()[:4] == ["web", "1", "16", "1"] and db.split()[:5] == ["db", "2", "16", "1", "--p---"]
    assert xenia("domid", "web").stdout == "1\n" and xenia("domname", "2").stdout == "db\n"
    for words in (("domid", "web"), ("domname", "1")):
        assert json.loads(xenia(*words, "--json").stdout) == {"name": "web", "number": 1}
    assert [one["name"] for one in json.loads(xenia("top", "--json").stdout)] == ["Domain-0", "web", "db"]
    xenia("pause", "db")  # before it has run
    xenia("unpause", "db")
    until(lambda: listed()["db"]["blocked"])
    xenia("pause", "db")
    assert listed()["db"]["paused"]
    xenia("unpause", "2")
    assert not listed()["db"]["paused"]
    xenia("rename", "db", "data")
    assert xenia("create", "name=data", "kernel=demo", status=1).stderr == (
        "xenia: a domain with name 'data' already exists\n"
    )
    assert xenia("destroy", "db", status=1).stderr == "xenia: db is an invalid domain identifier (rc=-6)\n"
    xenia("destroy", "data")
    assert list(listed()) == ["web"]
    assert "it has domains: web" in xenia("daemon", "--stop", status=2).stderr


def test_a_console_has_several_readers_and_none_harms_the_domain(home: Path) -> None:
    create("web")
    first = attached("web")
    first.expect("> ")  # what it said while nobody was there
    second = attached("web")
    second.send("\r")
    second.expect("> ")
    first.send("uptime\r")
    for reader in (first, second):
        reader.expect("uptime")
    first.kill(signal.SIGKILL)
    first.wait()
    with subprocess.Popen([*XENIA, "console", "web"], stdout=subprocess.PIPE, env=environment()) as stuck:
        os.kill(stuck.pid, signal.SIGSTOP)  # a reader that takes nothing
        second.send("help\r")
        second.expect("power off")
        stuck.kill()
    second.send("\x1d")  # Ctrl-]
    second.expect(pexpect.EOF)
    second.close()
    assert second.exitstatus == 0
    assert list(listed()) == ["web"]
    third = attached("web")
    third.send("halt\r")
    third.expect("the domain is gone")
    third.close()
    until(lambda: listed() == {})


def test_each_end_comes_to_what_was_asked_for_it_and_a_crash_harms_no_other(home: Path) -> None:
    create("other")
    create("first", "on_poweroff=preserve", "on_crash=restart")
    with_keys = attached("first")
    with_keys.expect("> ")
    for word, number in (("crash", 3), ("reboot", 4)):  # the second by default
        with_keys.send(f"{word}\r")
        until(partial(is_called, "first", number))
        with_keys.send("\r")
        with_keys.expect("> ")
    with_keys.send("halt\r")
    until(lambda: listed()["first"]["shutdown"] == 0)
    assert xenia("list", "first").stdout.split()[-2] == "---s--"
    xenia("destroy", "first")
    with_keys.expect("the domain is gone")
    with_keys.close()
    other = attached("other")
    other.send("uptime\r")
    other.expect("up")
    other.close(force=True)
    assert list(listed()) == ["other"]


def begin(name: str) -> Place:
    asked = read(f"name = '{name}'\nkernel = 'demo'\nmemory = 8\n")
    place = make(asked.domain, asked.guest, Voice(quiet=True), Screen("dumb", 24, 80))
    place.ask("unpause")
    return place


def held(processes: Iterable[int]) -> list[int]:
    """How many descriptors and threads each of them has, and how many processes it began."""
    counts = [len(list(Path(f"/proc/{pid}/{what}").iterdir())) for pid in processes for what in ("fd", "task")]
    return [*counts, *(len(children(pid)) for pid in processes)]


def test_sixty_four_domains_live_at_once_and_leave_nothing(home: Path) -> None:
    begin("g0").ask("destroy")
    about = ask_daemon("about")
    processes = [about["pid"], *children(about["pid"])]
    before = held(processes)
    with ThreadPoolExecutor(4) as pool:
        places = list(pool.map(begin, [f"g{number}" for number in range(1, 65)]))
    until(lambda: all(row["blocked"] for row in ask_daemon("domains")))  # each at its prompt
    assert len(ask_daemon("domains")) == 64
    assert sorted(row["domid"] for row in ask_daemon("domains")) == list(range(2, 66))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda place: place.ask("destroy", patience=LIMIT), places))
    assert ask_daemon("about")["free_memory"] == about["free_memory"]
    until(lambda: all(now <= then for now, then in zip(held(processes), before, strict=True)))


CLIENT = """
from itertools import count
from tests.guests.test_daemon import begin
for number in count():
    print(flush=True)
    begin(f"{name}-{number}").ask("destroy")
"""


def test_clients_that_are_killed_leave_whole_domains_or_none(home: Path) -> None:
    begin("g0").ask("destroy")
    about = ask_daemon("about")
    processes = [about["pid"], *children(about["pid"])]
    before = held(processes)
    command = [sys.executable, "-c", f"import sys\nname = sys.argv[1]\n{CLIENT}"]
    for name, which in (("a", 1), ("b", 8), ("c", 2), ("d", 5)):
        with subprocess.Popen([*command, name], stdout=subprocess.PIPE, cwd=ROOT, env=environment()) as client:
            assert client.stdout is not None
            for _ in range(which):
                client.stdout.readline()
            client.kill()  # while it asks for one
    begin("whole").ask("destroy")  # the daemon goes on

    def gone() -> bool:
        """Nothing of what those were about is left, once what came of it is destroyed."""
        for row in ask_daemon("domains"):
            with suppress(ConfigError):  # as its client had asked
                ask_daemon("destroy", domain=row["domid"], patience=LIMIT)
        free = ask_daemon("about")["free_memory"] == about["free_memory"]
        return free and all(now <= then for now, then in zip(held(processes), before, strict=True))

    until(gone)


def test_a_daemon_that_is_killed_leaves_its_disks_and_a_clear_state(home: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    create("web", f"disk=['file:{disk},xvda,w']")
    with pytest.raises(BlockingIOError), disk.open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    daemon = ask_daemon("about")["pid"]
    (machine,) = children(daemon)
    os.kill(daemon, signal.SIGKILL)
    until(lambda: not is_alive(machine))  # it closes its disks, and ends
    with disk.open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    told = xenia("list")
    assert told.stdout.splitlines()[0] == HEAD and len(told.stdout.splitlines()) == 2
    assert told.stderr == f"xenia: the daemon (process {daemon}) was killed; its domains ended with it: web\n"
    create("web", f"disk=['file:{disk},xvda,w']")  # by a new one
    assert xenia("list").stderr == ""
    assert list(listed()) == ["web"]


def test_a_machine_that_dies_takes_its_domains_with_it_and_the_next_begins_another(home: Path) -> None:
    create("web")
    xenia("create", "-p", "name=paused", "kernel=demo", "memory=16")
    reader = attached("web")
    reader.expect("> ")
    (machine,) = children(ask_daemon("about")["pid"])
    os.kill(machine, signal.SIGKILL)
    reader.expect("the domain is gone")
    reader.close()
    until(lambda: listed() == {})
    create("web")
    create("paused")
    assert list(listed()) == ["web", "paused"]


def test_guests_of_xenia_run_are_listed_and_take_the_same_verbs(home: Path) -> None:
    create("web")
    command = [*XENIA, "run", "-q", "--kernel", "demo", "--memory", "16M", "--name", "mine"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()) as guest:
        assert guest.stdout is not None
        guest.stdout.read(1)
        assert list(listed()) == ["web", "mine"]
        assert xenia("list", "mine").stdout.split()[6:8] == ["mine", str(guest.pid)]
        xenia("pause", "mine")
        assert listed()["mine"]["paused"]
        xenia("unpause", str(guest.pid))
        xenia("rename", "mine", "ours")
        assert "runs in a terminal of its own" in xenia("console", "ours", status=1).stderr
        assert "a guest of that name is running" in xenia("run", "--kernel", "demo", "--name", "web", status=2).stderr
        xenia("destroy", "ours")
        assert guest.wait(LIMIT) == -signal.SIGTERM
    assert list(listed()) == ["web"]


def test_a_stock_guest_shuts_down_when_it_is_asked_to(home: Path, tmp_path: Path) -> None:
    skip_without("amd64", ())
    config = tmp_path / "web.cfg"
    config.write_text("name = 'web'\nmemory = 128\nextra = 'quiet'\n")
    terminal = pexpect.spawn(
        sys.executable, ["-m", "xenia", "create", "-c", str(config)], env=environment(), encoding="utf-8",
        timeout=LIMIT, dimensions=(30, 100),
    )  # fmt: skip
    terminal.expect("/ # ")
    terminal.send("stty size\r")
    terminal.expect("30 100")
    xenia("reboot", "-w", "web")
    terminal.expect("/ # ")  # the same console, of the next life
    assert listed()["web"]["domid"] == 2
    xenia("shutdown", "-w", "web")
    terminal.expect("the domain is gone")
    terminal.close()
    assert listed() == {}
