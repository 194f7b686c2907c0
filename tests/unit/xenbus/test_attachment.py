"""A device from plug to unplug, with a frontend that behaves, and some that do not."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator, Mapping

import pytest

from xenia.abi.xenbus import XenbusState
from xenia.foreign.fault import FrontendFault
from xenia.foreign.foreign import Channel, Mapping as GrantMapping
from xenia.rings.request import Back, Front
from xenia.testing.foreign import GuestPort, MemoryForeign, MemoryGuest, SharedPages
from xenia.xenbus.attachment import Attachment, Backend
from xenia.xenbus.directories import Address
from xenia.xenbus.frontend import Frontend
from xenia.xenstore.client import Client
from xenia.xenstore.server import Server
from xenia.xenstore.store import Store

TIMEOUT = 30
ADDRESS = Address("vbd", 5, 51712)
S = XenbusState


class Echo(Backend):
    """Answers every request with itself, whenever the test says so."""

    def __init__(self) -> None:
        self.offers = 0
        self.mapping: GrantMapping | None = None
        self.channel: Channel | None = None
        self.ring: Back | None = None

    def prepare(self) -> Mapping[str, str]:
        self.offers += 1
        return {"feature-echo": "1"}

    def connect(self, frontend: Frontend) -> Mapping[str, str]:
        refs = [frontend.number(f"ring-ref{index}") for index in range(frontend.number("ring-pages", 1, most=4))]
        self.mapping = frontend.foreign.map(refs)
        try:
            self.channel = frontend.foreign.bind(frontend.number("event-channel"))
        except FrontendFault:
            self.mapping.close()
            raise
        self.ring = Back(self.mapping.memory, 64)
        return {"pages": str(len(refs))}

    def disconnect(self) -> None:
        assert self.ring is not None and self.mapping is not None and self.channel is not None
        self.ring.close()
        self.mapping.close()
        self.channel.close()

    def suspend(self) -> None:
        self.disconnect()

    def resume(self, frontend: Frontend) -> Mapping[str, str]:
        self.connect(frontend)
        return {}

    def answer(self) -> None:
        assert self.ring is not None and self.channel is not None
        for request in self.ring.take():
            self.ring.put(request)
        if self.ring.push():
            self.channel.notify()


class Driver:
    """A frontend: what the guest's kernel does."""

    def __init__(self, client: Client, guest: MemoryGuest) -> None:
        self.client = client
        self.guest = guest
        self.pages: SharedPages
        self.port: GuestPort
        self.ring: Front

    def publish(self, keys: Mapping[str, str] | None = None, *, nr_pages: int = 1) -> None:
        self.pages, self.port = self.guest.share(nr_pages), self.guest.open_port()
        self.ring = Front(self.pages.memory, 64)
        values = {"ring-pages": str(nr_pages), "event-channel": str(self.port.number)}
        values.update({f"ring-ref{index}": str(ref) for index, ref in enumerate(self.pages.refs)})
        for key, value in {**values, **(keys or {})}.items():
            self.client.write(f"{ADDRESS.frontend_path}/{key}", value)
        self.become(S.INITIALISED)

    def become(self, state: XenbusState) -> None:
        self.client.write(f"{ADDRESS.frontend_path}/state", str(int(state)))


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(Store()) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Client:
    return server.client()


@pytest.fixture
def guest() -> Iterator[MemoryGuest]:
    guest = MemoryGuest(5)
    yield guest
    guest.assert_let_go()
    guest.close()


@pytest.fixture
def backend() -> Echo:
    return Echo()


@pytest.fixture
def plug(server: Server, guest: MemoryGuest, backend: Echo) -> Iterator[Callable[[], Attachment]]:
    plugged: list[Attachment] = []

    def plugged_in() -> Attachment:
        attachment = Attachment(
            server.client(), ADDRESS, MemoryForeign(guest), backend, {"virtual-device": "51712"}, {"mode": "w"}
        )
        plugged.append(attachment)
        return attachment

    yield plugged_in
    for attachment in plugged:
        attachment.remove()
        assert attachment.wait_removed(TIMEOUT)


@pytest.fixture
def driver(client: Client, guest: MemoryGuest) -> Driver:
    return Driver(client, guest)


def test_a_device_appears_whole_and_each_end_may_read_the_other(client: Client, plug: Callable[[], Attachment]) -> None:
    attachment = plug()
    assert attachment.wait(S.INIT_WAIT, TIMEOUT)
    assert client.read(f"{ADDRESS.frontend_path}/backend") == ADDRESS.backend_path
    assert client.read(f"{ADDRESS.frontend_path}/virtual-device") == "51712"
    assert client.read(f"{ADDRESS.backend_path}/frontend") == ADDRESS.frontend_path
    assert client.read(f"{ADDRESS.backend_path}/feature-echo") == "1"
    assert client.permissions(f"{ADDRESS.frontend_path}/state").entries() == ["n5", "r0"]
    assert client.permissions(f"{ADDRESS.backend_path}/state").entries() == ["n0", "r5"]
    assert client.permissions(f"{ADDRESS.backend_path}/feature-echo").entries() == ["n0", "r5"]


def test_a_connected_device_carries_requests(
    plug: Callable[[], Attachment], backend: Echo, driver: Driver, client: Client
) -> None:
    attachment = plug()
    driver.publish(nr_pages=2)
    assert attachment.wait(S.CONNECTED, TIMEOUT)
    assert client.read(f"{ADDRESS.backend_path}/pages") == "2"
    for number in range(100):
        driver.ring.put(b"%064d" % number)
        driver.ring.push()
        driver.ring.rest()
        backend.answer()
        assert driver.port.wait(TIMEOUT)
        assert driver.ring.take() == [b"%064d" % number]


def test_a_frontend_comes_and_goes_while_the_device_stays(
    plug: Callable[[], Attachment], backend: Echo, driver: Driver
) -> None:
    attachment = plug()
    for offers in (1, 2, 3):
        assert attachment.wait(S.INIT_WAIT, TIMEOUT)
        assert backend.offers == offers
        driver.publish()
        assert attachment.wait(S.CONNECTED, TIMEOUT)
        driver.become(S.CLOSING)
        assert attachment.wait(S.CLOSING, TIMEOUT)
        driver.become(S.CLOSED)
        assert attachment.wait(S.CLOSED, TIMEOUT)
        driver.guest.assert_let_go()
        driver.become(S.INITIALISING)


def test_unplugging_waits_for_the_frontend_and_leaves_no_key(
    plug: Callable[[], Attachment], driver: Driver, client: Client
) -> None:
    attachment = plug()
    driver.publish()
    assert attachment.wait(S.CONNECTED, TIMEOUT)
    attachment.unplug()
    assert attachment.wait(S.CLOSING, TIMEOUT)
    driver.become(S.CLOSING)
    driver.become(S.CLOSED)
    assert attachment.wait_removed(TIMEOUT)
    assert not client.exists(ADDRESS.frontend_path)
    assert not client.exists(ADDRESS.backend_path)
    attachment.unplug()


def test_a_stock_toolstack_unplugs_by_writing_our_state(
    plug: Callable[[], Attachment], driver: Driver, client: Client
) -> None:
    attachment = plug()
    driver.publish()
    assert attachment.wait(S.CONNECTED, TIMEOUT)
    with client.transaction() as keys:
        keys.write(f"{ADDRESS.backend_path}/online", "0")
        keys.write(f"{ADDRESS.backend_path}/state", "5")
    assert attachment.wait(S.CLOSING, TIMEOUT)
    driver.become(S.CLOSED)
    assert attachment.wait_removed(TIMEOUT)


def test_unplugging_needs_no_frontend_that_never_came(plug: Callable[[], Attachment]) -> None:
    attachment = plug()
    attachment.unplug()
    assert attachment.wait_removed(TIMEOUT)


def test_a_device_ends_with_its_domain(
    server: Server, plug: Callable[[], Attachment], driver: Driver, client: Client
) -> None:
    attachment = plug()
    driver.publish()
    assert attachment.wait(S.CONNECTED, TIMEOUT)
    client.remove("/local/domain/5")
    assert attachment.wait_removed(TIMEOUT)
    driver.guest.assert_let_go()
    assert not client.exists(ADDRESS.backend_path)


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("ring-ref0", "999", "grant reference 999 is not granted"),
        ("ring-ref0", "-1", "not a number"),
        ("ring-ref0", "9" * 50, "not a number"),
        ("ring-pages", "5", "not a number up to 4"),
        ("event-channel", "77", "port 77 is not unbound"),
    ],
)
def test_nonsense_of_a_frontends_is_told_in_the_error_key_and_closes(
    plug: Callable[[], Attachment], driver: Driver, client: Client, key: str, value: str, complaint: str
) -> None:
    attachment = plug()
    driver.publish({key: value})
    assert attachment.wait(S.CLOSING, TIMEOUT)
    assert complaint in client.read("/local/domain/0/error/backend/vbd/5/51712/error")
    driver.become(S.CLOSED)
    assert attachment.wait(S.CLOSED, TIMEOUT)
    driver.become(S.INITIALISING)
    assert attachment.wait(S.INIT_WAIT, TIMEOUT)
    driver.publish()
    assert attachment.wait(S.CONNECTED, TIMEOUT)


def test_a_frontend_that_publishes_without_end_is_refused(
    plug: Callable[[], Attachment], driver: Driver, client: Client
) -> None:
    attachment = plug()
    driver.publish({f"more/{number}": "" for number in range(256)})
    assert attachment.wait(S.CLOSING, TIMEOUT)
    assert "more than 256 keys" in client.read("/local/domain/0/error/backend/vbd/5/51712/error")


@pytest.mark.parametrize("state", ["", "9", "44", "x", "\udcff"])
def test_a_state_that_is_none_ends_the_device(plug: Callable[[], Attachment], client: Client, state: str) -> None:
    attachment = plug()
    client.write(f"{ADDRESS.frontend_path}/state", state)
    assert attachment.wait_removed(TIMEOUT)


def test_frontends_that_flicker_end_up_where_they_end(
    plug: Callable[[], Attachment], driver: Driver, backend: Echo
) -> None:
    attachment = plug()
    for _ in range(20):
        for state in (S.CONNECTED, S.INITIALISING, S.CLOSING, S.RECONFIGURING, S.INITIALISING):
            driver.become(state)
    driver.become(S.CLOSED)
    assert attachment.wait(S.CLOSED, TIMEOUT)
    driver.become(S.INITIALISING)
    assert attachment.wait(S.INIT_WAIT, TIMEOUT)
    driver.publish()
    assert attachment.wait(S.CONNECTED, TIMEOUT)


def test_many_devices_are_plugged_at_once(server: Server, guest: MemoryGuest) -> None:
    attachments: list[Attachment] = []

    def plug(first: int) -> None:
        for device in range(first, first + 5):
            address = Address("vif", 5, device)
            attachments.append(Attachment(server.client(), address, MemoryForeign(guest), Echo()))

    threads = [threading.Thread(target=plug, args=(first,)) for first in (0, 5, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for attachment in attachments:
        assert attachment.wait(S.INIT_WAIT, TIMEOUT)
        attachment.unplug()
        assert attachment.wait_removed(TIMEOUT)


class Slow(Echo):
    """Takes its time to let go."""

    def __init__(self) -> None:
        super().__init__()
        self.may_end = threading.Event()

    def disconnect(self) -> None:
        assert self.may_end.wait(TIMEOUT)
        super().disconnect()


def test_a_device_that_takes_its_time_holds_up_no_other(server: Server, guest: MemoryGuest, client: Client) -> None:
    backend = Slow()
    slow = Attachment(server.client(), ADDRESS, MemoryForeign(guest), backend)
    driver = Driver(client, guest)
    driver.publish()
    assert slow.wait(S.CONNECTED, TIMEOUT)
    driver.become(S.CLOSING)
    other = Attachment(server.client(), Address("vif", 6, 0), MemoryForeign(guest), Echo())
    assert other.wait(S.INIT_WAIT, TIMEOUT)
    other.remove()
    assert other.wait_removed(TIMEOUT)
    assert slow.state is S.CONNECTED
    backend.may_end.set()
    assert slow.wait(S.CLOSING, TIMEOUT)
    slow.remove()
    assert slow.wait_removed(TIMEOUT)


class Broken(Echo):
    """Has a bug."""

    def prepare(self) -> Mapping[str, str]:
        raise ZeroDivisionError


def test_a_bug_of_a_backend_is_raised_where_it_is_waited_for(server: Server, guest: MemoryGuest) -> None:
    attachment = Attachment(server.client(), ADDRESS, MemoryForeign(guest), Broken())
    with pytest.raises(ZeroDivisionError):
        attachment.wait(S.INIT_WAIT, TIMEOUT)
    with pytest.raises(ZeroDivisionError):
        attachment.wait_removed(TIMEOUT)


class Refused(Echo):
    """Finds no descriptor left."""

    def connect(self, frontend: Frontend) -> Mapping[str, str]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_what_the_host_refuses_is_told_in_the_error_key_and_closes(
    server: Server, guest: MemoryGuest, driver: Driver, client: Client
) -> None:
    attachment = Attachment(server.client(), ADDRESS, MemoryForeign(guest), Refused())
    assert attachment.wait(S.INIT_WAIT, TIMEOUT)
    driver.publish()
    assert attachment.wait(S.CLOSING, TIMEOUT)
    said = client.read(f"/local/domain/0/error/{ADDRESS.backend_name}/error")
    assert said == "the host refuses: Too many open files"
    attachment.remove()
    assert attachment.wait_removed(TIMEOUT)


def test_a_device_that_failed_leaves_no_key_and_no_connection(
    server: Server, guest: MemoryGuest, driver: Driver, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = Echo()
    attachment = Attachment(server.client(), ADDRESS, MemoryForeign(guest), backend)
    assert attachment.wait(S.INIT_WAIT, TIMEOUT)
    driver.publish()
    assert attachment.wait(S.CONNECTED, TIMEOUT)
    monkeypatch.setattr(attachment, "_take", lambda *_: 1 // 0)
    driver.become(S.CLOSING)
    with pytest.raises(ZeroDivisionError):
        attachment.wait_removed(TIMEOUT)
    guest.assert_let_go()
    assert not client.exists(ADDRESS.frontend_path) and not client.exists(ADDRESS.backend_path)


def test_a_guest_that_goes_on_with_nonsense_fills_no_log(
    plug: Callable[[], Attachment], driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    attachment = plug()
    for _ in range(3):
        assert attachment.wait(S.INIT_WAIT, TIMEOUT)
        driver.publish({"ring-ref0": "999"})
        assert attachment.wait(S.CLOSING, TIMEOUT)
        driver.become(S.CLOSED)
        assert attachment.wait(S.CLOSED, TIMEOUT)
        driver.become(S.INITIALISING)
    assert [record.levelname for record in caplog.records].count("WARNING") == 1
