"""Xen's own xenstore clients, unmodified, against our socket."""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from xenia.errors import ConfigError
from xenia.guests import embedded
from xenia.toolstack.config.machine import MIB
from xenia.toolstack.machine.domain import Domain
from xenia.toolstack.machine.machine import Machine
from xenia.xenstore.client import Client
from xenia.xenstore.server import Server
from xenia.xenstore.store import Store

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("xenstore-ls") is None, reason="xenstore-utils is not installed"),
]

TIMEOUT = 30


class Tools:
    """The xenstore-* programs, pointed at one server."""

    def __init__(self, path: Path) -> None:
        self.environment = {**os.environ, "XENSTORED_PATH": str(path)}

    def __call__(self, tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [f"xenstore-{tool}", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )

    def output(self, tool: str, *arguments: str) -> str:
        done = self(tool, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(Store(), tmp_path / "socket") as server:
        yield server


@pytest.fixture
def client(server: Server) -> Client:
    return server.client()


@pytest.fixture
def tools(server: Server, tmp_path: Path) -> Tools:
    return Tools(tmp_path / "socket")


def test_write_and_read(tools: Tools, client: Client) -> None:
    tools.output("write", "/a/b", "one", "/a/c", "two words")
    assert tools.output("read", "/a/b", "/a/c") == "one\ntwo words\n"
    assert client.read("/a/c") == "two words"
    assert tools("read", "/a/none").returncode != 0


def test_ls_shows_the_tree_with_its_permissions(tools: Tools, client: Client) -> None:
    client.write("/vm/name", "guest")
    client.write("/vm/device/vif/0", "")
    assert tools.output("ls", "/vm") == 'name = "guest"\ndevice = ""\n vif = ""\n  0 = ""\n'
    assert tools.output("ls", "-fp", "/vm/device") == '/vm/device/vif = ""   (n0)\n/vm/device/vif/0 = ""   (n0)\n'


def test_ls_of_a_node_with_more_children_than_a_message_holds(tools: Tools, client: Client) -> None:
    for number in range(500):
        client.mkdir(f"/many/child-number-{number}")
    assert len(tools.output("ls", "/many").splitlines()) == 500


def test_list_and_exists(tools: Tools, client: Client) -> None:
    client.write("/a/b", "")
    client.write("/a/c", "")
    assert tools.output("list", "/a").split() == ["b", "c"]
    assert tools("exists", "/a/b").returncode == 0
    assert tools("exists", "/a/x").returncode == 1


def test_rm(tools: Tools, client: Client) -> None:
    client.write("/a/b/c", "")
    tools.output("rm", "/a/b")
    assert client.directory("/a") == []


def test_rm_tidies_the_empty_nodes_above(tools: Tools, client: Client) -> None:
    client.write("/keep/x", "")
    client.write("/keep/a/b/c", "")
    tools.output("rm", "-t", "/keep/a/b/c")
    assert client.directory("/keep") == ["x"]


def test_chmod(tools: Tools, client: Client) -> None:
    client.write("/a/b/c", "")
    tools.output("chmod", "-r", "/a", "n3", "r4")
    assert client.permissions("/a/b/c").entries() == ["n3", "r4"]
    assert tools.output("ls", "-fp", "/a/b") == '/a/b/c = ""   (n3,r4)\n'


@contextmanager
def watching(tools: Tools, *paths: str) -> Iterator[Callable[[], str]]:
    """A function that answers what xenstore-watch says next; it listens when this begins."""
    watch = subprocess.Popen(
        ["stdbuf", "-oL", "xenstore-watch", *paths], env=tools.environment, stdout=subprocess.PIPE, text=True
    )
    assert watch.stdout is not None
    try:
        for path in paths:
            assert watch.stdout.readline() == f"{path}\n"
        yield watch.stdout.readline
    finally:
        watch.kill()
        watch.wait()
        watch.stdout.close()


def test_watch(tools: Tools, client: Client) -> None:
    with watching(tools, "/a") as heard:
        client.write("/a/b", "1")
        assert heard() == "/a/b\n"
        client.remove("/a")
        assert heard() == "/a\n"


def test_many_programs_at_once_are_all_served(tools: Tools, client: Client) -> None:
    running = [subprocess.Popen(["xenstore-write", f"/d/{number}", "x"], env=tools.environment) for number in range(10)]
    assert [program.wait(TIMEOUT) for program in running] == [0] * 10
    assert sorted(client.directory("/d")) == sorted(str(number) for number in range(10))


# --- A machine that runs

needs_demo = pytest.mark.skipif(embedded() is None, reason="the built-in guest is not built: no C compiler for x86-64")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with Machine(Machine.memory_for(16 * MIB, 16 * MIB), xenstore_socket=tmp_path / "socket") as machine:
        yield machine


@pytest.fixture
def machine_tools(machine: Machine, tmp_path: Path) -> Tools:
    return Tools(tmp_path / "socket")


def demo(machine: Machine) -> Domain:
    image = embedded()
    assert image is not None
    domain = machine.create_domain(image, name="demo", memory=16 * MIB)
    domain.start()
    return domain


class Library:
    """Xen's libxenstore, as a toolstack of another process uses it."""

    def __init__(self, path: Path) -> None:
        name = ctypes.util.find_library("xenstore")
        if name is None:
            pytest.skip("libxenstore is not installed")
        self._library = ctypes.CDLL(name, use_errno=True)
        self._library.xs_open.restype = ctypes.c_void_p
        self._library.xs_control_command.restype = ctypes.c_char_p
        for call in ("introduce_domain", "release_domain", "resume_domain", "set_target", "is_domain_introduced"):
            getattr(self._library, f"xs_{call}").restype = ctypes.c_bool
        os.environ["XENSTORED_PATH"] = str(path)
        try:
            self._handle = ctypes.c_void_p(self._library.xs_open(0))
        finally:
            del os.environ["XENSTORED_PATH"]
        assert self._handle

    def __call__(self, call: str, *arguments: int) -> int:
        """What a call answers, or minus the errno with which it fails."""
        numbers = [ctypes.c_ulong(argument) for argument in arguments]
        ctypes.set_errno(0)
        done = getattr(self._library, f"xs_{call}")(self._handle, *numbers)
        return int(done) or -ctypes.get_errno()

    def control(self, command: bytes) -> bytes | None:
        """What a control command answers."""
        answer: bytes | None = self._library.xs_control_command(self._handle, command, None, 0)
        return answer

    def close(self) -> None:
        self._library.xs_close(self._handle)


@pytest.fixture
def library(machine: Machine, tmp_path: Path) -> Iterator[Library]:
    library = Library(tmp_path / "socket")
    yield library
    library.close()


@needs_demo
def test_a_running_guest_is_seen_with_its_tree(machine: Machine, machine_tools: Tools) -> None:
    domain = demo(machine)
    home = f"/local/domain/{domain.domid}"
    assert machine_tools.output("read", f"{home}/name", f"{home}/store/port") == f"demo\n{domain.handle.store_port}\n"
    assert f'static-max = "{16 << 10}"' in machine_tools.output("ls", home)
    machine_tools.output("write", f"{home}/data/said", "from outside")
    assert f'{home}/data/said = "from outside"   (n{domain.domid})' in machine_tools.output("ls", "-fp", home)


@needs_demo
def test_domains_are_heard_coming_and_going(machine: Machine, machine_tools: Tools, library: Library) -> None:
    with watching(machine_tools, "@introduceDomain", "@releaseDomain") as heard:
        domain = demo(machine)
        assert heard() == "@introduceDomain\n"
        domain.console.send(b"halt\n")
        assert domain.wait(TIMEOUT) is not None
        assert heard() == "@releaseDomain\n"  # it shut down; its memory is still there
        domain.destroy()
        assert heard() == "@releaseDomain\n"
    assert machine_tools.output("ls", "/local/domain") == ""
    assert library.control(b"check") == b"OK"


@needs_demo
def test_a_domain_is_introduced_with_the_page_and_channel_that_are_its_own(machine: Machine, library: Library) -> None:
    handle, other = demo(machine).handle, demo(machine).handle
    assert library("is_domain_introduced", handle.domid) == 1
    assert library("introduce_domain", handle.domid, handle.store_mfn, handle.store_port) == 1  # again
    assert library("introduce_domain", handle.domid, other.store_mfn, handle.store_port) == -errno.EINVAL
    assert library("introduce_domain", handle.domid, handle.store_mfn, handle.console_port) == -errno.EINVAL
    assert library("introduce_domain", 99, handle.store_mfn, handle.store_port) == -errno.EINVAL
    assert library("is_domain_introduced", handle.domid) == 1


@needs_demo
def test_a_domain_is_released_and_introduced_by_a_client(
    machine: Machine, machine_tools: Tools, library: Library
) -> None:
    domain = demo(machine)
    handle = domain.handle
    with watching(machine_tools, "@introduceDomain", "@releaseDomain") as heard:
        assert library("release_domain", handle.domid) == 1
        assert heard() == "@releaseDomain\n"
        assert library("is_domain_introduced", handle.domid) == 0
        assert library("release_domain", handle.domid) == -errno.ENOENT
        assert library("introduce_domain", handle.domid, handle.store_mfn, handle.store_port) == 1
        assert heard() == "@introduceDomain\n"
        assert library("is_domain_introduced", handle.domid) == 1
        assert library("release_domain", handle.domid) == 1
    domain.destroy()  # which has nothing left to release
    assert library("introduce_domain", handle.domid, handle.store_mfn, handle.store_port) == -errno.EINVAL


@needs_demo
def test_a_domain_resumes_and_may_act_for_another(machine: Machine, machine_tools: Tools, library: Library) -> None:
    first, second = demo(machine), demo(machine)
    assert library("set_target", first.domid, second.domid) == 1
    assert library("set_target", first.domid, 99) == -errno.ENOENT
    assert library("resume_domain", 99) == -errno.ENOENT
    with watching(machine_tools, "@releaseDomain") as heard:
        first.console.send(b"halt\n")
        assert first.wait(TIMEOUT) is not None
        assert heard() == "@releaseDomain\n"
        assert library("resume_domain", first.domid) == 1


@needs_demo
def test_one_socket_serves_one_machine(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="another xenstore listens here"):
        Machine(Machine.memory_for(16 * MIB), xenstore_socket=tmp_path / "socket")


@needs_demo
@pytest.mark.parametrize("named", [True, False], ids=["named", "in the environment"])
def test_a_guest_of_the_command_line(tmp_path: Path, named: bool) -> None:
    tools = Tools(tmp_path / "socket")
    option = ["--xenstore", str(tmp_path / "socket")] if named else ["--xenstore"]
    environment = os.environ if named else tools.environment
    running = subprocess.Popen(
        [sys.executable, "-m", "xenia", "run", "-q", "--kernel", "demo", "--name", "outside", *option],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert running.stdin is not None and running.stdout is not None
    try:
        assert running.stdout.readline()  # it is up
        assert tools.output("read", "/local/domain/1/name") == "outside\n"
        running.stdin.write(b"halt\n")
        running.stdin.flush()
        assert running.wait(TIMEOUT) == 0
    finally:
        running.kill()
        running.wait()
        running.stdin.close()
        running.stdout.close()
    assert not (tmp_path / "socket").exists()
