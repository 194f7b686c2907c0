"""Files through the server, against the same through the host's own calls."""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
import threading
from pathlib import Path

import pytest

from tests.unit.p9.peer import (
    FLUSH,
    FSYNC,
    GETATTR,
    GETLOCK,
    LOCK,
    READ,
    STATFS,
    XATTRCREATE,
    XATTRWALK,
    Peer,
    Refused,
    text,
)


def test_a_file_is_read_and_written_as_on_the_host(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"what was there")
    with Peer(tmp_path) as peer:
        old = peer.open(peer.walk("old"))
        assert peer.read(old) == b"what was there"
        assert peer.read(old, 4, 5) == b"was "
        assert peer.read(old, 4, 100) == b""
        new = peer.create("new", mode=0o640)
        data = bytes(range(256)) * 200
        assert peer.write(new, data) == len(data)
        assert peer.read(new, 65536) == data
        peer.clunk(new)
    assert (tmp_path / "new").read_bytes() == data
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640 & ~_umask()


def _umask() -> int:
    old = os.umask(0)
    os.umask(old)
    return old


def test_a_folder_is_listed_whole_however_small_the_answers(tmp_path: Path) -> None:
    expected = {f"{number}-{'x' * (number % 200)}" for number in range(500)}
    for name in expected:
        (tmp_path / name).touch()
    with Peer(tmp_path) as peer:
        for size in (512, 700, 8192, 60000):
            names = peer.names(peer.walk(), size)
            assert len(names) == len(set(names))
            assert set(names) == expected | {".", ".."}


def test_attributes_are_the_hosts_with_the_users_files_as_roots(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    path.chmod(0o604)
    with Peer(tmp_path) as peer:
        fid = peer.walk("file")
        mode, owner, group, links, _, size, _, blocks = peer.getattr(fid)
        assert (mode, owner, group, links, size) == (stat.S_IFREG | 0o604, 0, 0, 1, 5)
        assert blocks == path.stat().st_blocks
        peer.setattr(fid, 0x1, mode=0o4755)
        assert stat.S_IMODE(path.stat().st_mode) == 0o755  # nothing that is run as its owner
        peer.setattr(fid, 0x8, size=3)
        assert path.read_bytes() == b"123"
        peer.setattr(fid, 0x20 | 0x100, mtime=1_000_000_000)
        assert path.stat().st_mtime == 1_000_000_000
        peer.setattr(fid, 0x2 | 0x4, owner=12345)  # which is not done, and not refused
        assert path.stat().st_uid == os.geteuid()


def test_a_file_that_is_gone_is_whole_for_who_has_it_open(tmp_path: Path) -> None:
    with Peer(tmp_path) as peer:
        fid = peer.create("file")
        peer.write(fid, b"still here")
        peer.unlink("file")
        assert peer.read(fid) == b"still here"
        peer.setattr(fid, 0x8, size=5)
        assert peer.getattr(fid)[5] == 5
        assert peer.getattr(fid)[3] == 0  # no name
        with pytest.raises(Refused) as refused:
            peer.walk("file")
        assert refused.value.errno == errno.ENOENT


def test_a_name_goes_to_another_file_and_those_who_have_it_open_keep_theirs(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    with Peer(tmp_path) as peer:
        b = peer.open(peer.walk("b"))
        peer.mkdir("folder")
        folder = peer.walk("folder")
        peer.rename("a", "b")
        assert peer.read(b) == b"b"
        assert peer.read(peer.open(peer.walk("b"))) == b"a"
        peer.rename("b", "c", to=folder)
        assert (tmp_path / "folder" / "c").read_bytes() == b"a"
        assert peer.read(peer.open(peer.walk("folder", "c"))) == b"a"


def test_links_and_names_for_pipes_and_sockets_are_made(tmp_path: Path) -> None:
    with Peer(tmp_path) as peer:
        fid = peer.create("file")
        peer.link(fid, "again")
        assert (tmp_path / "again").stat().st_nlink == 2
        peer.symlink("there", "nowhere/at all")
        assert peer.readlink(peer.walk("there")) == "nowhere/at all" == os.readlink(tmp_path / "there")
        peer.mknod("pipe", stat.S_IFIFO | 0o600)
        peer.mknod("socket", stat.S_IFSOCK | 0o600)
        assert (tmp_path / "pipe").is_fifo() and (tmp_path / "socket").is_socket()
        peer.mkdir("folder")
        with pytest.raises(Refused) as refused:
            peer.unlink("folder")
        assert refused.value.errno == errno.EISDIR
        peer.unlink("folder", folder=True)
        assert not (tmp_path / "folder").exists()


def test_extended_attributes_of_users_are_kept_and_no_others(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    try:
        os.setxattr(path, "user.colour", b"green")
    except OSError:
        pytest.skip("no extended attributes here")
    with Peer(tmp_path) as peer:
        file = peer.walk("file")
        assert _xattr(peer, file, "user.colour") == b"green"
        assert _xattr(peer, file, "") == b"user.colour\0"
        _set_xattr(peer, file, "user.shape", b"round" * 100)
        assert os.getxattr(path, "user.shape") == b"round" * 100
        for name in ("security.capability", "trusted.overlay.opaque"):
            with pytest.raises(Refused) as refused:
                _set_xattr(peer, file, name, b"x")
            assert refused.value.errno == errno.EOPNOTSUPP


def _xattr(peer: Peer, file: int, name: str) -> bytes:
    peer.ask(XATTRWALK, struct.pack("<II", file, 900) + text(name))
    value = peer.read(900, 65000)
    peer.clunk(900)
    return value


def _set_xattr(peer: Peer, file: int, name: str, value: bytes) -> None:
    fid = peer.walk(fid=file)
    try:
        peer.ask(XATTRCREATE, struct.pack("<I", fid) + text(name) + struct.pack("<QI", len(value), 0))
        peer.write(fid, value[:7])
        peer.write(fid, value[7:], 7)
    finally:
        peer.clunk(fid)


def test_a_folder_that_is_read_only_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    before = sorted(path.name for path in tmp_path.iterdir())
    with Peer(tmp_path, read_only=True) as peer:
        file = peer.walk("file")
        changes = (
            lambda: peer.create("new"), lambda: peer.mkdir("new"), lambda: peer.symlink("new", "file"),
            lambda: peer.link(file, "new"), lambda: peer.rename("file", "new"), lambda: peer.unlink("file"),
            lambda: peer.mknod("new", stat.S_IFIFO), lambda: peer.setattr(file, 0x8, size=0),
            lambda: peer.open(peer.walk("file"), os.O_WRONLY), lambda: peer.open(peer.walk("file"), os.O_TRUNC),
            lambda: _set_xattr(peer, file, "user.colour", b"x"),
        )  # fmt: skip
        for change in changes:
            with pytest.raises(Refused) as refused:
                change()
            assert refused.value.errno == errno.EROFS
        assert peer.read(peer.open(file)) == b"x"
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_walk_ends_where_a_name_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    with Peer(tmp_path) as peer:
        peer.walk("a", "b")
        with pytest.raises(Refused):
            peer.walk("a", "c", new=77)
        with pytest.raises(Refused) as refused:
            peer.getattr(77)
        assert refused.value.errno == errno.EBADF


def test_file_systems_are_told_and_written_out_and_locks_are_given(tmp_path: Path) -> None:
    with Peer(tmp_path) as peer:
        fid = peer.create("file")
        answer = peer.ask(STATFS, struct.pack("<I", fid))
        assert struct.unpack_from("<Q", answer, 8)[0] == os.statvfs(tmp_path).f_blocks
        peer.ask(FSYNC, struct.pack("<II", fid, 0))
        said = struct.pack("<IBIQQI", fid, 1, 0, 0, 0, 7) + text("guest")
        assert peer.ask(LOCK, said) == b"\0"
        assert peer.ask(GETLOCK, struct.pack("<IBQQI", fid, 1, 0, 0, 7) + text("guest"))[0] == 2


def test_a_call_that_hangs_holds_up_no_other_and_its_flush_comes_after_it(tmp_path: Path) -> None:
    """A lock that a file system takes its time for is not to be had here; a read of nothing is quick enough to race."""
    (tmp_path / "file").write_bytes(b"x" * 60000)
    with Peer(tmp_path, workers=4) as peer:
        fid = peer.open(peer.walk("file"))
        for tag in range(10, 200, 2):
            peer.send(READ, struct.pack("<IQI", fid, 0, 60000), tag)
            peer.send(FLUSH, struct.pack("<H", tag), tag + 1)
            tags = [peer.receive()[1], peer.receive()[1]]
            assert tags == [tag, tag + 1]


def test_two_streams_have_the_same_files(tmp_path: Path) -> None:
    with Peer(tmp_path, streams=2) as peer:
        fid = peer.create("file")
        peer.write(fid, b"by one")
        answer = peer.ask(READ, struct.pack("<IQI", fid, 0, 100), stream=1)
        assert answer[4:] == b"by one"
        assert isinstance(peer.sockets[1], socket.socket)


def test_more_files_are_held_than_there_are_descriptors_and_found_again_by_name(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"{number % 10}").mkdir(exist_ok=True)
        (tmp_path / f"{number % 10}" / f"{number}").write_text(str(number))
    with Peer(tmp_path, descriptors=20) as peer:
        before = len(os.listdir("/proc/self/fd"))
        away = peer.walk("0", "10")
        fids = {number: peer.walk(str(number % 10), str(number)) for number in range(300)}
        (tmp_path / "0" / "20").replace(tmp_path / "0" / "10")
        with pytest.raises(Refused) as refused:
            peer.getattr(away)
        assert refused.value.errno == errno.EBADF
        (tmp_path / "0" / "20").write_text("20")
        assert len(os.listdir("/proc/self/fd")) - before < 60
        for number, fid in list(fids.items())[30:]:
            assert peer.getattr(fid)[5] == len(str(number))
            assert peer.read(peer.open(peer.walk(fid=fid))) == str(number).encode()
        assert peer.session.held == 1 + 1 + 300 + 270


def test_files_and_the_folders_above_them_are_found_again_by_several_at_once(tmp_path: Path) -> None:
    for number in range(40):
        folder = tmp_path.joinpath(*str(number % 8).rjust(6, "f"))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}").write_bytes(bytes(number))
    wrong: list[object] = []
    with Peer(tmp_path, descriptors=2, streams=4) as peer:
        fids = [peer.walk(*str(number % 8).rjust(6, "f"), f"{number}") for number in range(40)]

        def look(stream: int) -> None:
            for turn in range(400):
                number = turn * (2 * stream + 1) % 40
                try:
                    answer = peer.ask(GETATTR, struct.pack("<IQ", fids[number], 0x7FF), stream=stream)
                    size = struct.unpack_from("<Q", answer, 49)[0]
                except Refused as refused:
                    size = refused
                if size != number:
                    wrong.append((number, size))

        threads = [threading.Thread(target=look, args=(stream,)) for stream in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_so_many_files_are_opened_and_no_more_until_some_are_given_back(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"whole")
    with Peer(tmp_path, fids=3000, descriptors=100) as peer:
        fids = [peer.walk("file") for _ in range(1001)]
        for fid in fids[:-1]:
            peer.open(fid)
        with pytest.raises(Refused) as refused:
            peer.open(fids[-1])
        assert refused.value.errno == errno.EMFILE
        peer.clunk(fids[0])
        assert peer.read(peer.open(fids[-1])) == b"whole"
