"""The vbd backend against a frontend that does what it should, and one that does not."""

from __future__ import annotations

import os
import random
import struct
import threading
import time
from pathlib import Path

import pytest

from tests.unit.backends.vbd.conftest import Blkfront
from xenia.abi.blkif import BLKIF_REQUEST, Operation, Status
from xenia.foreign.fault import FrontendFault
from xenia.rings.request import Front
from xenia.storage.aligned import Aligned
from xenia.storage.file import create_file, open_file
from xenia.storage.layer import Layer
from xenia.storage.memory import Memory
from xenia.storage.stack import create_stack, open_stack

READ, WRITE, BARRIER, FLUSH = (
    Operation.READ,
    Operation.WRITE,
    Operation.WRITE_BARRIER,
    Operation.FLUSH_DISKCACHE,
)
SECTORS = 2048  # of the disk: 1 MiB
MS = 1_000_000


def make(tmp_path: Path, kind: str) -> Layer:
    path = tmp_path / "disk.img"
    create_file(path, SECTORS * 512, replace=True).close()
    # A file is served without Python; the same file below a layer is not.
    return open_file(path) if kind == "file" else open_stack(f"file:{path},cache")


@pytest.fixture(params=["file", "layers", "file, at once", "layers, at once"])
def front(request: pytest.FixtureRequest, tmp_path: Path, fronts: list[Blkfront]) -> Blkfront:
    # At once: on the thread that notifies.
    kind, _, at_once = request.param.partition(", ")
    made = Blkfront(make(tmp_path, kind), listens=bool(at_once))
    fronts.append(made)
    made.connect()
    return made


def test_what_was_written_is_read_back(front: Blkfront) -> None:
    pages = front.guest.share(11)
    data = random.Random(1).randbytes(11 * 4096)
    pages.memory[:] = data
    assert front.do(front.request(WRITE, 8, front.whole(pages))) == Status.OKAY
    again = front.guest.share(11)
    assert front.do(front.request(READ, 8, front.whole(again))) == Status.OKAY
    assert bytes(again.memory) == data
    assert front.layer.pread(8 * 512, 11 * 4096) == data


def test_what_its_threads_ran_for_a_domain_counts_as_its_time(front: Blkfront) -> None:
    frames, pages, began = front.guest.frames, front.guest.share(11), time.process_time_ns()
    for sector in range(0, SECTORS - 88, 88):
        assert front.do(front.request(WRITE, sector, front.whole(pages))) == Status.OKAY
    front.disconnect()
    assert 0 < frames.charged <= time.process_time_ns() - began + MS


def test_a_segment_is_the_part_of_a_page_that_it_says(front: Blkfront) -> None:
    front.layer.pwrite(bytes(range(256)) * 4, 512)
    page = front.guest.share(1)
    page.memory[:] = b"\xee" * 4096
    assert front.do(front.request(READ, 1, [(page.refs[0], 3, 3), (page.refs[0], 6, 6)])) == Status.OKAY
    expected = bytearray(b"\xee" * 4096)
    expected[3 * 512 : 4 * 512] = expected[6 * 512 : 7 * 512] = bytes(range(256)) * 2
    assert bytes(page.memory) == bytes(expected)


def test_sectors_may_be_smaller_than_the_layers_blocks(tmp_path: Path, fronts: list[Blkfront]) -> None:
    front = Blkfront(Aligned(make(tmp_path, "file"), 4096))
    fronts.append(front)
    assert front.connect()["physical-sector-size"] == "4096"
    page = front.guest.share(1)
    page.memory[:] = b"\x11" * 4096
    assert front.do(front.request(WRITE, 7, [(page.refs[0], 0, 1)])) == Status.OKAY  # the end of a block, and a start
    assert front.read(6, 4) == bytes(512) + b"\x11" * 1024 + bytes(512)


def test_an_indirect_request_has_up_to_256_segments_and_answers_as_what_it_does(front: Blkfront) -> None:
    pages = front.guest.share(200)
    data = random.Random(2).randbytes(200 * 4096)
    pages.memory[:] = data
    number = front.indirect(WRITE, 0, front.whole(pages))
    front.push()
    assert front.answers(1) == {number: (WRITE, Status.OKAY)}
    assert front.layer.pread(0, len(data)) == data


def test_neighbours_of_a_batch_go_in_one_call(tmp_path: Path, fronts: list[Blkfront]) -> None:
    front = Blkfront(make(tmp_path, "file"))
    fronts.append(front)
    pages = front.guest.share(16)
    data = random.Random(3).randbytes(16 * 4096)
    pages.memory[:] = data
    numbers = [front.request(WRITE, 8 * index, [(ref, 0, 7)]) for index, ref in enumerate(pages.refs)]
    front.push()
    front.connect()
    front.port.notify()
    assert front.answers(16) == {number: (WRITE, Status.OKAY) for number in numbers}
    assert front.layer.pread(0, len(data)) == data
    stats = front.vbd.stats
    assert (stats.requests, stats.batches, stats.merged, stats.writes) == (16, 1, 15, 16)


def test_a_flush_and_a_barrier_are_answered_and_counted(front: Blkfront) -> None:
    page = front.guest.share(1)
    page.memory[:5] = b"keep!"
    assert front.do(front.request(FLUSH, 0, [])) == Status.OKAY
    assert front.do(front.request(BARRIER, 4, [(page.refs[0], 0, 7)])) == Status.OKAY
    assert front.do(front.request(BARRIER, 0, [])) == Status.OKAY
    assert front.layer.pread(2048, 5) == b"keep!"


def test_the_host_writes_large_writes_out_at_once_while_it_can_expect_a_flush(
    tmp_path: Path, fronts: list[Blkfront]
) -> None:
    front = Blkfront(make(tmp_path, "file"))
    fronts.append(front)
    front.connect()
    pages = front.guest.share(128)

    def write(segments: int) -> int:
        """Bytes that are on their way now."""
        front.indirect(WRITE, 0, front.whole(pages)[:segments])
        front.push()
        front.port.notify()
        front.answers(1)
        return front.vbd.stats.bytes_written_out

    assert write(128) == 0  # nobody has asked for a flush yet
    if front.vbd.stats.waited == 0:
        pytest.skip("the host takes writes without waiting")
    assert front.do(front.request(FLUSH, 0, [])) == Status.OKAY
    assert write(16) == 0  # a small one
    assert write(128) == 128 * 4096
    assert write(128) == 128 * 4096  # more than twice what lay between the flushes
    assert front.do(front.request(FLUSH, 0, [])) == Status.OKAY
    assert write(128) == 256 * 4096


def test_nothing_passes_a_barrier(front: Blkfront) -> None:
    # Each writes the same sector; the last one in the ring wins, with a barrier between every two.
    pages = front.guest.share(9)
    for index, ref in enumerate(pages.refs):
        pages.memory[index * 4096] = index
        front.request(BARRIER if index % 2 else WRITE, 0, [(ref, 0, 0)])
    front.push()
    answers = front.answers(9)
    assert [status for _, status in answers.values()] == [Status.OKAY] * 9
    assert front.read(0, 1)[0] == 8


def test_a_discard_reads_as_zeroes_afterwards(tmp_path: Path, fronts: list[Blkfront]) -> None:
    front = Blkfront(make(tmp_path, "file"))
    fronts.append(front)
    if front.connect().get("feature-discard") != "1":
        pytest.skip("the host's file system cannot punch holes")
    front.layer.pwrite(b"x" * 8192, 4096)
    assert front.do(front.discard(8, 8)) == Status.OKAY
    assert front.layer.pread(4096, 8192) == bytes(4096) + b"x" * 4096
    assert front.do(front.discard(0, SECTORS + 1)) == Status.ERROR
    waited = front.vbd.stats.waited
    assert front.do(front.discard(1 << 54, 1 << 54)) == Status.ERROR  # bytes whose sum is 0
    assert front.vbd.stats.waited == waited  # the host was not asked
    assert front.do(front.discard(1 << 63, 1 << 63)) == Status.ERROR


@pytest.mark.parametrize(
    ("operation", "sector", "segments", "nr_segments", "status"),
    [
        (READ, SECTORS, [(0, 0, 7)], None, Status.ERROR),  # beyond the end
        (READ, SECTORS - 7, [(0, 0, 7)], None, Status.ERROR),  # across it
        (READ, (1 << 64) - 1, [(0, 0, 7)], None, Status.ERROR),
        (READ, 1 << 55, [(0, 0, 7)], None, Status.ERROR),  # bytes that overflow
        (WRITE, SECTORS, [(0, 0, 7)], None, Status.ERROR),
        (READ, 0, [], None, Status.ERROR),
        (READ, 0, [(0, 0, 7)], 12, Status.ERROR),  # more segments than there is room for
        (READ, 0, [(0, 0, 7)], 255, Status.ERROR),
        (READ, 0, [(0, 5, 4)], None, Status.ERROR),  # first after last
        (READ, 0, [(0, 0, 8)], None, Status.ERROR),  # beyond the page
        (READ, 0, [(0, 255, 255)], None, Status.ERROR),
        (READ, 0, [(1, 0, 7)], None, Status.ERROR),  # a reference that grants nothing
        (READ, 0, [(0xFFFFFFFF, 0, 7)], None, Status.ERROR),
        (READ, 0, [(0, 0, 7), (1, 0, 7)], None, Status.ERROR),  # the second one of two
        (READ, 0, [(2, 0, 7)], None, Status.ERROR),  # granted for reading only
        (4, 0, [(0, 0, 7)], None, Status.EOPNOTSUPP),
        (77, 0, [(0, 0, 7)], None, Status.EOPNOTSUPP),
    ],
)
def test_a_request_that_cannot_be_is_an_error_and_nothing_else(
    front: Blkfront,
    operation: int,
    sector: int,
    segments: list[tuple[int, int, int]],
    nr_segments: int | None,
    status: Status,
) -> None:
    page = front.guest.share(1)
    read_only = front.guest.share(1, writable=False)
    page.memory[:] = b"\xee" * 4096
    refs = {0: page.refs[0], 1: 4000, 2: read_only.refs[0]}
    named = [(refs.get(ref, ref), first, last) for ref, first, last in segments]
    assert front.do(front.request(operation, sector, named, nr_segments=nr_segments)) == status
    assert bytes(page.memory) == b"\xee" * 4096
    assert front.guest.frames.held == 0
    assert front.layer.pread(0, SECTORS * 512) == bytes(SECTORS * 512)
    assert front.read(0, 8) == bytes(4096)  # and the next one is served


@pytest.mark.parametrize("nr_segments", [0, 257, 65535])
def test_an_indirect_request_of_a_size_that_cannot_be_is_an_error(front: Blkfront, nr_segments: int) -> None:
    page = front.guest.share(1)
    assert front.do(front.indirect(READ, 0, [(page.refs[0], 0, 7)], nr_segments)) == Status.ERROR
    assert front.do(front.indirect(FLUSH, 0, [(page.refs[0], 0, 7)])) == Status.ERROR
    assert front.do(front.indirect(Operation.INDIRECT, 0, [(page.refs[0], 0, 7)])) == Status.ERROR


def test_requests_at_random_are_all_answered(front: Blkfront) -> None:
    draw = random.Random(4)
    page = front.guest.share(2)
    for _ in range(60):
        batch = {}
        for _ in range(draw.randrange(1, 32)):
            number = draw.getrandbits(64)
            refs = b"".join(
                struct.pack(
                    "<IBBxx", draw.choice([page.refs[0], draw.getrandbits(32)]), draw.randrange(9), draw.randrange(9)
                )
                for _ in range(11)
            )
            head = struct.pack("<BBH4xQQ", draw.randrange(8), draw.randrange(14), 0, number, draw.randrange(3000))
            front.put(head + refs)
            batch[number] = True
        front.push()
        assert front.answers(len(batch)).keys() == batch.keys()
    assert front.guest.frames.held == 0


@pytest.mark.parametrize("ahead", [33, 1 << 31, (1 << 32) - 1])
def test_an_index_that_cannot_be_ends_the_ring_and_nothing_else(front: Blkfront, ahead: int) -> None:
    front.pages.memory[0:4] = struct.pack("<I", ahead)
    front.port.notify()
    front.disconnect()
    assert front.guest.frames.held == 0


def test_a_ring_is_named_faulty(tmp_path: Path, fronts: list[Blkfront]) -> None:
    front = Blkfront(make(tmp_path, "file"))
    fronts.append(front)
    front.pages.memory[0:4] = struct.pack("<I", 1000)
    front.connect()
    front.port.notify()
    deadline = time.monotonic() + 10
    while not front.vbd.is_faulty and time.monotonic() < deadline:
        os.sched_yield()
    assert front.vbd.is_faulty
    front.disconnect()


def test_what_needs_no_waiting_is_answered_before_the_guest_runs_on(tmp_path: Path, fronts: list[Blkfront]) -> None:
    front = Blkfront(make(tmp_path, "file"), listens=True)
    fronts.append(front)
    front.layer.pwrite(b"at once", 4096)
    front.connect()
    page = front.guest.share(1)
    at_once = 0
    for _ in range(100):
        page.memory[:] = bytes(4096)
        number = front.request(READ, 8, front.whole(page))
        front.push()
        responses = front.ring.take()
        at_once += len(responses)
        if not responses:  # the ring's own thread, which starts by looking, came first
            assert front.answers(1)[number][1] == Status.OKAY
        assert bytes(page.memory[:7]) == b"at once"
    assert at_once > 50
    assert front.vbd.stats.waited == 0


def test_a_guest_that_notifies_while_its_ring_is_let_go_gets_no_answer_afterwards(
    tmp_path: Path, fronts: list[Blkfront]
) -> None:
    front = Blkfront(make(tmp_path, "file"), listens=True)
    fronts.append(front)
    page = front.guest.share(1)
    for _ in range(30):
        front.pages = front.guest.share(1)
        front.port = front.guest.open_port()
        front.ring = Front(front.pages.memory, BLKIF_REQUEST.size)
        front.keys |= {"ring-ref": str(front.pages.refs[0]), "event-channel": str(front.port.number)}
        front.connect()
        pushed, done = 0, threading.Event()

        def notify(front: Blkfront = front, done: threading.Event = done) -> None:
            while not done.is_set():
                front.port.notify()

        guest = threading.Thread(target=notify)
        guest.start()
        for pushed in range(1, 9):
            front.request(READ, 8 * pushed, front.whole(page))
            front.push()
        front.disconnect()
        answered = len(front.ring.take())
        front.guest.assert_let_go()
        front.request(READ, 0, front.whole(page))
        front.push()
        done.set()
        guest.join()
        assert front.ring.take() == []
        assert answered <= pushed
        front.ring.close()
    front.ring = Front(front.pages.memory, BLKIF_REQUEST.size)


def test_requests_after_close_are_not_looked_at(front: Blkfront) -> None:
    page = front.guest.share(1)
    front.disconnect()
    front.request(READ, 0, [(page.refs[0], 0, 7)])
    front.push()
    assert not front.port.wait(0)
    assert front.ring.take() == []


def test_what_is_under_way_is_answered_before_the_ring_is_let_go(front: Blkfront) -> None:
    pages = front.guest.share(16)
    for index, ref in enumerate(pages.refs):
        front.request(WRITE, 8 * index, [(ref, 0, 7)])
    front.push()
    front.answers(1)
    front.disconnect()
    front.guest.assert_let_go()


def test_a_device_can_be_connected_again(front: Blkfront) -> None:
    front.layer.pwrite(b"still here", 0)
    assert front.read(0, 1)[:10] == b"still here"
    front.disconnect()
    front.ring.close()
    front.pages = front.guest.share(1)
    front.port = front.guest.open_port()
    front.ring = Front(front.pages.memory, BLKIF_REQUEST.size)
    front.keys |= {"ring-ref": str(front.pages.refs[0]), "event-channel": str(front.port.number)}
    front.connect()
    assert front.read(0, 1)[:10] == b"still here"


def test_a_read_only_disk_is_not_written(tmp_path: Path, fronts: list[Blkfront]) -> None:
    front = Blkfront(make(tmp_path, "file"), read_only=True)
    fronts.append(front)
    assert int(front.connect()["info"]) & 4
    page = front.guest.share(1)
    page.memory[:] = b"x" * 4096
    assert front.do(front.request(WRITE, 0, [(page.refs[0], 0, 7)])) == Status.ERROR
    assert front.do(front.request(BARRIER, 0, [(page.refs[0], 0, 7)])) == Status.ERROR
    assert front.do(front.discard(0, 8)) != Status.OKAY
    assert front.do(front.indirect(WRITE, 0, [(page.refs[0], 0, 7)])) == Status.ERROR
    assert front.read(0, 8) == bytes(4096)


def test_an_error_of_the_host_is_the_guests_error_and_only_of_the_request_it_hit(
    tmp_path: Path, fronts: list[Blkfront]
) -> None:
    front = Blkfront(make(tmp_path, "file"))
    fronts.append(front)
    os.truncate(tmp_path / "disk.img", 4096)  # what was torn off cannot be read
    pages = front.guest.share(3)
    numbers = [front.request(READ, 8 * index, [(ref, 0, 7)]) for index, ref in enumerate(pages.refs)]
    front.push()
    front.connect()
    front.port.notify()
    answers = front.answers(3)
    assert [answers[number][1] for number in numbers] == [Status.OKAY, Status.ERROR, Status.ERROR]


def test_a_layer_of_larger_blocks_is_served_in_sectors(tmp_path: Path, fronts: list[Blkfront]) -> None:
    pytest.importorskip("cryptography", reason="needs the Python package cryptography")
    (tmp_path / "key").write_bytes(bytes(range(64)))
    text = f"file:{tmp_path / 'disk.img'},crypt:key=@{tmp_path / 'key'}:plain:sector=4096"
    create_stack(text, SECTORS * 512)
    front = Blkfront(open_stack(text))
    fronts.append(front)
    offered = front.connect()
    assert (offered["sector-size"], offered["physical-sector-size"]) == ("512", "4096")
    pages = front.guest.share(2)
    pages.memory[:] = data = random.Random(5).randbytes(8192)
    assert front.do(front.request(WRITE, 0, front.whole(pages))) == Status.OKAY
    assert front.do(front.request(WRITE, 5, [(pages.refs[0], 0, 1)])) == Status.OKAY
    assert front.read(3, 8) == data[3 * 512 : 5 * 512] + data[:1024] + data[7 * 512 : 11 * 512]


def test_after_a_flush_that_failed_nothing_is_written_any_more(tmp_path: Path, fronts: list[Blkfront]) -> None:
    # Linux's frontend hides the flush that failed and asks for no other; the next write has to tell.
    create_file(tmp_path / "disk.img", SECTORS * 512, replace=True).close()
    front = Blkfront(open_stack(f"file:{tmp_path / 'disk.img'},faulty:flushes:times=1"))
    fronts.append(front)
    front.connect()
    page = front.guest.share(1)
    assert front.do(front.request(WRITE, 0, front.whole(page))) == Status.OKAY
    assert front.do(front.request(FLUSH, 0, [])) == Status.ERROR
    assert front.do(front.request(WRITE, 0, front.whole(page))) == Status.ERROR
    assert front.do(front.indirect(WRITE, 0, front.whole(page))) == Status.ERROR
    assert front.do(front.request(FLUSH, 0, [])) == Status.ERROR
    assert front.do(front.request(BARRIER, 0, [])) == Status.ERROR
    assert front.read(0, 8) == bytes(4096)


def test_a_write_that_failed_is_no_flush_that_failed(tmp_path: Path, fronts: list[Blkfront]) -> None:
    create_file(tmp_path / "disk.img", SECTORS * 512, replace=True).close()
    front = Blkfront(open_stack(f"file:{tmp_path / 'disk.img'},faulty:writes:times=1"))
    fronts.append(front)
    front.connect()
    page = front.guest.share(1)
    assert front.do(front.request(BARRIER, 0, front.whole(page))) == Status.ERROR
    assert front.do(front.request(WRITE, 0, front.whole(page))) == Status.OKAY
    assert front.do(front.request(FLUSH, 0, [])) == Status.OKAY


def test_frames_that_were_read_into_are_told_to_the_processor(front: Blkfront) -> None:
    written, read = front.guest.share(1), front.guest.share(1, writable=False)
    front.request(READ, 0, front.whole(written))
    front.request(WRITE, 8, front.whole(read))
    front.push()
    front.answers(2)
    assert written.refs[0] in front.guest.frames.written_frames
    assert read.refs[0] not in front.guest.frames.written_frames


def test_persistent_frames_are_held_until_the_end(tmp_path: Path, fronts: list[Blkfront]) -> None:
    front = Blkfront(make(tmp_path, "file"), persistent=True)
    fronts.append(front)
    offered = front.connect()
    assert (offered["feature-persistent"], offered["feature-max-indirect-segments"]) == ("1", "32")  # each keeps a page
    page = front.guest.share(1)
    page.memory[:4] = b"kept"
    for sector in range(0, 80, 8):
        assert front.do(front.request(WRITE, sector, front.whole(page))) == Status.OKAY
        assert front.do(front.request(READ, sector, front.whole(page))) == Status.OKAY
    assert front.guest.frames.held == 1
    front.disconnect()
    assert front.guest.frames.held == 0


def test_a_ring_may_have_sixteen_pages(tmp_path: Path, fronts: list[Blkfront]) -> None:
    front = Blkfront(make(tmp_path, "file"), ring_order=4)
    fronts.append(front)
    assert front.connect()["max-ring-page-order"] == "4"
    assert front.ring.nr_entries == 512
    page = front.guest.share(1)
    for _ in range(400):
        front.request(READ, 0, front.whole(page))
    front.push()
    assert len(front.answers(400)) == 400


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("ring-ref", None, "published no ring-ref"),
        ("ring-ref", "999", "999 is not granted"),
        ("ring-ref", "-1", "not a number"),
        ("event-channel", "999", "999 is not unbound"),
        ("event-channel", None, "published no event-channel"),
        ("protocol", "x86_32-abi", "protocol"),
        ("ring-page-order", "5", "not a number up to 4"),
        ("num-ring-pages", "3", "cannot be"),
        ("multi-queue-num-queues", "0", "cannot be"),
        ("multi-queue-num-queues", "5", "not a number up to 4"),
        ("multi-queue-num-queues", "2", "published none"),
    ],
)
def test_what_the_frontend_published_wrong_is_told(
    tmp_path: Path, fronts: list[Blkfront], key: str, value: str | None, message: str
) -> None:
    front = Blkfront(make(tmp_path, "file"))
    fronts.append(front)
    if value is None:
        del front.keys[key]
    else:
        front.keys[key] = value
    with pytest.raises(FrontendFault, match=message):
        front.connect()
    front.guest.assert_let_go()


def test_a_frontend_that_comes_and_goes_has_no_more_threads_than_one_that_stays(fronts: list[Blkfront]) -> None:
    front = Blkfront(Memory(1 << 20))
    fronts.append(front)
    front.connect()
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for _ in range(30):
        front.disconnect()
        front.connect()
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == (threads, descriptors)


def test_another_size_is_published_and_reached(tmp_path: Path, fronts: list[Blkfront]) -> None:
    front = Blkfront(make(tmp_path, "file"))
    fronts.append(front)
    published: list[dict[str, str]] = []
    front.vbd.on_resize(lambda keys: published.append(dict(keys)))
    assert front.connect()["sectors"] == str(SECTORS)
    front.layer.resize(SECTORS * 1024)
    assert published == [{"sectors": str(SECTORS * 2)}]
    assert front.read(SECTORS, 8) == bytes(4096)


def test_what_is_in_the_ring_when_a_frontend_closes_is_answered(fronts: list[Blkfront]) -> None:
    front = Blkfront(Memory(1 << 20))
    fronts.append(front)
    front.connect()
    page = front.guest.share(1)
    numbers = [front.request(Operation.READ, 8 * index, front.whole(page)) for index in range(20)]
    front.ring.push()  # it says nothing of them
    front.disconnect()
    assert front.answers(20) == {number: (Operation.READ, 0) for number in numbers}


def test_a_ring_is_taken_over_where_the_backend_before_stopped(fronts: list[Blkfront]) -> None:
    front = Blkfront(Memory(1 << 20))
    fronts.append(front)
    front.connect()
    page = front.guest.share(1)
    assert [front.do(front.request(Operation.READ, 0, front.whole(page))) for _ in range(5)] == [0] * 5
    front.disconnect()
    left = front.request(Operation.READ, 8, front.whole(page))
    front.push()
    front.connect()
    assert front.answers(1) == {left: (Operation.READ, 0)}


@pytest.mark.parametrize("order", range(5))
@pytest.mark.parametrize("where", ["last", "each", "other", "first"])
def test_barriers_in_a_full_ring_are_answered_before_it_is_let_go(
    fronts: list[Blkfront], order: int, where: str
) -> None:
    # Published and not notified: all are found by the close.
    front = Blkfront(Memory(SECTORS * 512), ring_order=order)
    fronts.append(front)
    front.connect()
    page = front.guest.share(1)
    entries = front.ring.nr_entries
    barriers = {"last": {entries - 1}, "each": set(range(entries)), "other": set(range(0, entries, 2)), "first": {0}}
    for index in range(entries):
        front.request(BARRIER if index in barriers[where] else FLUSH if index % 3 else READ, 0, [(page.refs[0], 0, 7)])
    front.ring.push()
    disconnect(front)
    assert len(front.ring.take()) == entries


def disconnect(front: Blkfront) -> None:
    """Disconnect, which must come to an end."""
    thread = threading.Thread(target=front.disconnect, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "closing the ring waits for ever"
