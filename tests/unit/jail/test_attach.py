"""A jailed guest opens nothing: disks that come later come as descriptors, and the guest goes on as without a jail."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.unit.storage.test_nbd import SIZE, Server
from xenia.errors import ConfigError
from xenia.guests import embedded
from xenia.storage.door import handed, recording
from xenia.storage.file import create_file, open_file
from xenia.storage.qcow2.create import create_image
from xenia.storage.stack import create_stack, open_stack

SOURCE = Path(__file__).parents[3] / "src"
MIB = 1 << 20
XENIA = [sys.executable, "-m", "xenia"]

needs_guest = pytest.mark.skipif(embedded() is None, reason="the built-in guest is not built: no C compiler for x86-64")


class Jailed:
    """The demo guest in `xenia run`."""

    def __init__(self, directory: Path, *options: str) -> None:
        self._environment = {**os.environ, "PYTHONPATH": str(SOURCE), "XDG_RUNTIME_DIR": str(directory)}
        self._process = subprocess.Popen(
            [*XENIA, "run", "-q", "--kernel", "demo", *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=self._environment, cwd=directory,
        )  # fmt: skip
        self.prompt()

    def prompt(self) -> None:
        """Wait until the guest waits for a command."""
        assert self._process.stdout is not None
        shown = b""
        while not shown.endswith(b"> "):
            more = os.read(self._process.stdout.fileno(), 4096)
            assert more, shown
            shown += more

    def type(self, text: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text)
        self._process.stdin.flush()

    def ask(self, *arguments: str) -> str:
        """What a command of ours says to this guest; its complaint where it has one."""
        ended = subprocess.run(
            [*XENIA, *arguments], capture_output=True, text=True, env=self._environment, timeout=60, check=False,
            cwd=self._environment["XDG_RUNTIME_DIR"],
        )  # fmt: skip
        return ended.stdout + ended.stderr

    def interrupt(self, *arguments: str, once: Path) -> tuple[int, str]:
        """How a command of ours ends at a Ctrl-C, once that file has bytes."""
        command = subprocess.Popen(
            [*XENIA, *arguments], stderr=subprocess.PIPE, text=True, env=self._environment,
            cwd=self._environment["XDG_RUNTIME_DIR"],
        )  # fmt: skip
        while command.poll() is None and not (once.exists() and once.stat().st_size):
            time.sleep(0.01)
        command.send_signal(signal.SIGINT)
        said = command.communicate(timeout=60)[1]
        return command.returncode, said

    def end(self) -> int:
        self.type(b"halt\r")
        self._process.communicate(timeout=60)
        return self._process.returncode


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Jailed]:
    jailed = Jailed(tmp_path)
    yield jailed
    assert jailed.end() == 0


def layers(guest: Jailed) -> list[str]:
    return [" over ".join(disk["layers"]) for disk in json.loads(guest.ask("block-list", "guest", "--json"))]


@needs_guest
def test_disks_of_every_kind_are_attached_to_a_jailed_guest(guest: Jailed, tmp_path: Path) -> None:
    create_file(tmp_path / "plain.img", MIB).close()
    create_file(tmp_path / "base.img", MIB).close()
    create_stack(f"{tmp_path}/top.qcow2:base=base.img", None)
    (tmp_path / "key").write_bytes(b"secret")
    create_stack(f"{tmp_path}/secret.img,crypt:key=@{tmp_path}/key:kdf=pbkdf2", MIB)
    assert guest.ask("block-attach", "guest", "plain.img") == "xvda\n"
    assert guest.ask("block-attach", "guest", "top.qcow2") == "xvdb\n"
    assert guest.ask("block-attach", "guest", f"secret.img,crypt:key=@{tmp_path}/key") == "xvdc\n"
    assert guest.ask("block-attach", "guest", "memory:1M,cow") == "xvdd\n"
    create_file(tmp_path / "other.img", MIB).close()
    assert guest.ask("block-attach", "guest", "other.img,cow:over.qcow2") == "xvde\n"
    create_file(tmp_path / "third.img", MIB).close()
    assert guest.ask("block-attach", "guest", "third.img,checkpoint") == "xvdf\n"
    assert layers(guest) == [
        "file", "qcow2 over file over file", "crypt over file", "cow over file over memory", "cow over file over file",
        "checkpoint over file",
    ]  # fmt: skip


@needs_guest
def test_a_disk_that_was_handed_over_is_locked_until_it_is_detached(guest: Jailed, tmp_path: Path) -> None:
    create_file(tmp_path / "disk.img", MIB).close()
    guest.ask("block-attach", "guest", "disk.img")
    with pytest.raises(ConfigError, match="is in use"):
        open_file(tmp_path / "disk.img")
    assert "is in use" in guest.ask("block-attach", "guest", "disk.img")
    guest.ask("block-detach", "guest", "xvda", "--force")
    open_file(tmp_path / "disk.img").close()


@needs_guest
def test_a_disk_grows_in_a_jailed_guest(guest: Jailed, tmp_path: Path) -> None:
    create_file(tmp_path / "disk.img", MIB).close()
    guest.ask("block-attach", "guest", "disk.img")
    assert guest.ask("block-resize", "guest", "xvda", "2M") == f"{2 * MIB}\n"


@needs_guest
def test_what_cannot_be_opened_is_told_by_who_asked(guest: Jailed) -> None:
    assert "cannot open" in guest.ask("block-attach", "guest", "nowhere.img")
    assert layers(guest) == []


@needs_guest
def test_a_jailed_guest_reboots_as_often_as_it_likes(tmp_path: Path) -> None:
    jailed = Jailed(tmp_path, "--on-reboot", "restart", "--disk", "memory:1M,cow")
    for _ in range(6):  # more than there are buffers for translated code
        jailed.type(b"reboot\r")
        jailed.prompt()
    assert layers(jailed) == ["cow over file over memory"]
    assert jailed.end() == 0


@needs_guest
def test_a_jailed_guest_leaves_no_sockets_behind(tmp_path: Path) -> None:
    jailed = Jailed(tmp_path, "--xenstore", str(tmp_path / "store"))
    assert (tmp_path / "store").is_socket()
    assert len(list((tmp_path / "xenia").iterdir())) == 1
    assert jailed.end() == 0
    assert not (tmp_path / "store").exists()
    assert list((tmp_path / "xenia").iterdir()) == []


def test_what_was_recorded_opens_the_same_disk_where_nothing_can_be_opened(tmp_path: Path) -> None:
    with create_file(tmp_path / "base.img", MIB) as base:
        base.pwritev([memoryview(b"below")], 0)
    with create_file(tmp_path / "top.qcow2", 0) as top:
        create_image(top, MIB, backing_file="base.img", backing_format="raw")
    stack = f"qcow2:{tmp_path}/top.qcow2"
    with recording() as found:
        open_stack(stack).close()
        taken = [(name, os.dup(descriptor)) for name, descriptor in found.opened]
    with handed(taken):
        disk = open_stack(stack)
    with disk:
        buffer = bytearray(5)
        disk.preadv([memoryview(buffer)], 0)
        assert buffer == b"below"
    with handed([]), pytest.raises(ConfigError, match="was not handed over"):
        open_stack(stack)


def test_an_nbd_server_is_connected_again_where_its_connection_was_handed_over(tmp_path: Path) -> None:
    server = Server(tmp_path / "socket")
    server.data[:5] = b"first"
    with recording() as found:
        open_stack(f"nbd:{tmp_path}/socket").close()
        taken = [(name, os.dup(descriptor)) for name, descriptor in found.opened]
    with handed(taken):
        disk = open_stack(f"nbd:{tmp_path}/socket")
    with closing(server), disk:
        buffer = bytearray(5)
        disk.preadv([memoryview(buffer)], 0)
        assert buffer == b"first"
        server.drop()
        server.data[:5] = b"again"
        disk.preadv([memoryview(buffer)], 0)
        assert buffer == b"again"


@needs_guest
def test_an_nbd_disk_is_attached_to_a_jailed_guest_and_detached(guest: Jailed, tmp_path: Path) -> None:
    with closing(Server(tmp_path / "socket")):
        assert guest.ask("block-attach", "guest", "nbd:socket") == "xvda\n"
        (disk,) = json.loads(guest.ask("block-list", "guest", "--json"))
        assert (disk["size"], disk["layers"]) == (SIZE, ["nbd"])
        guest.ask("block-detach", "guest", "xvda", "--force")
        assert layers(guest) == []


def test_descriptors_that_nobody_wants_are_closed(tmp_path: Path) -> None:
    spare = os.memfd_create("spare")
    with handed([("unknown", spare)]):
        pass
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(spare)


def test_a_jailed_disks_thread_has_its_server_connected_again_by_a_process_outside(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from xenia.storage.door import door, leaving\n"
        "with leaving():\n"
        "    again = door().reconnect(sys.argv[1])\n"
        "from xenia.toolstack.isolation.jailed import wall_in\n"
        "wall_in(118)\n"
        "from xenia.jail.kinds import Kind\n"
        "from xenia.machine.thread import HostThread\n"
        "def talk():\n"
        "    for _ in range(2):\n"
        "        with again() as connection:\n"
        "            print(connection.recv(9).decode())\n"
        "    try:\n"
        "        again()\n"
        "    except OSError as error:\n"
        "        print(error.strerror)\n"
        "thread = HostThread(talk, 'worker', Kind.WORKER)\n"
        "thread.start()\n"
        "thread.join()\n"
    )
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "server"))
        server.listen()
        process = subprocess.Popen(
            [sys.executable, "-c", program, "server"], stdout=subprocess.PIPE, text=True, cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
        )  # fmt: skip
        for answer in (b"NBDMAGIC1", b"NBDMAGIC2"):
            connection, _ = server.accept()
            if answer.endswith(b"2"):
                server.close()  # before the third
            with connection:
                connection.sendall(answer)
        assert process.communicate(timeout=60)[0].splitlines() == ["NBDMAGIC1", "NBDMAGIC2", "Connection refused"]
