"""A disk that was saved and made anew goes on as one that was not, in the middle of its requests."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from tests.unit.backends.vbd.conftest import Blkfront
from xenia.abi.blkif import Operation
from xenia.abi.xenbus import XenbusState
from xenia.backends.vbd.config import VbdConfig
from xenia.backends.vbd.device import Vbd
from xenia.backends.vbd.persist import QueueState, VbdState
from xenia.errors import ConfigError
from xenia.storage.file import create_file
from xenia.storage.layer import Layer
from xenia.storage.memory import Memory
from xenia.testing.foreign import MemoryForeign, SharedPages
from xenia.testing.persist import check, through_json
from xenia.xenbus.attachment import Attachment
from xenia.xenbus.directories import Address
from xenia.xenbus.frontend import Frontend
from xenia.xenstore.client import Client
from xenia.xenstore.server import Server
from xenia.xenstore.store import Store

SLOTS = 64  # of a page each
SIZE = SLOTS * 4096
# How busy it was, not what it did: that is for the host to decide.
ACCIDENTAL = {"batches", "merged", "waited", "notifications", "bytes_written_out"}


class Asked(NamedTuple):
    """One request; those of one batch concern pages of their own."""

    operation: Operation
    slot: int
    filled: int = 0


_asked = st.builds(
    Asked,
    st.sampled_from((*[Operation.WRITE] * 3, Operation.READ, Operation.FLUSH_DISKCACHE, Operation.WRITE_BARRIER,
                     Operation.DISCARD)),
    st.integers(0, SLOTS),  # the last one lies behind the end
    st.integers(0, 255),
)  # fmt: skip
_batch = st.lists(_asked, max_size=12, unique_by=lambda asked: asked.slot)
_batches = st.lists(_batch, max_size=4)


class Bench:
    """A frontend, and the device that serves it."""

    def __init__(self, layer: Layer, **options: bool) -> None:
        listens = options.pop("listens", False)
        self.front = Blkfront(layer, listens=listens, **options)
        self.front.connect()
        self.open: dict[int, tuple[Asked, SharedPages | None]] = {}

    def push(self, batch: Sequence[Asked]) -> None:
        front = self.front
        for asked in batch:
            page, sector = None, asked.slot * 8
            match asked.operation:
                case Operation.FLUSH_DISKCACHE:
                    number = front.request(asked.operation, 0, [])
                case Operation.DISCARD:
                    number = front.discard(sector, 8)
                case _:
                    page = front.guest.share()
                    page.memory[:] = bytes([asked.filled]) * 4096
                    number = front.request(asked.operation, sector, front.whole(page))
            self.open[number] = (asked, page)
        front.push()

    def collect(self) -> list[object]:
        """Wait for all answers; what they are, and what was read."""
        answers = self.front.answers(len(self.open))
        seen: list[object] = []
        for number, (asked, page) in sorted(self.open.items()):
            read = bytes(page.memory) if page is not None and asked.operation is Operation.READ else b""
            seen.append((number, answers[number], read))
        self.open.clear()
        return seen

    def do(self, batches: Sequence[Sequence[Asked]]) -> list[object]:
        """Carry these out, one after the other; the answers of the last one are left to come."""
        seen: list[object] = []
        for batch in batches:
            seen.append(self.collect())
            self.push(batch)
        return seen

    def end(self) -> tuple[object, object]:
        """The rest of the answers, and what is on the disk in the end."""
        seen = self.collect()
        self.front.vbd.disconnect()
        self.front.connected = False
        counts = {name: count for name, count in asdict(self.front.vbd.stats).items() if name not in ACCIDENTAL}
        return seen, (counts, self.front.layer.pread(0, SIZE))

    def save(self) -> VbdState:
        self.front.vbd.suspend()
        state = self.front.vbd.save()
        self.made(state)
        return state

    def restored(self, state: VbdState) -> Bench:
        self.front.vbd.suspend()
        self.made(state)
        return self

    def made(self, state: VbdState) -> None:
        front = self.front
        front.vbd.close()
        front.vbd = Vbd.restore(front.layer, state)
        assert front.vbd.resume(Frontend(MemoryForeign(front.guest), front.keys)) == {}


@contextmanager
def benches(kind: str, **options: bool) -> Iterator[list[Bench]]:
    """Two of them."""
    with TemporaryDirectory(
        dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    ) as name:  # flushes are quick there
        made: list[Bench] = []
        try:
            for each in ("kept", "saved"):
                layer: Layer = Memory(SIZE) if kind == "memory" else create_file(Path(name) / each, SIZE)
                made.append(Bench(layer, **options))
            yield made
        finally:
            for bench in made:
                bench.front.close()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("file", {}),
        ("memory", {}),
        ("file", {"persistent": True}),
        ("file", {"listens": True}),
        ("memory", {"listens": True, "persistent": True}),
    ],
)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(before=_batches, after=_batches)
def test_a_disk_that_was_made_anew_goes_on_as_it_was(
    kind: str, options: dict[str, bool], before: list[list[Asked]], after: list[list[Asked]]
) -> None:
    with benches(kind, **options) as made:
        waiting = iter(made)
        check(
            make=lambda: next(waiting),
            use=lambda bench: bench.do(before),
            save=Bench.save,
            restore=Bench.restored,
            go_on=lambda bench: (bench.do(after), bench.end()),
        )


def test_what_was_asked_and_not_answered_is_answered_before_the_device_rests() -> None:
    with benches("file") as (bench, _):
        batch = [Asked(Operation.WRITE, slot, slot) for slot in range(20)]
        bench.push(batch)
        bench.front.vbd.suspend()
        state = bench.front.vbd.save()
        assert state.queues == (QueueState(20),)
        assert state.counts["writes"] == 20
        bench.made(state)
        assert len(bench.collect()) == 20


def test_a_ring_that_is_not_served_any_more_stays_so() -> None:
    with benches("memory") as (bench, _):
        bench.front.pages.memory[:4] = (1 << 31).to_bytes(4, "little")
        bench.front.port.notify()
        while not bench.front.vbd.is_faulty:
            os.sched_yield()
        assert bench.save().queues == (QueueState(0, faulty=True),)
        assert bench.front.vbd.is_faulty


def test_a_ring_is_served_from_where_it_was_left_whatever_the_guest_says_of_that() -> None:
    with benches("memory") as (bench, _):
        bench.do([[Asked(Operation.WRITE, 1)], []])
        bench.front.vbd.suspend()
        bench.front.pages.memory[8:12] = (0).to_bytes(4, "little")  # rsp_prod: as if nothing had been answered
        bench.made(bench.front.vbd.save())
        bench.front.pages.memory[8:12] = (1).to_bytes(4, "little")
        bench.push([Asked(Operation.READ, 1)])
        assert len(bench.collect()) == 1
        assert bench.front.vbd.stats.writes == 1


def test_a_disk_that_failed_for_good_stays_so() -> None:
    with benches("memory") as (bench, _):
        bench.front.vbd.suspend()
        bench.made(VbdState(**{**asdict(bench.front.vbd.save()), "failed": errno.EIO, "queues": (QueueState(0),)}))
        bench.push([Asked(Operation.WRITE, 1)])
        assert [answer[1][1] for answer in bench.collect()] == [-1]  # type: ignore[index]


def test_a_disk_that_became_larger_meanwhile_tells_its_frontend() -> None:
    with benches("memory") as (bench, _):
        vbd, front = bench.front.vbd, bench.front
        vbd.suspend()
        state = vbd.save()
        vbd.close()
        front.layer.resize(2 * SIZE)
        front.vbd = Vbd.restore(front.layer, state)
        assert front.vbd.resume(Frontend(MemoryForeign(front.guest), front.keys)) == {"sectors": str(2 * SIZE // 512)}


def test_a_disk_that_may_not_be_written_any_more_is_refused() -> None:
    state = VbdState(51712, False, False, 512, False, True, SIZE)
    layer = Memory(SIZE)
    layer.capabilities = type(layer.capabilities)(0)
    with pytest.raises(ConfigError, match="is read only now"):
        Vbd.restore(layer, state)


@pytest.fixture
def client() -> Iterator[Client]:
    with Server(Store()) as server:
        yield server.client()


def test_a_device_on_the_bus_goes_on_with_its_frontend_connected_and_lets_it_go_later(client: Client) -> None:
    """From plug to unplug, with a rest and another backend in each state on the way."""
    front = Blkfront(Memory(SIZE))
    address = Address("vbd", 7, 51712)
    foreign = MemoryForeign(front.guest)
    attachment = Attachment(client, address, foreign, front.vbd, front.vbd.frontend_keys(), front.vbd.backend_keys())

    def become(state: XenbusState) -> None:
        client.write(f"{address.frontend_path}/state", str(int(state)))

    def another() -> tuple[QueueState, ...]:
        nonlocal attachment
        before = {key: client.read(f"{address.backend_path}/{key}") for key in client.directory(address.backend_path)}
        left, of_vbd = through_json(attachment.suspend()), through_json(front.vbd.save())
        front.vbd.close()
        front.vbd = Vbd.restore(front.layer, of_vbd)
        attachment = Attachment(client, address, foreign, front.vbd, resumes=left)
        assert attachment.wait(XenbusState(left.state), 20)
        after = {key: client.read(f"{address.backend_path}/{key}") for key in client.directory(address.backend_path)}
        assert after == before
        return of_vbd.queues

    assert attachment.wait(XenbusState.INIT_WAIT, 20)
    assert another() == ()
    for key, value in front.keys.items():
        client.write(f"{address.frontend_path}/{key}", value)
    become(XenbusState.CONNECTED)
    assert attachment.wait(XenbusState.CONNECTED, 20)
    for _ in range(3):
        another()
        page = front.guest.share()
        assert front.do(front.request(Operation.WRITE, 8, front.whole(page))) == 0
    attachment.unplug()
    assert attachment.wait(XenbusState.CLOSING, 20)
    assert another() == (QueueState(3),)
    become(XenbusState.CLOSED)
    assert attachment.wait_removed(20)
    assert not client.exists(address.backend_path)
    front.close()


def test_a_frontend_whose_ring_is_gone_when_it_is_to_go_on_is_let_go(client: Client) -> None:
    front = Blkfront(Memory(SIZE))
    address, foreign = Address("vbd", 7, 51712), MemoryForeign(front.guest)
    attachment = Attachment(client, address, foreign, front.vbd, front.vbd.frontend_keys(), front.vbd.backend_keys())
    for key, value in front.keys.items():
        client.write(f"{address.frontend_path}/{key}", value)
    client.write(f"{address.frontend_path}/state", str(int(XenbusState.INITIALISED)))
    assert attachment.wait(XenbusState.CONNECTED, 20)
    left, of_vbd = attachment.suspend(), front.vbd.save()
    front.guest.end_grants(front.pages)
    front.vbd.close()
    front.vbd = Vbd.restore(front.layer, of_vbd)
    attachment = Attachment(client, address, foreign, front.vbd, resumes=left)
    assert attachment.wait(XenbusState.CLOSING, 20)
    assert "is not granted" in client.read(f"/local/domain/0/error/{address.backend_name}/error")
    attachment.remove()
    assert attachment.wait_removed(20)
    front.close()


def test_the_configuration_of_a_saved_disk_is_that_of_the_disk() -> None:
    layer = Memory(SIZE)
    vbd = Vbd(layer, VbdConfig(cdrom=True, sector_size=2048, discard=False), device=5632)
    state = through_json(vbd.save())
    vbd.close()
    again = Vbd.restore(layer, state)
    assert again.backend_keys() == vbd.backend_keys() and again.frontend_keys() == vbd.frontend_keys()
    assert again.prepare() == vbd.prepare() and again.save() == state
    again.close()
