"""Disks that QEMU's and nbdkit's servers serve."""

import errno
import os
import random
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.conformance.storage_model import FILTERS, Disk, StackMachine, in_directory, pattern
from xenia.errors import ConfigError
from xenia.storage.layer import Operation, Request
from xenia.storage.nbd import NbdClient, open_nbd
from xenia.storage.spec import quote
from xenia.storage.stack import create_stack, open_stack

pytestmark = pytest.mark.peer
SIZE = 8 << 20

NBDKIT, QEMU_NBD, DAEMON = (shutil.which(name) for name in ("nbdkit", "qemu-nbd", "qemu-storage-daemon"))
needs_nbdkit = pytest.mark.skipif(NBDKIT is None, reason="nbdkit is not installed")
needs_qemu = pytest.mark.skipif(QEMU_NBD is None, reason="qemu-nbd is not installed (qemu-utils)")
needs_daemon = pytest.mark.skipif(DAEMON is None, reason="qemu-storage-daemon is not installed (qemu-utils)")


def listens(path: Path) -> bool:
    """Whether somebody listens there: a socket has a name before it takes connections."""
    sockets = (line.split() for line in Path("/proc/net/unix").read_text().splitlines())
    return any(one[-1] == str(path) and one[3] == "00010000" for one in sockets)  # __SO_ACCEPTCON


@contextmanager
def server(path: Path, *command: str | Path) -> Iterator[Path]:
    """A server that listens on the socket `path`; its standard error tells why where it does not."""
    inherited, ours = os.pipe()
    process = subprocess.Popen(
        [str(word) for word in command], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=(ours,)
    )
    os.close(ours)
    try:
        while process.poll() is None and not listens(path):
            try:
                process.wait(0.01)
            except subprocess.TimeoutExpired:
                continue
        assert process.stderr is not None
        assert path.exists(), process.stderr.read().decode()
        yield path
    finally:
        os.close(inherited)
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def nbdkit(directory: Path, *arguments: str) -> Iterator[Path]:
    assert NBDKIT is not None
    path = directory / "nbdkit.sock"
    with server(path, NBDKIT, "--foreground", "--exit-with-parent", "-U", path, *arguments) as found:
        yield found


@pytest.fixture(params=[
    pytest.param("nbdkit", marks=needs_nbdkit),
    pytest.param("qemu-nbd", marks=needs_qemu),
    pytest.param("qemu-storage-daemon", marks=needs_daemon),
])  # fmt: skip
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """The socket of a server that serves SIZE bytes."""
    disk = tmp_path / "disk"
    disk.write_bytes(b"")
    os.truncate(disk, SIZE)
    path = tmp_path / "socket"
    match request.param:
        case "nbdkit":
            yield from nbdkit(tmp_path, "memory", str(SIZE))
        case "qemu-nbd":
            with server(path, str(QEMU_NBD), "--persistent", "--discard=unmap", "-f", "raw", "-k", path, disk) as found:
                yield found
        case _:
            with server(
                path, str(DAEMON), "--blockdev", f"driver=file,node-name=d,filename={disk},discard=unmap",
                "--nbd-server", f"addr.type=unix,addr.path={path}", "--export",
                "type=nbd,id=e,node-name=d,name=,writable=on",
            ) as found:  # fmt: skip
                yield found


def test_it_holds_what_is_written_to_it(served: Path) -> None:
    disk = Disk(lambda: open_nbd(served))
    assert disk.layer.size == SIZE and disk.layer.can_flush
    chance = random.Random(1)
    for _ in range(60):
        offset, length = disk.span(chance.randrange(SIZE), chance.choice((512, 4096, 100_000, 1 << 20)))
        match chance.randrange(4):
            case 0:
                data = pattern(chance.randrange(1000), length)
                half = length // 2
                disk.layer.pwritev([memoryview(data)[:half], memoryview(data)[half:]], offset)
                disk.model[offset : offset + length] = data
            case 1:
                disk.layer.write_zeroes(offset, length)
                disk.model[offset : offset + length] = bytes(length)
            case 2 if disk.layer.can_discard:
                disk.layer.discard(offset, length)
                disk.settle_discard(offset, length)
            case _:
                disk.read(offset, length)
    disk.layer.flush()
    disk.check()
    disk.layer.close()


def test_a_batch_is_many_requests_in_flight(served: Path) -> None:
    with open_nbd(served) as layer:
        data = [pattern(number, 64 << 10) for number in range(64)]
        places = list(range(64))
        random.Random(2).shuffle(places)
        writes = [
            Request(Operation.WRITE, place << 16, 64 << 10, [memoryview(one)])
            for place, one in zip(places, data, strict=True)
        ]
        found = [bytearray(64 << 10) for _ in data]
        reads = [
            Request(Operation.READ, place << 16, 64 << 10, [memoryview(one)])
            for place, one in zip(places, found, strict=True)
        ]
        layer.submit([*writes, *reads, Request(Operation.FLUSH), Request(Operation.READ, SIZE, 512)])
        assert [request.error for request in (*writes, *reads)] == [0] * 128
        assert [bytes(one) for one in found] == data
        last = [Request(Operation.READ, SIZE, 512, [memoryview(bytearray(512))])]
        layer.submit(last)
        assert last[0].error == errno.EINVAL


def test_what_is_not_stored_is_known(served: Path) -> None:
    with open_nbd(served) as layer:
        layer.pwrite(b"x" * 65536, 1 << 20)
        extents = list(layer.extents(0, SIZE))
        assert sum(extent.length for extent in extents) == SIZE
        assert any(extent.zero for extent in extents)
        assert not any(extent.zero and extent.offset <= 1 << 20 < extent.offset + extent.length for extent in extents)


def test_layers_stand_on_it(served: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(os.urandom(64))
    text = f"nbd:{quote(str(served))},crypt:key=@{tmp_path}/key:plain,qcow2:cluster=4K"
    create_stack(text, 1 << 20)
    with open_stack(text) as layer:
        layer.pwrite(b"secret", 12345)
    with open_stack(text) as layer:
        assert layer.pread(12345, 6) == b"secret"


@needs_nbdkit
@pytest.mark.parametrize("layers", ["", *FILTERS])
def test_stacks_on_it_keep_what_is_written_to_them(layers: str, tmp_path: Path) -> None:
    """The suite of tests/conformance."""
    pytest.importorskip("cryptography", reason="needs the Python package cryptography")
    for path in nbdkit(tmp_path, "memory", "20M"):
        text = in_directory(",".join(filter(None, (f"nbd:{quote(str(path))}", layers))), tmp_path)
        run_state_machine_as_test(
            type("Machine", (StackMachine,), {"text": staticmethod(lambda text=text: text)}),
            settings=settings(
                max_examples=1, stateful_step_count=40, deadline=None, database=None, derandomize=True,
                phases=[Phase.generate], suppress_health_check=list(HealthCheck),
            ),
        )  # fmt: skip


@needs_nbdkit
def test_a_read_only_export_is_read_only(tmp_path: Path) -> None:
    for path in nbdkit(tmp_path, "-r", "memory", "1M"):
        with open_nbd(path) as layer:
            assert layer.read_only
            with pytest.raises(OSError) as refused:
                layer.pwrite(b"x", 0)
            assert refused.value.errno == errno.EROFS


@needs_nbdkit
def test_the_servers_errors_are_the_requests(tmp_path: Path) -> None:
    for path in nbdkit(tmp_path, "--filter=error", "memory", "1M", "error-pwrite=ENOSPC", "error-pwrite-rate=100%"):
        with open_nbd(path) as layer:
            batch = [Request(Operation.WRITE, 0, 3, [memoryview(b"abc")]), Request(Operation.FLUSH)]
            layer.submit(batch)
            assert [request.error for request in batch] == [errno.ENOSPC, 0]
            assert layer.pread(0, 4) == bytes(4)


@needs_nbdkit
def test_the_servers_block_size_is_kept_to(tmp_path: Path) -> None:
    policy = ("--filter=blocksize-policy", "memory", "1M", "blocksize-minimum=4096", "blocksize-error-policy=error")
    for path in nbdkit(tmp_path, *policy):
        with open_nbd(path) as layer:
            assert layer.block_size.minimum == 4096
            with pytest.raises(OSError) as refused:
                layer.pread(512, 512)
            assert refused.value.errno == errno.EINVAL


@needs_nbdkit
def test_a_server_that_goes_away_fails_requests_and_does_no_more(tmp_path: Path) -> None:
    assert NBDKIT is not None
    path = tmp_path / "nbdkit.sock"
    with server(path, NBDKIT, "--foreground", "-U", path, "memory", "1M"):
        layer = open_nbd(path)
        assert layer.pread(0, 4) == bytes(4)
    for _ in range(2):
        with pytest.raises(OSError) as lost:
            layer.pread(0, 4)
        assert lost.value.errno == errno.EIO
    layer.close()


@needs_daemon
def test_an_export_that_is_not_served_is_named(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with (
        server(path, str(DAEMON), "--blockdev", "driver=null-co,node-name=d,size=4096,read-zeroes=on", "--nbd-server",
               f"addr.type=unix,addr.path={path}", "--export", "type=nbd,id=e,node-name=d,name=there"),
        pytest.raises(ConfigError, match="does not serve 'elsewhere'"),
    ):  # fmt: skip
        open_nbd(path, "elsewhere")


@needs_nbdkit
def test_many_threads_share_a_connection(tmp_path: Path) -> None:
    for path in nbdkit(tmp_path, "memory", "4M"):
        with open_nbd(path) as layer:
            assert isinstance(layer, NbdClient)

            def work(number: int) -> None:
                data = pattern(number, 4096)
                for step in range(50):
                    layer.pwrite(data, (number * 50 + step) * 4096)
                    assert layer.pread((number * 50 + step) * 4096, 4096) == data

            threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            for number in range(4):
                assert layer.pread((number * 50 + 49) * 4096, 4096) == pattern(number, 4096)
