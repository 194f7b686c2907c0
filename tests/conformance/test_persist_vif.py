"""A card that was saved and made anew goes on as one that was not, in the middle of its traffic."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from xenia.abi.netif import XEN_NETIF_CTRL_REQUEST, ControlType, ExtraType, HashAlgorithm, HashTypes
from xenia.abi.xenbus import XenbusState
from xenia.backends.vif.config import VifConfig
from xenia.backends.vif.device import Vif
from xenia.backends.vif.persist import SteeringState, VifState
from xenia.errors import ConfigError
from xenia.foreign.fault import FrontendFault
from xenia.rings.request import Front
from xenia.testing.net import Behind
from xenia.testing.netfront import Netfront, extra_multicast
from xenia.testing.persist import check, through_json
from xenia.xenbus.attachment import Attachment
from xenia.xenbus.directories import Address
from xenia.xenbus.frontend import Frontend
from xenia.xenstore.client import Client
from xenia.xenstore.server import Server
from xenia.xenstore.store import Store

MAC = "00:16:3e:01:02:03"
OWN = bytes.fromhex(MAC.replace(":", ""))
# How busy it was, not what it did.
ACCIDENTAL = {"batches", "beside", "notifications", "held_up"}


class Step(NamedTuple):
    """Something that is done with a card."""

    what: str
    number: int = 0


_steps = st.lists(
    st.builds(
        Step,
        st.sampled_from(("send", "send", "come", "come", "join", "leave", "filter", "hash", "carrier")),
        st.integers(0, 40),
    ),
    max_size=12,
)


def frame(target: bytes, number: int) -> bytes:
    header = struct.pack(">BxHHHBBH4s4s", 0x45, 28, 0, 0, 64, 17, 0, bytes((10, 0, 0, number)), bytes((10, 0, 1, 1)))
    return target + OWN + b"\x08\x00" + header + struct.pack(">HHHH", number, 7, 8, 0)


def group(number: int) -> bytes:
    return bytes.fromhex("01005e0000") + bytes([number % 5])


class Bench:
    """A frontend with two queues and a control ring, its card, and a network by hand."""

    def __init__(self, listens: bool = False) -> None:
        self.front = Netfront(2, listens=listens, pages=64)
        guest = self.front.guest
        self.page, self.data, self.port = guest.share(), guest.share(), guest.open_port()
        self.ring = Front(self.page.memory, XEN_NETIF_CTRL_REQUEST.size)
        self.front.keys |= {"ctrl-ring-ref": str(self.page.refs[0]), "event-channel-ctrl": str(self.port.number)}
        self.network = Behind()
        self.vif = Vif(self.network, VifConfig(mac=MAC, mtu=9000, credit=10**9), device=2)
        self.vif.connect(self.frontend)
        self.carrier = True

    @property
    def frontend(self) -> Frontend:
        return Frontend(self.front.foreign, self.front.keys)

    def do(self, steps: Sequence[Step]) -> list[object]:
        """All that is seen meanwhile."""
        return [self.step(step) for step in steps]

    def step(self, step: Step) -> object:
        what, number = step
        queue = self.front.queues[number % 2]
        match what:
            case "send":
                statuses = queue.send(*[frame(bytes((2, 0, 0, 0, 0, 1)), index) for index in range(number % 7)])
                return statuses, [packet.data for packet in self.network.sent]
            case "join" | "leave":
                kind = ExtraType.MCAST_ADD if what == "join" else ExtraType.MCAST_DEL
                return queue.send(frame(OWN, 0), extras=[extra_multicast(kind, group(number))])
            case "come":
                for each in self.front.queues:
                    each.post()  # a frame that waits for a page is lost when the card rests
                self.network.come(*[frame(group(index), index) for index in range(number)])
                return [[one.data for one in each.received(0)] for each in self.front.queues]
            case "filter":
                self.front.keys["request-multicast-control"] = str(number % 2)
                self.vif.follow("request-multicast-control", str(number % 2))
                return None
            case "carrier":
                self.vif.set_carrier(number % 3 > 0)
                return None
            case _:
                return self.set_hash(number)

    def set_hash(self, number: int) -> list[bytes]:
        self.data.memory[:40] = bytes(range(number, number + 40))
        self.data.memory[40:56] = struct.pack("<4I", 0, 1, number % 2, 1)
        ref = self.data.refs[0]
        asked = [
            (ControlType.SET_HASH_ALGORITHM, HashAlgorithm.TOEPLITZ, 0, 0),
            (ControlType.SET_HASH_FLAGS, number % 16 & int(HashTypes.IPV4 | HashTypes.IPV6), 0, 0),
            (ControlType.SET_HASH_KEY, ref, number % 41, 0),
            (ControlType.SET_HASH_MAPPING_SIZE, number % 5, 0, 0),
        ]
        for index, (kind, *data) in enumerate(asked):
            self.ring.put(XEN_NETIF_CTRL_REQUEST.pack(index, kind, *data))
        if self.ring.push():
            self.port.notify()
        answers: list[bytes] = []
        while len(answers) < len(asked):
            answers += self.ring.take()
            assert len(answers) == len(asked) or self.ring.rest() or self.port.wait(20)
        return answers

    def end(self) -> object:
        self.vif.disconnect()
        return {name: count for name, count in asdict(self.vif.stats).items() if name not in ACCIDENTAL}

    def save(self) -> VifState:
        self.vif.suspend()
        state = self.vif.save()
        self.made(state)
        return state

    def restored(self, state: VifState) -> Bench:
        self.vif.suspend()
        self.made(state)
        return self

    def made(self, state: VifState) -> None:
        self.vif = Vif.restore(self.network, state)
        assert self.vif.resume(self.frontend) == {}

    def close(self) -> None:
        self.vif.disconnect()
        self.ring.close()
        self.front.close()


@pytest.mark.parametrize("listens", [False, True])
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=30)
@given(before=_steps, after=_steps)
def test_a_card_that_was_made_anew_goes_on_as_it_was(listens: bool, before: list[Step], after: list[Step]) -> None:
    made = [Bench(listens), Bench(listens)]
    try:
        waiting = iter(made)
        check(
            make=lambda: next(waiting),
            use=lambda bench: bench.do(before),
            save=Bench.save,
            restore=Bench.restored,
            go_on=lambda bench: (bench.do(after), bench.end()),
        )
    finally:
        for bench in made:
            bench.close()


def test_a_queue_that_is_not_served_any_more_stays_so() -> None:
    bench = Bench()
    bench.front.queue.tx_ring.memory[:4] = (1 << 31).to_bytes(4, "little")
    bench.front.queue.tx_port.notify()
    while not bench.vif.fault:
        pass
    reason = bench.vif.fault
    assert bench.save().queues[0].fault == reason == bench.vif.fault
    told: list[str] = []
    bench.vif.on_change(lambda keys: None, told.append)
    assert told == [reason]
    bench.close()


def test_rings_are_served_from_where_they_were_left_whatever_the_guest_says_of_that() -> None:
    bench = Bench()
    bench.do([Step("send", 6)])
    bench.vif.suspend()
    bench.front.queue.tx_ring.memory[8:12] = bytes(4)  # rsp_prod: as if nothing had been answered
    bench.made(bench.vif.save())
    bench.front.queue.tx_ring.memory[8:12] = (6).to_bytes(4, "little")
    bench.do([Step("send", 6)])
    assert bench.vif.stats.sent == 12
    bench.close()


def test_another_number_of_queues_than_were_served_is_refused() -> None:
    bench = Bench()
    bench.vif.suspend()
    state = bench.vif.save()
    for changed, complaint in (
        (replace(state, queues=state.queues[:1]), "1 queues were served"),
        (replace(state, control=None), "a control ring was served"),
    ):
        if changed.control is None:
            complaint = "control ring"
        with pytest.raises(FrontendFault, match=complaint):
            Vif.restore(bench.network, changed).resume(bench.frontend)
    bench.front.guest.assert_let_go()
    bench.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"mac": "x"},
        {"mtu": 0},
        {"max_queues": 100},
        {"steering": SteeringState(algorithm=1 << 40)},
        {"steering": SteeringState(multicast=(b"x",))},
        {"steering": SteeringState(mapping=(-1,))},
    ],
)
def test_a_state_that_no_card_was_ever_in_is_an_error_of_one_line(changes: dict[str, object]) -> None:
    state = Vif(Behind(), VifConfig(mac=MAC), device=0).save()
    with pytest.raises(ConfigError) as refused:
        Vif.restore(Behind(), replace(state, **changes))  # type: ignore[arg-type]
    assert "\n" not in str(refused.value)


@pytest.fixture
def client() -> Iterator[Client]:
    with Server(Store()) as server:
        yield server.client()


def test_a_card_on_the_bus_goes_on_with_its_frontend_connected_and_lets_it_go_later(client: Client) -> None:
    front, network = Netfront(), Behind()
    address = Address("vif", 7, 0)
    vif = Vif(network, VifConfig(mac=MAC), device=0)
    attachment = Attachment(client, address, front.foreign, vif, vif.frontend_keys(), vif.backend_keys())

    def another() -> int:
        nonlocal attachment, vif
        left, of_vif = through_json(attachment.suspend()), through_json(vif.save())
        vif = Vif.restore(network, of_vif)
        attachment = Attachment(client, address, front.foreign, vif, resumes=left)
        assert attachment.wait(XenbusState(left.state), 20)
        return len(of_vif.queues)

    assert attachment.wait(XenbusState.INIT_WAIT, 20)
    assert another() == 0
    for key, value in front.keys.items():
        client.write(f"{address.frontend_path}/{key}", value)
    client.write(f"{address.frontend_path}/state", str(int(XenbusState.CONNECTED)))
    assert attachment.wait(XenbusState.CONNECTED, 20)
    for _ in range(3):
        assert another() == 1
        assert front.queue.send(frame(OWN, 1)) == [0]
    attachment.unplug()
    assert attachment.wait(XenbusState.CLOSING, 20)
    client.write(f"{address.frontend_path}/state", str(int(XenbusState.CLOSED)))
    assert attachment.wait_removed(20)
    assert vif.stats.sent == 3
    front.close()
