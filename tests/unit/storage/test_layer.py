"""What every layer does with requests before it does them."""

import errno
import inspect
from pathlib import Path

import pytest

from xenia.storage.aligned import Aligned
from xenia.storage.cache import Cache
from xenia.storage.checkpoint import Checkpoints
from xenia.storage.cow import Overlay
from xenia.storage.crypt import Crypt
from xenia.storage.delay import Delay
from xenia.storage.device import HostDevice
from xenia.storage.faulty import Faulty
from xenia.storage.file import RawFile, create_file
from xenia.storage.host_bytes import HostBytes
from xenia.storage.layer import BlockSize, Filter, Layer, Operation, Request, Statistics
from xenia.storage.memory import Memory
from xenia.storage.nbd import NbdClient
from xenia.storage.qcow2.image import Qcow2
from xenia.storage.throttle import Throttle
from xenia.storage.trace import Event, Record, Trace

LAYERS = [Aligned, Cache, Checkpoints, Crypt, Delay, Faulty, HostDevice, NbdClient, Qcow2, RawFile, Throttle, Trace]


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_answers_every_data_request_itself(layer: type[Layer]) -> None:
    for name in ("_read", "_write", "_discard", "_write_zeroes", "_extents"):
        known = {**vars(HostBytes), **vars(layer)} if issubclass(layer, HostBytes) else vars(layer)
        assert name in known, f"{layer.__name__}.{name} is inherited"
    assert not hasattr(layer, "__getattr__")
    assert not inspect.isabstract(layer) and issubclass(Overlay, Qcow2) and issubclass(Memory, RawFile)


def write(offset: int, data: bytes) -> Request:
    return Request(Operation.WRITE, offset, len(data), [memoryview(data)])


def test_neighbours_in_a_batch_go_down_as_one_call() -> None:
    records: list[Record] = []
    disk = Trace(Memory(1 << 20), records.append)
    disk.submit([write(number * 512, bytes([number]) * 512) for number in range(8)])
    assert [(record.offset, record.length) for record in records] == [(0, 4096)]
    assert (disk.statistics.batches, disk.statistics.requests, disk.statistics.merged) == (1, 8, 7)


def test_a_flush_parts_what_comes_before_from_what_comes_after() -> None:
    records: list[Record] = []
    disk = Trace(Memory(1 << 20), records.append)
    disk.submit([write(0, b"a" * 512), Request(Operation.FLUSH), write(512, b"b" * 512)])
    assert [record.event for record in records] == [Event.WRITE, Event.FLUSH, Event.WRITE]


def test_of_merged_requests_only_the_one_at_fault_fails() -> None:
    disk = Faulty(Memory(1 << 20), [Operation.WRITE], start=1024, end=1536)
    batch = [write(number * 512, b"x" * 512) for number in range(4)]
    disk.submit(batch)
    assert [request.error for request in batch] == [0, 0, errno.EIO, 0]
    assert disk.pread(0, 2048) == b"x" * 1024 + bytes(512) + b"x" * 512


@pytest.mark.parametrize("span", [(-1, 1), (0, 4097), (4096, 1), (1 << 70, 1)])
def test_a_request_outside_the_disk_is_refused(span: tuple[int, int]) -> None:
    disk = Memory(4096)
    offset, length = span
    for refused in (
        lambda: disk.preadv([memoryview(bytearray(length))], offset),
        lambda: disk.pwritev([memoryview(bytes(length))], offset),
        lambda: disk.discard(offset, length),
        lambda: disk.write_zeroes(offset, length),
        lambda: list(disk.extents(offset, length)),
    ):
        with pytest.raises(OSError) as error:
            refused()
        assert error.value.errno == errno.EINVAL
    assert disk.size == 4096


def test_blocks_are_kept_to_and_aligned_gives_bytes(tmp_path: Path) -> None:
    class Blocks(Trace):
        pass

    disk = Blocks(Memory(8192), lambda _: None)
    disk.block_size = BlockSize(512)
    with pytest.raises(OSError) as error:
        disk.pwrite(b"x", 3)
    assert error.value.errno == errno.EINVAL
    fine = Aligned(disk)
    fine.pwrite(b"hello", 510)
    fine.write_zeroes(512, 1)
    assert fine.pread(508, 8) == b"\0\0he\0lo\0"


def test_a_disk_that_is_read_only_says_so(tmp_path: Path) -> None:
    create_file(tmp_path / "disk", 4096).close()
    with (tmp_path / "disk").open("rb") as file:
        disk = Trace(RawFile(file.fileno(), read_only=True), lambda _: None)
        assert disk.read_only
        batch = [write(0, b"x"), Request(Operation.WRITE_ZEROES, 0, 512), Request(Operation.DISCARD, 0, 512)]
        disk.submit(batch)
        assert [request.error for request in batch] == [errno.EROFS] * 3


def test_what_cannot_be_discarded_securely_is_not_discarded() -> None:
    disk = Memory(4096)
    disk.pwrite(b"secret", 0)
    batch = [Request(Operation.SECURE_DISCARD, 0, 512)]
    disk.submit(batch)
    assert batch[0].error == errno.EOPNOTSUPP and disk.pread(0, 6) == b"secret"


def test_a_new_size_is_told_up_the_stack() -> None:
    bottom = Memory(4096)
    sizes: list[int] = []
    top = Delay(Trace(bottom, lambda _: None))
    top.watch(sizes.append)
    top.resize(8192)
    bottom.resize(12288)
    assert sizes == [8192, 12288] and top.size == 12288


def test_a_file_that_grew_is_noticed(tmp_path: Path) -> None:
    disk = create_file(tmp_path / "disk", 4096)
    sizes: list[int] = []
    disk.watch(sizes.append)
    with (tmp_path / "disk").open("r+b") as other:
        other.truncate(1 << 20)
    disk.refresh()
    disk.refresh()
    assert sizes == [1 << 20]
    disk.close()


def test_a_flush_that_failed_stays_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Memory(4096)

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "gone")

    with monkeypatch.context() as patched:
        patched.setattr("os.fdatasync", fail)
        with pytest.raises(OSError):
            disk.flush()
    with pytest.raises(OSError) as error:
        disk.flush()
    assert error.value.errno == errno.EIO


def test_what_goes_past_a_layer_is_counted_as_its_own() -> None:
    disk, past = Memory(1 << 20), Statistics()
    disk.pread(0, 512)
    counted = lambda: past  # noqa: E731
    disk.count_past(counted)
    assert disk.host_fd >= 0
    past.reads, past.bytes_read = 2, 1024
    assert (disk.counts().reads, disk.counts().bytes_read, disk.statistics.reads) == (3, 1536, 1)
    disk.end_past(counted)
    past.reads = 7  # another's by now
    assert (disk.counts().reads, disk.counts().bytes_read) == (3, 1536)


def test_only_what_is_nothing_but_the_hosts_bytes_may_be_gone_past(tmp_path: Path) -> None:
    file = create_file(tmp_path / "disk", 4096)
    assert file.host_fd == file.fd
    assert file.details()["path"] == str(tmp_path / "disk")
    above = Cache(file)
    assert above.host_fd == -1
    above.close()


def test_statistics_count_each_layer() -> None:
    disk = Cache(Memory(1 << 20))
    for _ in range(3):
        disk.pread(0, 4096)
    assert disk.statistics.as_dict()["reads"] == 3 and disk.lower.statistics.reads == 1
    assert (disk.hits, disk.misses) == (2, 1)


def test_closing_closes_what_is_below_once() -> None:
    bottom = Memory(4096)
    top: Filter = Trace(Delay(bottom), lambda _: None)
    top.close()
    top.close()
    assert bottom.closed


def test_a_throttle_keeps_to_its_rate() -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    disk = Throttle(Memory(1 << 20), bytes_rate=1 << 20, now=lambda: now[0], sleep=sleep)
    for _ in range(50):
        disk.pread(0, 1 << 17)
    assert 6.0 < now[0] < 6.3  # 6.25 MiB, less a tenth of a second's worth at once
    requests = Throttle(Memory(1 << 20), request_rate=100, now=lambda: now[0], sleep=sleep)
    start = now[0]
    for _ in range(200):
        requests.pread(0, 512)
    assert 1.8 < now[0] - start < 2.1


def test_a_cache_written_back_writes_at_a_flush_and_loses_nothing_when_it_cannot() -> None:
    bottom = Memory(1 << 20)
    faulty = Faulty(bottom, [Operation.WRITE], times=1)
    disk = Cache(faulty, write_back=True)
    for number in range(16):
        disk.pwrite(bytes([number + 1]) * 512, number * 512)
    assert bottom.pread(0, 512) == bytes(512)
    with pytest.raises(OSError):
        disk.flush()
    disk.flush()
    assert bottom.pread(15 * 512, 512) == bytes([16]) * 512
    assert bottom.statistics.writes == 1
