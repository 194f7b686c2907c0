"""A client that sends whatever it likes, and others that move things about meanwhile.

For as many messages as you like: python -m tests.unit.p9.test_hostile MESSAGES [SEED]
"""

from __future__ import annotations

import errno
import os
import random
import socket
import stat
import struct
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.unit.p9.peer import (
    ATTACH,
    AUTH,
    CLUNK,
    FLUSH,
    FSYNC,
    GETATTR,
    GETLOCK,
    LCREATE,
    LINK,
    LOCK,
    LOPEN,
    MKDIR,
    MKNOD,
    READ,
    READDIR,
    READLINK,
    REMOVE,
    RENAMEAT,
    SETATTR,
    STATFS,
    SYMLINK,
    UNLINKAT,
    VERSION,
    WALK,
    WRITE,
    XATTRCREATE,
    XATTRWALK,
    Peer,
    Refused,
    message,
    text,
)  # fmt: skip

KINDS = (
    ATTACH, AUTH, CLUNK, FLUSH, FSYNC, GETATTR, GETLOCK, LCREATE, LINK, LOCK, LOPEN, MKDIR, MKNOD, READ, READDIR,
    READLINK, REMOVE, RENAMEAT, SETATTR, STATFS, SYMLINK, UNLINKAT, WALK, WRITE, XATTRCREATE, XATTRWALK,
)  # fmt: skip
NAMES = (
    "a", "b", "c", "..", ".", "", "a/b", "/", "/etc/passwd", "../secret", "\0", "a\0b", "x" * 255, "x" * 256, "link",
    "out", "user.a", "trusted.a",
)  # fmt: skip
SECRET = "nobody in the guest has seen this"


def _body(chance: random.Random, kind: int) -> bytes:
    """Arguments that look like those of a message, more or less."""

    def fid() -> bytes:
        return struct.pack("<I", chance.choice((0, 1, 2, 3, 4, 5, 6, 0xFFFFFFFF)))

    def number(size: str = "I") -> bytes:
        bits = struct.calcsize(size) * 8
        value = chance.choice((0, 1, 2, 0o644, 4096, 65536, (1 << bits) - 1, 1 << (bits - 1), chance.getrandbits(bits)))
        return struct.pack(f"<{size}", value & ((1 << bits) - 1))

    def name() -> bytes:
        return text(chance.choice(NAMES))

    shapes: dict[int, Callable[[], bytes]] = {
        WALK: lambda: fid() + fid() + struct.pack("<H", n := chance.choice((0, 1, 2, 3, 16, 17, 65535)))
        + b"".join(name() for _ in range(min(n, 20))),
        ATTACH: lambda: fid() + fid() + name() + name() + number(),
        LOPEN: lambda: fid() + number(),
        LCREATE: lambda: fid() + name() + number() + number() + number(),
        READ: lambda: fid() + number("Q") + number(),
        READDIR: lambda: fid() + number("Q") + number(),
        WRITE: lambda: fid() + number("Q") + struct.pack("<I", chance.choice((0, 5, 100, 0xFFFFFFFF))) + b"d" * 100,
        MKDIR: lambda: fid() + name() + number() + number(),
        MKNOD: lambda: fid() + name() + struct.pack("<I", chance.choice((stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO)))
        + number() * 3,
        SYMLINK: lambda: fid() + name() + name() + number(),
        LINK: lambda: fid() + fid() + name(),
        RENAMEAT: lambda: fid() + name() + fid() + name(),
        UNLINKAT: lambda: fid() + name() + number(),
        SETATTR: lambda: fid() + number() + number() * 3 + b"".join(number("Q") for _ in range(5)),
        XATTRWALK: lambda: fid() + fid() + name(),
        XATTRCREATE: lambda: fid() + name() + number("Q") + number(),
        LOCK: lambda: fid() + number("B") + number() + number("Q") * 2 + number() + name(),
        GETLOCK: lambda: fid() + number("B") + number("Q") * 2 + number() + name(),
    }  # fmt: skip
    body = shapes.get(kind, lambda: fid() + number("Q") + number())()
    if chance.random() < 0.05:
        body = body[: chance.randrange(len(body) + 1)]
    if chance.random() < 0.02:
        body = chance.randbytes(chance.randrange(100))
    return body


def flood(folder: Path, messages: int, seed: int) -> int:
    """Send so many; how many were answered with something else than an error."""
    chance = random.Random(seed)
    inside = folder / "inside"
    inside.mkdir()
    (folder / "secret").write_text(SECRET)
    (inside / "out").symlink_to("../secret")
    (inside / "a").mkdir()
    done = 0
    with Peer(inside, fids=64, descriptors=16) as peer:
        for sent in range(messages):
            kind = chance.choice(KINDS) if chance.random() < 0.97 else chance.randrange(256)
            if kind == VERSION or (sent and sent % 500 == 0):
                peer.version()
                peer.attach()
                continue
            peer.send(kind, _body(chance, kind), sent % 60000)
            answered, tag, answer = peer.receive()
            assert tag == sent % 60000
            assert answered in (kind + 1, 7)
            assert SECRET.encode() not in answer
            done += answered == kind + 1
    inside.chmod(0o755)
    assert (folder / "secret").read_text() == SECRET
    assert sorted(os.listdir(folder)) == ["inside", "secret"]
    return done


def test_whatever_is_sent_is_answered_and_nothing_outside_is_touched(tmp_path: Path) -> None:
    assert flood(tmp_path, 5000, 1) > 500


@pytest.mark.parametrize("size", [0, 3, 6, 65537, 1 << 20, 0xFFFFFFFF])
def test_a_message_of_a_size_that_cannot_be_ends_the_session(tmp_path: Path, size: int) -> None:
    with Peer(tmp_path) as peer:
        peer.sockets[0].sendall(struct.pack("<IBH", size, GETATTR, 1) + bytes(20))
        with pytest.raises((EOFError, ConnectionError)):
            peer.receive()


def test_nothing_is_answered_before_the_version_is_agreed_on(tmp_path: Path) -> None:
    with Peer(tmp_path, begins=False) as peer:
        with pytest.raises(Refused) as refused:
            peer.attach()
        assert refused.value.errno == errno.EPROTO
        assert peer.version(version="9P2000.u") == (65536, "unknown")
        assert peer.version(1 << 30)[0] == 1 << 19


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "/etc/passwd", "../x"])
def test_no_name_leads_out(tmp_path: Path, name: str) -> None:
    with Peer(tmp_path) as peer:
        for attempt in (
            lambda: peer.walk(name), lambda: peer.create(name), lambda: peer.mkdir(name),
            lambda: peer.symlink(name, "x"), lambda: peer.unlink(name, folder=True), lambda: peer.rename("a", name),
        ):  # fmt: skip
            with pytest.raises(Refused) as refused:
                attempt()
            assert refused.value.errno == errno.EINVAL


def test_a_symbolic_link_is_told_and_never_followed(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret").write_text(SECRET)
    (inside / "file").symlink_to(tmp_path / "secret")
    (inside / "folder").symlink_to(tmp_path)
    with Peer(inside) as peer:
        for attempt in (
            lambda: peer.walk("folder", "secret"), lambda: peer.open(peer.walk("file")),
            lambda: peer.create("file"), lambda: peer.create("new", fid=peer.walk("folder")),
            lambda: peer.setattr(peer.walk("file"), 0x8, size=0), lambda: peer.names(peer.walk("folder")),
        ):  # fmt: skip
            with pytest.raises(Refused):
                attempt()
    assert (tmp_path / "secret").read_text() == SECRET


def test_pipes_and_devices_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with suppress(OSError):
        os.mknod(tmp_path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with Peer(tmp_path) as peer:
        for name in os.listdir(tmp_path):
            for opens in (lambda name: peer.open(peer.walk(name)), peer.create):
                with pytest.raises(Refused) as refused:
                    opens(name)
                assert refused.value.errno == errno.EACCES
        for kind in (stat.S_IFCHR, stat.S_IFBLK):
            with pytest.raises(Refused) as refused:
                peer.mknod("device", kind | 0o666)
            assert refused.value.errno == errno.EPERM


def test_links_that_come_and_go_while_names_are_looked_up_lead_nowhere(tmp_path: Path) -> None:
    """A folder and a link to what is outside change places all the time."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside / "real", outside):
        folder.mkdir(parents=True)
        (folder / "file").write_text("inside" if folder != outside else SECRET)
    (inside / "link").symlink_to(outside)
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            for old, new in (("real", "t"), ("link", "real"), ("real", "link"), ("t", "real")):
                (inside / old).rename(inside / new)

    swapper = threading.Thread(target=swap)
    swapper.start()
    read = 0
    try:
        with Peer(inside, fids=100_000) as peer:
            for _ in range(3000):
                try:
                    fid = peer.open(peer.walk("real", "file"))
                except Refused:
                    continue
                assert peer.read(fid) == b"inside"
                peer.clunk(fid)
                read += 1
    finally:
        over.set()
        swapper.join()
    assert read
    assert os.listdir(outside) == ["file"]


def test_a_folder_that_is_taken_away_below_its_client_has_nothing_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    (folder / "a").mkdir(parents=True)
    with Peer(folder) as peer:
        below = peer.walk("a")
        (folder / "a").rmdir()
        folder.rmdir()
        for attempt in (
            lambda: peer.walk("a"),
            lambda: peer.mkdir("b"),
            lambda: peer.create("c", fid=below),
            lambda: peer.names(peer.walk()),
        ):
            with pytest.raises(Refused) as refused:
                attempt()
            assert refused.value.errno == errno.ENOENT


def test_what_a_client_holds_is_bounded(tmp_path: Path) -> None:
    with Peer(tmp_path, fids=50) as peer:
        for _ in range(49):
            peer.walk()
        with pytest.raises(Refused) as refused:
            peer.walk()
        assert refused.value.errno == errno.EMFILE
        peer.sockets[0].sendall(message(FLUSH, 5, struct.pack("<H", 77)))
        assert peer.receive() == (FLUSH + 1, 5, b"")


def test_folders_that_were_only_passed_are_bounded_too(tmp_path: Path) -> None:
    names = [str(number) for number in range(16)]
    tmp_path.joinpath(*names).mkdir(parents=True)
    with Peer(tmp_path, fids=50) as peer:
        for _ in range(100):
            peer.clunk(peer.walk(*names))
        held = [peer.walk(*names) for _ in range(100 // 16)]
        for _ in range(3):
            with pytest.raises(Refused) as refused:
                peer.walk(*names)
            assert refused.value.errno == errno.EMFILE
        peer.clunk(held[0])
        peer.walk(*names)


def test_a_version_that_another_stream_takes_back_meanwhile_makes_no_answer_larger(tmp_path: Path) -> None:
    msize, last = 8192, (1 << 14) - 1  # the fid that is forgotten last
    with (tmp_path / "file").open("wb") as file:
        file.truncate(4 << 20)
    attach = struct.pack("<II", 0, 0xFFFFFFFF) + text("") + text("") + struct.pack("<I", 0)
    asked = (
        (VERSION, struct.pack("<I", msize) + text("9P2000.L")), (ATTACH, attach),
        (WALK, struct.pack("<IIH", 0, last, 1) + text("file")), (LOPEN, struct.pack("<II", last, 0)),
        *((READ, struct.pack("<IQI", last, 0, 0xFFFFFFFF)),) * 50,
    )  # fmt: skip
    over = threading.Event()
    with Peer(tmp_path, streams=2, begins=False) as peer:

        def take_back() -> None:
            while not over.is_set():
                peer.ask(VERSION, struct.pack("<I", msize) + text("unheard of"), stream=1)

        other = threading.Thread(target=take_back)
        other.start()
        read = 0
        try:
            for _ in range(300):
                for kind, body in asked:
                    peer.send(kind, body)
                for _ in asked:
                    answered, _, answer = peer.receive()
                    assert 7 + len(answer) <= msize
                    read += answered == READ + 1
        finally:
            over.set()
            other.join()
    assert read


def test_who_has_gone_is_told_of_no_flush_nor_is_who_came_to_his_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(500_000))
    with Peer(tmp_path, streams=2, workers=1, msize=1 << 19) as peer:
        fid = peer.open(peer.walk("file"))
        peer.send(READ, struct.pack("<IQI", fid, 0, 500_000), 7)
        assert peer.sockets[0].recv(1, socket.MSG_PEEK)  # it is at that, and not done before we take it
        peer.send(FLUSH, struct.pack("<H", 7), 8, stream=1)
        peer.ask(GETATTR, struct.pack("<IQ", fid, 0), 9, stream=1)
        peer.leave(1)
        ends = [end for _ in range(4) for end in socket.socketpair()]
        assert peer.receive()[1] == 7
        peer.getattr(fid)
        for end in ends:
            end.setblocking(False)
            with pytest.raises(BlockingIOError):
                end.recv(1)
        for end in ends:
            end.close()


def test_a_name_that_is_hidden_is_nowhere_in_the_folder_and_anywhere_below(tmp_path: Path) -> None:
    for name in ("dev", "proc", "home/dev"):
        (tmp_path / name).mkdir(parents=True)
    with Peer(tmp_path, hidden=("dev", "proc")) as peer:
        attempts: list[Callable[[], int]] = [
            lambda: peer.walk("dev"),
            lambda: peer.walk("proc", "x"),
            lambda: peer.walk("dev", fid=peer.walk()),
            lambda: peer.create("dev"),
        ]
        for attempt in attempts:
            with pytest.raises(Refused) as refused:
                attempt()
            assert refused.value.errno == errno.ENOENT
        for old, new in (("dev", "seen"), ("home", "dev")):
            with pytest.raises(Refused) as refused:
                peer.rename(old, new)
            assert refused.value.errno == errno.EPERM
        assert set(peer.names(peer.walk(), 512)) == {".", "..", "home"}
        assert set(peer.names(peer.walk("home"))) == {".", "..", "dev"}
        peer.setattr(peer.walk("home", "dev"), 0x1, mode=0o700)
    assert stat.S_IMODE((tmp_path / "home" / "dev").stat().st_mode) == 0o700


def test_where_something_is_hidden_files_of_the_kernels_are_nowhere_below() -> None:
    with Peer(Path("/"), hidden=("dev",)) as peer:
        for name in ("proc", "sys"):
            with pytest.raises(Refused) as refused:
                peer.walk(name)
            assert refused.value.errno == errno.ENOENT
    with Peer(Path("/")) as peer:
        peer.walk("proc", "self")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        print(flood(Path(place), int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1), "were carried out")
