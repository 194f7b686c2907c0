"""The card as its frontend sees it: what it is told, what it may ask for, and what is refused."""

from __future__ import annotations

import os
import random
import struct
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from xenia.abi.netif import XEN_NETIF_CTRL_REQUEST, ExtraType, HashAlgorithm, HashTypes, Status
from xenia.abi.xenbus import XenbusState
from xenia.backends.vif.config import VifConfig
from xenia.backends.vif.device import Vif
from xenia.errors import ConfigError
from xenia.foreign.fault import FrontendFault
from xenia.rings.request import Front
from xenia.testing.net import Behind
from xenia.testing.netfront import Netfront, extra_multicast
from xenia.xenbus.attachment import Attachment
from xenia.xenbus.directories import Address
from xenia.xenbus.frontend import Frontend
from xenia.xenstore.client import Client, Keys
from xenia.xenstore.server import Server
from xenia.xenstore.store import Store

MAC = "00:16:3e:01:02:03"
OWN = bytes.fromhex(MAC.replace(":", ""))
LIMIT = 20.0
ADDRESS = Address("vif", 7, 0)
GROUP = bytes.fromhex("01005e000001")


def frame(target: bytes = b"\xff" * 6, number: int = 0, length: int = 64) -> bytes:
    return target + OWN + b"\x88\xb5" + number.to_bytes(4, "big") + bytes(length - 18)


class Plugged:
    """A card and its frontend."""

    def __init__(self, **how: object) -> None:
        self.port = Behind()
        self.front = Netfront(**how)  # type: ignore[arg-type]
        self.vif = Vif(self.port, VifConfig(mac=MAC), device=0)
        self.connected = False

    @property
    def keys(self) -> dict[str, str]:
        return self.front.keys

    def connect(self, **changes: str | None) -> None:
        """As its keys say, with some of them changed or left out."""
        keys = self.keys | {key.replace("_", "-"): value for key, value in changes.items() if value is not None}
        for key in [key.replace("_", "-") for key, value in changes.items() if value is None]:
            keys.pop(key, None)
        self.vif.connect(Frontend(self.front.foreign, keys))
        self.connected = True

    def disconnect(self) -> None:
        if self.connected:
            self.connected = False
            self.vif.disconnect()

    def close(self) -> None:
        self.disconnect()
        self.front.close()


@pytest.fixture
def made() -> Iterator[list[Plugged]]:
    """What is closed at the end."""
    made: list[Plugged] = []
    yield made
    for plugged in made:
        plugged.close()


@pytest.fixture
def plugged(made: list[Plugged]) -> Plugged:
    made.append(Plugged())
    return made[0]


def test_frontends_are_offered_all_that_netfront_knows(plugged: Plugged) -> None:
    assert plugged.vif.prepare() == {
        "feature-sg": "1",
        "feature-gso-tcpv4": "1",
        "feature-gso-tcpv6": "1",
        "feature-ipv6-csum-offload": "1",
        "feature-rx-copy": "1",
        "feature-rx-flip": "0",
        "feature-xdp-headroom": "1",
        "feature-multicast-control": "1",
        "feature-dynamic-multicast-control": "1",
        "feature-split-event-channels": "1",
        "feature-ctrl-ring": "1",
        "multi-queue-max-queues": "4",
    }
    vif = Vif(Behind(), VifConfig(mac=MAC, mtu=9000, queues=1, credit=5000, period=20_000), device=3)
    assert vif.frontend_keys() == {"handle": "3", "mac": MAC, "mtu": "9000"}
    assert vif.backend_keys() == {
        "handle": "3", "mac": MAC, "mtu": "9000", "type": "vif", "hotplug-status": "connected", "carrier": "1",
        "rate": "5000,20000",
    }  # fmt: skip
    assert vif.prepare()["multi-queue-max-queues"] == "1"


@pytest.mark.parametrize("how", [{}, {"split": False}, {"nr_queues": 4}, {"nr_queues": 2, "split": False}])
@pytest.mark.parametrize("listens", [False, True])
def test_frames_pass_on_every_queue_both_ways(made: list[Plugged], how: dict[str, object], listens: bool) -> None:
    made.append(plugged := Plugged(listens=listens, **how))
    plugged.connect()
    assert plugged.vif.nr_queues == len(plugged.front.queues)
    for number, queue in enumerate(plugged.front.queues):
        queue.post()
        assert queue.send(frame(number=number), frame(number=100)) == [Status.OKAY] * 2
    assert len(plugged.port.sent) == 2 * len(plugged.front.queues)
    frames = [random.Random(number).randbytes(6) + frame(number=number)[6:] for number in range(200)]
    frames = [b"\x02" + data[1:] for data in frames]
    for at in range(0, 200, 50):
        plugged.port.come(*frames[at : at + 50])
    got = [one.data for queue in plugged.front.queues for one in queue.received(0)]
    assert sorted(got) == sorted(frames)
    stats = plugged.vif.stats
    assert (stats.received, stats.sent) == (200, 2 * len(plugged.front.queues))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"request_rx_copy": None}, "does not ask for frames to be copied"),
        ({"request_rx_copy": "0"}, "does not ask for frames to be copied"),
        ({"multi_queue_num_queues": "0"}, "has no queues"),
        ({"multi_queue_num_queues": "5"}, "not a number up to 4"),
        ({"multi_queue_num_queues": "x"}, "not a number"),
        ({"multi_queue_num_queues": "2"}, "published no queue-0/"),
        ({"tx_ring_ref": None}, "published no tx-ring-ref"),
        ({"rx_ring_ref": ""}, "not a number"),
        ({"tx_ring_ref": "4000"}, "reference 4000 is not granted"),
        ({"rx_ring_ref": "8"}, "the same page for two of its rings"),  # the first that was granted
        ({"ctrl_ring_ref": "8"}, "published no event-channel-ctrl"),
        ({"ctrl_ring_ref": "8", "event_channel_ctrl": "9"}, "the same page for two of its rings"),
        ({"event_channel_tx": "63"}, "port 63 is not unbound"),
        ({"event_channel_rx": None}, "published no event-channel-rx"),
        ({"event_channel_tx": None}, "published no event-channel"),
        ({"feature_sg": "yes"}, "not a number"),
        ({"request_multicast_control": "-1"}, "not a number"),
        ({"xdp_headroom": "32768"}, "not a number up to 32767"),
    ],
)
def test_what_cannot_be_served_is_refused_with_one_line_and_nothing_is_kept(
    plugged: Plugged, changes: dict[str, str | None], complaint: str
) -> None:
    before = threading.active_count(), len(os.listdir("/proc/self/fd"))
    with pytest.raises(FrontendFault, match=complaint) as refused:
        plugged.connect(**changes)
    assert "\n" not in str(refused.value)
    assert plugged.vif.nr_queues == 0
    plugged.front.guest.assert_let_go()
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == before
    plugged.connect()
    assert plugged.front.queue.send(frame()) == [Status.OKAY]


def test_a_page_is_not_a_ring_of_two_queues(made: list[Plugged]) -> None:
    made.append(plugged := Plugged(nr_queues=2))
    plugged.keys["queue-1/rx-ring-ref"] = plugged.keys["queue-0/rx-ring-ref"]
    with pytest.raises(FrontendFault, match="same page for two of its rings"):
        plugged.connect()
    plugged.keys["queue-1/rx-ring-ref"] = str(plugged.front.queues[1].rx_ring.refs[0])
    plugged.keys["queue-1/event-channel-tx"] = plugged.keys["queue-0/event-channel-tx"]
    with pytest.raises(FrontendFault, match="is not unbound"):
        plugged.connect()


def test_queues_the_frontend_did_not_ask_for_are_not_looked_at(plugged: Plugged) -> None:
    plugged.keys["queue-0/tx-ring-ref"] = plugged.keys["queue-1/tx-ring-ref"] = "x"
    plugged.connect()
    assert plugged.vif.nr_queues == 1


@pytest.mark.parametrize(
    "wrong", [{"mac": "00:16:3E:1:2:3"}, {"mac": "01:16:3e:00:00:01"}, {"mtu": 67}, {"mtu": 9001}, {"queues": 0},
              {"queues": 9}, {"credit": -1}, {"period": 0}],
)  # fmt: skip
def test_a_card_that_cannot_be_is_an_error_of_one_line(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as refused:
        VifConfig(**{"mac": MAC, **wrong})  # type: ignore[arg-type]
    assert "\n" not in str(refused.value)


def test_a_frontend_that_asks_for_it_gets_the_multicast_frames_of_its_list_and_no_others(plugged: Plugged) -> None:
    plugged.connect(request_multicast_control="1")
    queue = plugged.front.queue
    queue.post()
    other = GROUP[:5] + b"\x02"
    plugged.port.come(frame(GROUP), frame())
    assert [one.data for one in queue.received()] == [frame()]
    assert queue.send(frame(), extras=[extra_multicast(ExtraType.MCAST_ADD, GROUP)]) == [Status.OKAY]
    plugged.port.come(frame(GROUP), frame(other), frame(OWN))
    assert [one.data for one in queue.received(2)] == [frame(GROUP), frame(OWN)]
    assert queue.send(frame(), extras=[extra_multicast(ExtraType.MCAST_DEL, GROUP)]) == [Status.OKAY]
    plugged.port.come(frame(GROUP), frame(OWN))
    assert [one.data for one in queue.received()] == [frame(OWN)]
    assert plugged.vif.stats.filtered == 3
    assert plugged.port.sent == []  # what only says what is wanted goes nowhere
    plugged.vif.follow("request-multicast-control", "0")
    plugged.port.come(frame(other))
    assert [one.data for one in queue.received()] == [frame(other)]


def test_the_65th_multicast_address_is_refused(plugged: Plugged) -> None:
    plugged.connect()
    for number in range(66):
        extra = extra_multicast(ExtraType.MCAST_ADD, GROUP[:5] + bytes([number]))
        assert plugged.front.queue.send(frame(), extras=[extra]) == [Status.OKAY if number < 64 else Status.ERROR]


def test_the_hash_that_a_frontend_asked_for_is_told_with_each_frame(made: list[Plugged]) -> None:
    made.append(plugged := Plugged(nr_queues=2))
    guest = plugged.front.guest
    page, data, port = guest.share(), guest.share(), guest.open_port()
    ring = Front(page.memory, XEN_NETIF_CTRL_REQUEST.size)
    plugged.connect(ctrl_ring_ref=str(page.refs[0]), event_channel_ctrl=str(port.number))
    data.memory[:40] = bytes.fromhex("6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa")
    for kind, *values in ((7, HashAlgorithm.TOEPLITZ), (2, HashTypes.IPV4), (3, data.refs[0], 40)):
        ring.put(XEN_NETIF_CTRL_REQUEST.pack(0, kind, *(*values, 0, 0, 0)[:3]))
    ring.push()
    port.notify()
    answers: list[bytes] = []
    while len(answers) < 3:
        answers += ring.take()
        assert len(answers) == 3 or ring.rest() or port.wait(LIMIT)
    assert [struct.unpack_from("<I", answer, 4)[0] for answer in answers] == [0, 0, 0]
    queue = plugged.front.queues[0x323E8FC2 % 2]
    queue.post()
    header = struct.pack(
        ">BxHHHBBH4s4s", 0x45, 20, 0, 0, 64, 17, 0, bytes((66, 9, 149, 187)), bytes((161, 142, 100, 80))
    )
    plugged.port.come(OWN + bytes(6) + b"\x08\x00" + header + bytes(30))
    (one,) = queue.received()
    (extra,) = one.extras
    assert extra == struct.pack("<BBBBI", ExtraType.HASH, 0, 0, HashAlgorithm.TOEPLITZ, 0x323E8FC2)
    ring.close()


def test_while_there_is_no_carrier_frames_are_dropped_and_counted_both_ways(plugged: Plugged) -> None:
    told: list[dict[str, str]] = []
    plugged.vif.on_change(lambda keys: told.append(dict(keys)), lambda reason: None)
    plugged.connect()
    queue = plugged.front.queue
    queue.post()
    plugged.vif.set_carrier(False)
    plugged.vif.set_carrier(False)
    assert queue.send(frame(), frame()) == [Status.OKAY] * 2
    plugged.port.come(frame())
    assert queue.received(1, timeout=0) == [] and plugged.port.sent == []
    assert plugged.vif.stats.no_carrier == 3 and plugged.vif.stats.received == plugged.vif.stats.sent == 0
    plugged.vif.set_carrier(True)
    plugged.port.come(frame())
    assert len(queue.received()) == 1 and queue.send(frame()) == [Status.OKAY]
    assert told == [{"carrier": "0"}, {"carrier": "1"}]
    plugged.disconnect()
    assert plugged.vif.stats.no_carrier == 3


def test_counts_go_on_over_connections(plugged: Plugged) -> None:
    for number in range(1, 4):
        plugged.connect()
        plugged.front.queue.send(frame())
        plugged.disconnect()
        assert plugged.vif.stats.sent == number


# --- On the bus


@pytest.fixture
def client() -> Iterator[Client]:
    with Server(Store()) as server:
        yield server.client()


class OnBus:
    """A card on the bus, with the frontend's half of the handshake."""

    def __init__(self, client: Client, plugged: Plugged) -> None:
        self.client, self.plugged, vif = client, plugged, plugged.vif
        self.attachment = Attachment(
            client, ADDRESS, plugged.front.foreign, vif, vif.frontend_keys(), vif.backend_keys()
        )
        vif.on_change(self.attachment.update, self.attachment.shut)

    def write(self, key: str, value: str) -> None:
        def put(keys: Keys) -> None:
            if keys.exists(ADDRESS.frontend_path):
                keys.write(f"{ADDRESS.frontend_path}/{key}", value)

        self.client.atomically(put)

    def become(self, state: XenbusState) -> None:
        self.write("state", str(int(state)))

    def wait(self, state: XenbusState) -> None:
        assert self.attachment.wait(state, LIMIT), f"{self.attachment.state.name} instead of {state.name}"

    def connect(self) -> None:
        self.wait(XenbusState.INIT_WAIT)
        for key, value in self.plugged.keys.items():
            self.write(key, value)
        self.become(XenbusState.CONNECTED)
        self.wait(XenbusState.CONNECTED)

    def close_and_return(self) -> None:
        self.become(XenbusState.CLOSED)
        self.wait(XenbusState.CLOSED)
        self.become(XenbusState.INITIALISING)

    def come_back(self) -> None:
        """Connect from any state.  What the backend is at may be of before it saw what was written last: as a frontend
        whose backend closes, try again."""
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            self.close_and_return()
            if not self.attachment.wait(XenbusState.INIT_WAIT, 0.1):
                continue
            for key, value in self.plugged.keys.items():
                self.write(key, value)
            self.become(XenbusState.CONNECTED)
            if self.attachment.wait(XenbusState.CONNECTED, 0.1):
                return
        raise AssertionError(f"{self.attachment.state.name} instead of CONNECTED")

    def remove(self) -> None:
        self.attachment.remove()
        assert self.attachment.wait_removed(LIMIT)

    @property
    def error(self) -> str | None:
        return self.client.get(f"/local/domain/0/error/{ADDRESS.backend_name}/error")


@pytest.fixture
def bus(client: Client, plugged: Plugged) -> Iterator[OnBus]:
    made = OnBus(client, plugged)
    yield made
    made.remove()


def test_a_frontend_that_closed_may_come_back(bus: OnBus) -> None:
    for _ in range(3):
        bus.connect()
        assert bus.plugged.front.queue.send(frame()) == [Status.OKAY]
        bus.close_and_return()
    assert bus.plugged.vif.stats.sent == 3


def test_the_filter_can_be_asked_for_while_it_is_connected(bus: OnBus) -> None:
    bus.connect()
    queue = bus.plugged.front.queue
    queue.post()
    for value, passes in (("1", False), ("0", True), ("1", False), ("nonsense", True), ("1", False)):
        bus.write("request-multicast-control", value)
        end, came = time.monotonic() + LIMIT, not passes
        while came is not passes:  # it is told on the card's own thread
            assert time.monotonic() < end
            bus.plugged.port.come(frame(GROUP))
            came = bool(queue.received(1, timeout=0))
            queue.post()


def test_a_frontend_that_gets_a_program_has_room_for_it_before_each_frame_from_then_on(bus: OnBus) -> None:
    bus.connect()
    queue = bus.plugged.front.queue
    for headroom, infos in ((256, 1), (0, 0)) * 2:  # Linux says first that something changes, and then what
        bus.become(XenbusState.RECONFIGURING)
        bus.write("xdp-headroom", str(headroom))
        bus.wait(XenbusState.RECONFIGURED)
        bus.become(XenbusState.CONNECTED)
        bus.wait(XenbusState.CONNECTED)
        end, told = time.monotonic() + LIMIT, 1 - infos
        while told != infos:  # it is told on the card's own thread
            assert time.monotonic() < end
            queue.post()
            bus.plugged.port.come(frame())
            (received,) = queue.received()
            assert received.data == frame()
            told = len(received.extras)
    assert queue.send(frame()) == [Status.OKAY]


def test_the_carrier_is_told_in_the_store(bus: OnBus) -> None:
    bus.connect()
    assert bus.client.get(f"{ADDRESS.backend_path}/carrier") == "1"
    bus.plugged.vif.set_carrier(False)
    assert bus.client.get(f"{ADDRESS.backend_path}/carrier") == "0"


def test_rings_that_say_what_cannot_be_shut_the_card_with_a_reason_until_the_frontend_is_new(bus: OnBus) -> None:
    bus.connect()
    queue = bus.plugged.front.queue
    queue.tx_ring.memory[:4] = (1 << 31).to_bytes(4, "little")  # req_prod
    queue.tx_port.notify()
    bus.wait(XenbusState.CLOSING)
    assert bus.error is not None and "\n" not in bus.error
    bus.plugged.front.guest.assert_let_go()
    queue.tx_ring.memory[:4] = bytes(4)
    bus.close_and_return()
    bus.connect()
    assert queue.send(frame()) == [Status.OKAY]


def test_keys_that_change_while_it_is_connected_mean_nothing(bus: OnBus) -> None:
    bus.connect()
    for key in [*bus.plugged.keys, "multi-queue-num-queues", "ctrl-ring-ref", "event-channel", "queue-0/tx-ring-ref"]:
        bus.write(key, "7")
    assert bus.plugged.front.queue.send(frame()) == [Status.OKAY]
    assert bus.attachment.state is XenbusState.CONNECTED


def test_a_frontend_that_flaps_a_thousand_times_leaves_nothing_behind(bus: OnBus) -> None:
    bus.connect()
    before = threading.active_count(), len(os.listdir("/proc/self/fd"))
    chance = random.Random(1)
    for number in range(1000):
        bus.become(chance.choice(list(XenbusState)[1:7]))
        if number % 10 == 0:
            bus.come_back()
    bus.come_back()
    assert bus.plugged.front.queue.send(frame()) == [Status.OKAY]
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == before
    bus.close_and_return()
    bus.plugged.front.guest.assert_let_go()


def test_a_frontend_may_close_in_the_middle_of_traffic(bus: OnBus) -> None:
    stop, switch = threading.Event(), sys.getswitchinterval()
    sys.setswitchinterval(0.0002)  # who only sends lets the handshake's threads run

    def traffic() -> None:
        while not stop.is_set():
            bus.plugged.port.come(*[frame(number=number) for number in range(20)])

    busy = threading.Thread(target=traffic)
    busy.start()
    try:
        queue = bus.plugged.front.queue
        for _ in range(15):
            bus.connect()
            queue.post(min(64, queue.rx.free))
            for _ in range(min(64, queue.tx.free)):
                queue.put(frame())
            queue.push()
            bus.become(XenbusState.CLOSING)
            bus.wait(XenbusState.CLOSING)
            bus.plugged.front.guest.assert_let_go()
            queue.received(0)
            queue.answers(0)
            bus.close_and_return()
    finally:
        stop.set()
        busy.join()
        sys.setswitchinterval(switch)


def test_unplugged_it_is_gone_once_the_frontend_let_go(bus: OnBus) -> None:
    bus.connect()
    bus.attachment.unplug()
    bus.wait(XenbusState.CLOSING)
    bus.become(XenbusState.CLOSED)
    assert bus.attachment.wait_removed(LIMIT)
    assert not bus.client.exists(ADDRESS.backend_path) and not bus.client.exists(ADDRESS.frontend_path)
