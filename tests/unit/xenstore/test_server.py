"""The store over its unix socket, over guests' rings and within the process, all at once."""

from __future__ import annotations

import logging
import os
import queue
import socket
import stat
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from xenia.abi import xs_wire
from xenia.abi.xs_wire import MessageType, XsdError
from xenia.errors import ConfigError
from xenia.foreign.foreign import Foreign
from xenia.testing.foreign import PageForeign
from xenia.xenstore.client import Client, Keys
from xenia.xenstore.error import StoreError
from xenia.xenstore.permissions import Permissions
from xenia.xenstore.server import Server, socket_path
from xenia.xenstore.store import Store
from xenia.xenstore.wire import Need, Packet, Parser

TIMEOUT = 30


class SocketClient:
    """A client of the socket, packet by packet."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(TIMEOUT)
        self.socket.connect(str(path))
        self.parser = Parser()

    def send(self, kind: MessageType, payload: bytes, req_id: int = 0, tx: int = 0) -> None:
        self.socket.sendall(Packet(kind, req_id, tx, payload).encode())

    def receive(self) -> Packet:
        while isinstance(packet := self.parser.poll(), Need):
            data = self.socket.recv(65536)
            assert data, "the server hung up"
            self.parser.feed(data)
        return packet

    def __call__(self, kind: MessageType, payload: bytes) -> bytes:
        self.send(kind, payload)
        return self.receive().payload

    def hung_up_on(self) -> bool:
        return self.socket.recv(1) == b""


class GuestEnd:
    """A guest with a ring: `notified` is released whenever the server notifies it."""

    def __init__(self, domid: int = 5) -> None:
        self.page = bytearray(4096)
        self.event_fd = os.eventfd(0)
        self.notified = threading.Semaphore(0)
        self.parser = Parser()
        self.foreign = PageForeign(self.page, self.event_fd, self.notified.release, domid)

    def send(self, kind: MessageType, payload: bytes) -> None:
        data = Packet(kind, 0, 0, payload).encode()
        (prod,) = struct.unpack_from("<I", self.page, xs_wire.REQ_PROD_OFFSET)
        for position, byte in enumerate(data):
            self.page[(prod + position) % 1024] = byte
        struct.pack_into("<I", self.page, xs_wire.REQ_PROD_OFFSET, prod + len(data))
        os.eventfd_write(self.event_fd, 1)

    def receive(self) -> Packet:
        while isinstance(packet := self.parser.poll(), Need):
            assert self.notified.acquire(timeout=TIMEOUT)
            cons, prod = struct.unpack_from("<II", self.page, xs_wire.RSP_CONS_OFFSET)
            self.parser.feed(bytes(self.page[1024 + i % 1024] for i in range(cons, prod)))
            struct.pack_into("<I", self.page, xs_wire.RSP_CONS_OFFSET, prod)
        return packet

    def __call__(self, kind: MessageType, payload: bytes) -> bytes:
        self.send(kind, payload)
        return self.receive().payload


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "socket"


@pytest.fixture
def server(path: Path) -> Iterator[Server]:
    with Server(Store(), path) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Client:
    return server.client()


@pytest.fixture
def connect(server: Server, path: Path) -> Iterator[Callable[[], SocketClient]]:
    made: list[SocketClient] = []

    def connected() -> SocketClient:
        made.append(SocketClient(path))
        return made[-1]

    yield connected
    for one in made:
        one.socket.close()


@pytest.fixture
def guest(server: Server) -> Iterator[GuestEnd]:
    guest = GuestEnd()
    server.client().write("/local/domain/5/name", "five")
    server.client().set_permissions("/local/domain/5", Permissions(5))
    server.client().set_permissions("/local/domain/5/name", Permissions(5))
    server.attach(guest.foreign)
    yield guest
    if 5 in server.store.domains:
        server.detach(5)
    os.close(guest.event_fd)


# --- The socket


def test_the_socket_is_for_its_owner_alone_and_goes_with_the_server(path: Path) -> None:
    with Server(Store(), path):
        mode = path.stat().st_mode
        assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600
    assert not path.exists()


def test_many_clients_are_served_at_once(connect: Callable[[], SocketClient]) -> None:
    clients = [connect() for _ in range(30)]
    for number, one in enumerate(clients):
        one.send(MessageType.WRITE, f"/n/{number}\0value".encode())
    assert {one.receive().payload for one in clients} == {b"OK\0"}
    assert len(clients[0](MessageType.DIRECTORY, b"/n\0").split(b"\0")) == 31


def test_one_clients_watch_hears_of_anothers_write(connect: Callable[[], SocketClient]) -> None:
    watcher, writer = connect(), connect()
    assert watcher(MessageType.WATCH, b"/a\0t\0") == b"OK\0"
    assert watcher.receive().payload == b"/a\0t\0"
    writer(MessageType.WRITE, b"/a/b\0x")
    event = watcher.receive()
    assert (event.type, event.payload) == (MessageType.WATCH_EVENT, b"/a/b\0t\0")


def test_many_requests_may_be_under_way_and_none_is_lost(connect: Callable[[], SocketClient]) -> None:
    client = connect()
    client(MessageType.WRITE, b"/a\0" + bytes(1000))
    for number in range(100):
        client.send(MessageType.READ, b"/a\0", req_id=number)
    assert [client.receive().req_id for _ in range(100)] == list(range(100))


def test_a_client_that_takes_no_replies_holds_up_nobody(connect: Callable[[], SocketClient]) -> None:
    lazy, other = connect(), connect()
    other(MessageType.WRITE, b"/a\0" + bytes(4000))
    request = Packet(MessageType.READ, 0, 0, b"/a\0").encode()
    lazy.socket.settimeout(0.2)
    sent = 0
    with pytest.raises(TimeoutError):
        while True:
            lazy.socket.sendall(request * 100)
            sent += 100
    assert other(MessageType.READ, b"/a\0") == bytes(4000)
    lazy.socket.settimeout(TIMEOUT)
    assert [len(lazy.receive().payload) for _ in range(sent)] == [4000] * sent


def test_a_client_that_breaks_the_protocol_is_hung_up_on_and_others_are_not(
    connect: Callable[[], SocketClient],
) -> None:
    broken, other = connect(), connect()
    broken.socket.sendall(b"\xff" * 16)
    assert broken.hung_up_on()
    assert other(MessageType.MKDIR, b"/a\0") == b"OK\0"


def test_a_client_that_half_closes_gets_its_answers_first(connect: Callable[[], SocketClient]) -> None:
    client = connect()
    client.send(MessageType.MKDIR, b"/a\0")
    client.socket.shutdown(socket.SHUT_WR)
    assert client.receive().payload == b"OK\0"
    assert client.hung_up_on()


def test_a_client_that_goes_takes_its_watches_and_transactions_with_it(
    server: Server, connect: Callable[[], SocketClient]
) -> None:
    client = connect()
    client(MessageType.WATCH, b"/a\0t\0")
    client(MessageType.TRANSACTION_START, b"\0")
    client.socket.shutdown(socket.SHUT_RDWR)
    other = connect()
    while server.store.watches.count():
        other(MessageType.MKDIR, b"/a\0")  # a turn of the server's
    assert other(MessageType.CONTROL, b"check\0") == b"OK\0"


def test_two_servers_do_not_share_a_socket_but_one_takes_over_what_a_dead_one_left(path: Path, server: Server) -> None:
    with pytest.raises(ConfigError, match="another xenstore"):
        Server(Store(), path)
    left = path.with_name("left")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(left))
    with Server(Store(), left):
        SocketClient(left).socket.close()


def test_where_no_socket_can_be_made_the_operator_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no xenstore socket"):
        Server(Store(), tmp_path / "missing" / "socket")
    plain = tmp_path / "plain"
    plain.write_text("not ours")
    with pytest.raises(ConfigError, match="no xenstore socket"):
        Server(Store(), plain)
    assert plain.read_text() == "not ours"


def test_the_socket_is_where_the_environment_says(tmp_path: Path) -> None:
    assert socket_path({}, tmp_path) == tmp_path / "socket"
    assert socket_path({"XENSTORED_RUNDIR": "/run/x"}, tmp_path) == Path("/run/x/socket")
    assert socket_path({"XENSTORED_PATH": "/p", "XENSTORED_RUNDIR": "/run/x"}, tmp_path) == Path("/p")


# --- Guests


def test_a_guest_is_served_when_it_notifies(guest: GuestEnd, client: Client) -> None:
    assert guest(MessageType.READ, b"name\0") == b"five"
    assert guest(MessageType.WRITE, b"data\0from the guest") == b"OK\0"
    assert client.read("/local/domain/5/data") == "from the guest"


def test_a_guest_hears_of_what_the_toolstack_writes(guest: GuestEnd, client: Client) -> None:
    assert guest(MessageType.WATCH, b"device\0t\0") == b"OK\0"
    assert guest.receive().payload == b"device\0t\0"
    client.write("/local/domain/5/device/vbd/1/state", "1")
    assert guest.receive().payload == b"device/vbd/1/state\0t\0"


def test_the_eventfd_is_empty_once_everything_is_answered(guest: GuestEnd, client: Client) -> None:
    for _ in range(20):
        guest(MessageType.READ, b"name\0")
    heard: queue.Queue[str] = queue.Queue()
    client.watch("/turn", heard.put)
    heard.get(timeout=TIMEOUT)  # the server went through a turn after the last answer
    with pytest.raises(BlockingIOError):
        os.eventfd_read(guest.event_fd)


def test_a_detached_guests_page_is_let_go_of_and_its_keys_are_gone(
    server: Server, guest: GuestEnd, client: Client
) -> None:
    released: queue.Queue[str] = queue.Queue()
    client.watch("@releaseDomain", released.put)
    released.get(timeout=TIMEOUT)
    server.detach(5)
    guest.page.extend(b"\0")  # a buffer that is still exported cannot be resized
    released.get(timeout=TIMEOUT)
    assert not client.exists("/local/domain/5")
    with pytest.raises(StoreError):
        server.detach(5)


def test_a_domain_number_can_be_used_again_at_once(server: Server, guest: GuestEnd) -> None:
    for _ in range(5):
        server.detach(5)
        again = GuestEnd()
        server.attach(again.foreign)
        assert again(MessageType.GET_DOMAIN_PATH, b"5\0") == b"/local/domain/5\0"
        os.close(guest.event_fd)
        guest.event_fd = again.event_fd


def test_a_client_may_introduce_a_domain_that_can_be_found(path: Path) -> None:
    found = GuestEnd(9)
    asked: list[tuple[int, int, int]] = []

    def find(domid: int, mfn: int, port: int) -> Foreign | None:
        asked.append((domid, mfn, port))
        return found.foreign if domid == 9 else None

    with Server(Store(), path, find):
        client = SocketClient(path)
        assert client(MessageType.INTRODUCE, b"8\x001\x002\0") == b"EINVAL\0"
        assert client(MessageType.INTRODUCE, b"9\x003\x004\0") == b"OK\0"
        assert found(MessageType.GET_DOMAIN_PATH, b"9\0") == b"/local/domain/9\0"
        assert client(MessageType.RELEASE, b"9\0") == b"OK\0"
        assert client(MessageType.IS_DOMAIN_INTRODUCED, b"9\0") == b"F\0"
        client.socket.close()
    assert asked == [(8, 1, 2), (9, 3, 4)]
    os.close(found.event_fd)


def test_a_domain_that_is_introduced_again_begins_anew_and_nobody_hears_of_it(path: Path) -> None:
    found = GuestEnd(9)
    with Server(Store(), path, lambda domid, mfn, port: found.foreign if mfn == 3 else None) as server:
        server.attach(found.foreign)
        found(MessageType.WATCH, b"/local/domain/9\0token\0")
        assert found.receive().type == MessageType.WATCH_EVENT
        client = SocketClient(path)
        client(MessageType.WATCH, b"@introduceDomain\0in\0")
        assert client.receive().type == MessageType.WATCH_EVENT
        assert client(MessageType.INTRODUCE, b"9\x004\x004\0") == b"EINVAL\0"  # another page: nothing changes
        assert found(MessageType.UNWATCH, b"/local/domain/9\0token\0") == b"OK\0"
        found(MessageType.WATCH, b"/local/domain/9\0token\0")
        assert found.receive().type == MessageType.WATCH_EVENT
        assert client(MessageType.INTRODUCE, b"9\x003\x004\0") == b"OK\0"
        assert struct.unpack_from("<4I", found.page, xs_wire.REQ_CONS_OFFSET) == (0, 0, 0, 0)
        assert found(MessageType.UNWATCH, b"/local/domain/9\0token\0") == b"ENOENT\0"
        client.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.socket.recv(1)
        client.socket.close()
    os.close(found.event_fd)


# --- In the process


def test_keys_are_written_read_listed_and_removed(client: Client) -> None:
    client.write("/a/b", "välue")
    client.mkdir("/a/c")
    assert (client.read("/a/b"), client.directory("/a")) == ("välue", ["b", "c"])
    client.set_permissions("/a/b", Permissions(0).owned_by(3))
    assert client.permissions("/a/b").owner == 3
    client.remove("/a")
    assert client.get("/a") is None
    with pytest.raises(StoreError) as refused:
        client.read("/a/b")
    assert refused.value.error is XsdError.ENOENT


def test_long_listings_are_whole(client: Client) -> None:
    names = [f"name-of-some-length-{number}" for number in range(500)]
    for name in names:
        client.mkdir(f"/many/{name}")
    assert client.directory("/many") == names


def test_a_subscription_calls_back_until_it_is_closed(client: Client) -> None:
    heard: queue.Queue[str] = queue.Queue()
    subscription = client.watch("/a", heard.put)
    assert heard.get(timeout=TIMEOUT) == "/a"
    client.write("/a/b", "")
    assert heard.get(timeout=TIMEOUT) == "/a/b"
    subscription.close()
    subscription.close()
    client.write("/a/b", "")
    client.watch("/last", heard.put)
    assert heard.get(timeout=TIMEOUT) == "/last"


def test_a_subscriber_may_use_the_store(client: Client) -> None:
    done: queue.Queue[str] = queue.Queue()

    def copy(path: str) -> None:
        if client.exists("/source"):
            client.write("/copy", client.read("/source"))
            done.put(path)

    client.watch("/source", copy)
    client.write("/source", "x")
    done.get(timeout=TIMEOUT)
    assert client.read("/copy") == "x"


def test_a_transaction_is_whole_or_nothing(client: Client) -> None:
    with client.transaction() as keys:
        keys.write("/a", "1")
        assert not client.exists("/a")
    assert client.read("/a") == "1"
    with pytest.raises(ZeroDivisionError), client.transaction() as keys:
        keys.write("/a", "2")
        raise ZeroDivisionError
    assert client.read("/a") == "1"
    with pytest.raises(StoreError) as refused, client.transaction() as keys:
        keys.read("/a")
        client.write("/a", "3")
    assert refused.value.error is XsdError.EAGAIN


def test_atomically_tries_until_nobody_interferes(client: Client) -> None:
    client.write("/count", "0")

    def interfere_twice(keys: Keys) -> int:
        count = int(keys.read("/count"))
        if count < 2:
            client.write("/count", str(count + 1))
        keys.write("/count", str(count + 10))
        return count

    assert client.atomically(interfere_twice) == 2
    assert client.read("/count") == "12"


def test_threads_share_a_store(client: Client, server: Server) -> None:
    client.write("/count", "0")

    def count() -> None:
        mine = server.client()
        for _ in range(50):
            mine.atomically(lambda keys: keys.write("/count", str(int(keys.read("/count")) + 1)))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.read("/count") == "200"


def test_a_client_that_is_closed_hears_no_more_and_is_nobodys_any_more(client: Client, server: Server) -> None:
    heard = queue.SimpleQueue[str]()
    clients = [server.client() for _ in range(3)]
    watches = [one.watch("/a", heard.put) for one in clients]
    for _ in clients:
        assert heard.get(timeout=10) == "/a"
    known = len(server._transports)
    for one in clients[:2]:
        one.close()
    assert len(server._transports) == len(server._clients) == known - 2
    client.write("/a", "")
    assert heard.get(timeout=10) == "/a"
    watches[0].close()  # late
    assert clients[0].read("/a") == ""
    assert heard.empty()


def test_whoever_listens_to_complaints_may_use_the_store_and_take_its_time(server: Server) -> None:
    """A guest gives cause, and what is logged is read slowly: nobody's store stands still, and it is not said often."""
    heard = queue.SimpleQueue[str]()

    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            server.client().write("/tool/heard", record.getMessage())
            heard.put(record.getMessage())

    guests = [GuestEnd(domid) for domid in range(20, 25)]
    handler = Slow(logging.WARNING)
    logging.getLogger("xenia").addHandler(handler)
    try:
        for guest in guests:
            struct.pack_into("<I", guest.page, xs_wire.REQ_PROD_OFFSET, 0x80000000)
            server.attach(guest.foreign)
            while not struct.unpack_from("<I", guest.page, xs_wire.ERROR_OFFSET)[0]:
                os.sched_yield()
        assert "d20: xenstore ring not served any more" in heard.get(timeout=TIMEOUT)
        assert heard.empty()
    finally:
        logging.getLogger("xenia").removeHandler(handler)
        for domid in range(20, 25):
            server.detach(domid)


def test_a_bug_that_ends_the_server_is_told_to_who_closes_it(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    server = Server(Store(), path)
    server.start()

    called = threading.Event()

    def bug(_: str) -> None:
        called.set()
        raise ZeroDivisionError

    server.client().watch("/a", bug)
    assert called.wait(TIMEOUT)
    with pytest.raises(ZeroDivisionError):
        server.close()
    assert not path.exists()
