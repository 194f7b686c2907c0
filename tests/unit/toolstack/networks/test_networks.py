"""Networks by name: who finds which, and what becomes of those that were killed."""

import os
import signal
import stat
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from queue import Queue

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from tests.unit.net.service.wire import guest
from tests.unit.toolstack.networks.network import Network
from xenia.errors import ConfigError
from xenia.net.nat.plan import Plan
from xenia.net.service.client import NetworkConfig, Silent, start_network
from xenia.testing.net import Card
from xenia.toolstack.config.forward import Forward
from xenia.toolstack.config.net import NetConfig
from xenia.toolstack.devices.vif import card_config
from xenia.toolstack.networks import named, opening, registry, subnets
from xenia.toolstack.networks.capture import Captured, relay
from xenia.toolstack.networks.network import Network as ProgramsNetwork
from xenia.toolstack.networks.opening import Opening

GUEST = {"port": 2, "name": "web", "kind": "card", "mac": "00:16:3e:00:00:01"}
UPLINK = {"port": 1, "name": "nat", "kind": "nat"}


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def test_a_network_is_found_by_its_name_for_its_user_alone(runtime: Path) -> None:
    with Network("lan"), Network("dmz"):
        assert registry.names() == ["dmz", "lan"]
        assert named.show("lan")["subnet"] == "10.0.2.0/24"
        folder = runtime / "xenia" / "net"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "lan").stat().st_mode) == 0o600
    assert registry.names() == []


def test_two_networks_of_one_name_are_one_too_many() -> None:
    with Network("lan"), pytest.raises(ConfigError, match=r"there is a network 'lan' already \(xenia net delete lan\)"):
        registry.listen("lan")


def test_the_socket_of_a_network_that_was_killed_is_taken_away(runtime: Path) -> None:
    Network("lan").die()
    assert (runtime / "xenia" / "net" / "lan").exists()
    assert registry.names() == []
    assert not (runtime / "xenia" / "net" / "lan").exists()
    Network("lan").die()
    Network("lan").close()  # another takes its place
    Network("lan").die()
    named.delete("lan")
    with pytest.raises(ConfigError, match="no network 'lan' is running"):
        named.delete("lan")


def test_a_network_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r"no network 'lan' is running \(none is running: xenia net create lan\)"):
        registry.find("lan")
    with Network("dmz"), pytest.raises(ConfigError, match=r"no network 'lan' is running \(running: dmz\)"):
        registry.find("lan")


def test_a_guests_own_network_is_found_by_the_guest_and_by_its_process() -> None:
    with Network(registry.private_name("web", 77)), Network(registry.private_name("web", 78)):
        assert registry.find("77").hello()["name"] == "web@77"
        with pytest.raises(ConfigError, match=r"more than one guest 'web' has a network: say which \(web@77, web@78\)"):
            registry.find("web")
        with Network("web"):
            assert registry.find("web").hello()["name"] == "web"


def test_networks_of_a_guest_with_several_cards_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (0, 1):
        card = opening.private(NetConfig(guest="web", number=number), 77)
        assert card.network == registry.private_name("web", 77, number)
        assert opening.private(card, 78) == card
    with Network("web@77"), Network("web:1@77"):
        with pytest.raises(ConfigError, match=r"'77' has several networks: say which \(web:1@77, web@77\)"):
            registry.find("77")
        assert registry.find("web@77").hello()["name"] == "web@77"
        assert registry.find("web:1").hello()["name"] == "web:1@77"
    with Network("web:1@77"):
        assert registry.find("web").hello()["name"] == "web:1@77"


def test_networks_that_nobody_chose_a_subnet_for_have_each_another_which_comes_of_the_name() -> None:
    own = [subnets.of_card(number) for number in range(128)]
    made = [subnets.of_network(f"lan{number}", ()) for number in range(50)]
    assert made[0] == subnets.of_network("lan0", ["10.0.2.0/24"])
    assert own[0] == ("10.0.2.0/24", "fd00:78:656e::/64") == (NetworkConfig().subnet, NetworkConfig().subnet6)
    assert len({subnet for subnet, _ in own + made}) == len({subnet6 for _, subnet6 in own + made}) == 178
    other = subnets.of_network("lan0", [made[0].subnet])
    assert other not in (*own, made[0])
    for found in (*own, *made):
        Plan.read(found.subnet, found.subnet6, "xenia.internal", 1500)
    with pytest.raises(ConfigError, match="choose one"):
        subnets.of_network("lan", ["10.0.0.0/8"])


def test_what_a_network_joins_is_complained_of_in_the_words_that_were_said() -> None:
    with Network("lan"), pytest.raises(ConfigError, match=r"^in 'vlan=5000' of the network 'tap=tap0,vlan=5000': "):
        named.join("lan", "tap=tap0,vlan=5000")


def test_a_path_that_no_socket_can_have_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    with pytest.raises(ConfigError, match="the path of a socket is too long"):
        registry.listen("lan")


@pytest.mark.parametrize("name", ["", "a/b", "web@1", "user", "none", "-x", "x" * 40])
def test_a_name_that_no_network_can_have_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is no network's name"):
        named.create(name)


@pytest.mark.parametrize("subnet", ["10.0.2.1/24", "10.0.2.0/30", "fd00::/64", "lan", "0.0.0.0/0"])
def test_a_subnet_that_cannot_be_is_refused(subnet: str) -> None:
    with pytest.raises(ConfigError, match="subnet"):
        named.create("lan", subnet=subnet)


def test_a_network_in_use_is_deleted_by_force_alone() -> None:
    with Network("lan", [UPLINK, GUEST]) as network:
        with pytest.raises(ConfigError, match=r"the network 'lan' is in use by web \(--force"):
            named.delete("lan")
        assert {"verb": "stop"} not in network.asked
        named.delete("lan", force=True)
        assert {"verb": "stop"} in network.asked
    with Network("lan", [UPLINK]) as network:
        named.delete("lan")
        assert {"verb": "stop"} in network.asked


def test_networks_are_listed_with_how_many_guests_are_on_them() -> None:
    with Network("lan", [UPLINK, GUEST]), Network("dmz"):
        assert [(one["name"], one["ports"]) for one in named.describe_all()] == [("dmz", 0), ("lan", 1)]


def test_a_network_that_does_not_answer_is_listed_with_its_name_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xenia.net.service.client.PATIENCE", 0.5)
    with Network("dmz"), registry.listen("stuck"):
        found = {one["name"]: (one["ports"], one["pid"]) for one in named.describe_all()}
        assert found["stuck"] == (None, None) and found["dmz"][0] == 0


@pytest.fixture
def stopped() -> Iterator[int]:
    """The process of the network `lan`, which is stopped."""
    with (
        registry.listen("lan") as listener,
        closing(start_network(NetworkConfig("lan", nat=False), listener, stay=True)) as client,
    ):
        process = int(client.hello()["pid"])
    os.kill(process, signal.SIGSTOP)
    while Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        pass
    yield process
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def test_a_network_that_is_stopped_is_not_waited_for(stopped: int) -> None:
    with pytest.raises(Silent, match=f"the network 'lan' does not answer: its process {stopped} is stopped"):
        named.show("lan")
    assert [(one["name"], one["pid"]) for one in named.describe_all()] == [("lan", None)]


def test_a_network_that_does_not_answer_is_ended_by_force(stopped: int) -> None:
    with pytest.raises(ConfigError, match=r"is stopped \(--force ends it all the same\)"):
        named.delete("lan")
    named.delete("lan", force=True)
    assert registry.names() == []
    with Network("lan"):  # another takes its place
        assert registry.names() == ["lan"]


def test_no_other_process_is_ended_in_the_place_of_a_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xenia.net.service.client.PATIENCE", 0.5)
    with registry.listen("lan"), pytest.raises(ConfigError, match=rf"the process {os.getpid()}, .* is no network's"):
        named.delete("lan", force=True)


def test_ports_of_the_host_lead_to_guests_and_no_longer_do() -> None:
    with Network("lan") as network:
        assert named.forward("lan", Forward(2222, 22), to="web")["to_port"] == 22
        assert network.asked[-1] == {
            "verb": "forward", "port": 2222, "to_port": 22, "protocol": "tcp", "address": "127.0.0.1", "to": "web",
        }  # fmt: skip
        named.forward("lan", Forward(2222, 22), remove=True)
        assert network.asked[-1] == {"verb": "unforward", "port": 2222, "protocol": "tcp", "address": "127.0.0.1"}
        network.refuses = "port 2222 is taken"
        with pytest.raises(ConfigError, match="port 2222 is taken"):
            named.forward("lan", Forward(2222, 22))


def test_a_port_is_captured_by_its_number_or_by_who_is_at_it(tmp_path: Path) -> None:
    other = {**GUEST, "port": 3, "name": "db"}
    with Network("lan", [UPLINK, GUEST, other]) as network, open(tmp_path / "x", "wb") as file:
        for what in ("lan/2", "lan/web"):
            end = named.capture(what, file.fileno())
            assert network.asked[-1] == {"verb": "capture", "port": 2}
            end()
            assert network.asked[-1] == {"verb": "uncapture", "capture": 7}
        with pytest.raises(ConfigError, match=r"'lan' is not one port: lan/2 \(web\), lan/3 \(db\)"):
            named.capture("lan", file.fileno())
    with pytest.raises(ConfigError, match=r"'vif9\.0' is no card of a guest that runs, and no network 'vif9\.0'"):
        named.capture("vif9.0", 0)


def test_networks_are_joined_with_each_other_by_tunnels_and_sockets_in_a_commands_words(runtime: Path) -> None:
    one, other = (named.create(name, nat=False)["name"] for name in ("one", "other"))
    try:
        for word in ("socket=listen:{0}", "vxlan=127.0.0.2,local=127.0.0.1,port=47890"):
            named.join(one, word.format(runtime / "wire"))
            peer = word.replace("listen:", "").replace("127.0.0.2,local=127.0.0.1", "127.0.0.1,local=127.0.0.2")
            made = named.join(other, peer.format(runtime / "wire"))
            assert made["name"] in [port["name"] for port in named.show(other)["ports"]]
            with (
                closing(registry.find(one)) as here, closing(registry.find(other)) as there,
                guest(here) as near, guest(there) as far,
            ):  # fmt: skip
                near.send(Ether(src=near.mac, dst="ff:ff:ff:ff:ff:ff") / IP(src=near.ip) / UDP(dport=7) / b"hello")
                assert far.expect(lambda got: UDP in got)[Ether].src == near.mac
                far.send(Ether(src=far.mac, dst=near.mac) / IP(src=far.ip) / UDP(dport=8) / b"hello you")
                assert near.expect(lambda got: UDP in got)[Ether].src == far.mac
            with pytest.raises(ConfigError, match=r"the network 'other' has joined .* already"):
                named.join(other, peer.format(runtime / "wire"))
            named.join(other, peer.format(runtime / "wire"), remove=True)
            with pytest.raises(ConfigError, match="the network 'other' has not joined"):
                named.join(other, peer.format(runtime / "wire"), remove=True)
            named.join(one, word.format(runtime / "wire"), remove=True)
            assert not (runtime / "wire").exists()
        named.join(one, f"socket=listen:{runtime / 'wire'}")
        assert (runtime / "wire").is_socket()
    finally:
        named.delete("one", force=True)
        named.delete("other")
    assert not (runtime / "wire").exists()


def test_a_programs_cards_are_in_vlans_by_the_words_of_their_port() -> None:
    with closing(ProgramsNetwork("lan")) as lan:
        made = [
            card_config(lan, port=[f"vlan={vlan}"]).for_guest(f"g{vlan}{n}", n) for vlan in (10, 20) for n in (0, 1)
        ]
        cables = [lan.cable(config) for config in made]
        cards = [Card(cable.port) for cable in cables]
        mac = bytes.fromhex((made[0].mac or "").replace(":", ""))
        assert cards[0].send(b"\xff" * 6 + mac + b"\x88\xb5" + bytes(50)) == 1
        assert [len(card.received) for card in cards] == [0, 1, 0, 0]
        for card, cable in zip(cards, cables, strict=True):
            card.close()
            cable.close()


def test_a_programs_guest_that_talks_with_one_is_not_flooded_by_another() -> None:
    with closing(ProgramsNetwork("lan")) as lan:
        made = [card_config(lan).for_guest(f"g{number}", 0) for number in range(3)]
        cables = [lan.cable(config) for config in made]
        guest, friend, flooder = (Card(cable.port) for cable in cables)
        own, other, hostile = (config.mac for config in made)
        ask, answer, flood = (
            [bytes(Ether(src=source, dst=target) / IP() / UDP())] * 50
            for source, target in ((own, other), (other, own), (hostile, own))
        )
        for _ in range(20):
            guest.send(*ask)
            friend.send(*answer)
            flooder.send(*flood)
        came = [Ether(packet.data).src for packet in guest.received]
        assert came.count(other) == 1000 and 200 < came.count(hostile) < 900
        for card, cable in zip((guest, friend, flooder), cables, strict=True):
            card.close()
            cable.close()


def block(kind: int, length: int = 32) -> bytes:
    size = length.to_bytes(4, "little")
    return kind.to_bytes(4, "little") + size + bytes(length - 12) + size


HEADER, FRAME = block(0x0A0D0D0A, 28), block(6, 128)


def relayed(data: bytes, most: int | None, pieces: int = 1 << 16) -> tuple[bytes, int]:
    """What comes out of it, and how many frames were counted."""
    source, feed = os.pipe()
    end, target = os.pipe()
    frames = Captured()
    try:
        os.write(feed, data)
        os.close(feed)
        relay(source, target, frames, most)
    finally:
        for descriptor in (source, target):
            os.close(descriptor)
    with open(end, "rb") as file:
        return file.read(), frames.count


def test_what_is_captured_goes_on_in_whole_blocks_and_frames_are_counted() -> None:
    whole = HEADER + block(1) + FRAME * 3
    assert relayed(whole, None) == (whole, 3)
    assert relayed(whole + FRAME[:50], None) == (whole, 3)
    assert relayed(whole, 2) == (HEADER + block(1) + FRAME * 2, 2)
    assert relayed(HEADER, None) == (HEADER, 0)


@pytest.mark.parametrize("data", [b"no pcapng at all", block(6) + bytes(12), b"\xff" * 32])
def test_what_is_no_pcapng_is_not_passed_on(data: bytes) -> None:
    with pytest.raises(ConfigError, match="no pcapng"):
        relayed(data, None)


def test_who_reads_what_is_captured_and_has_enough_is_noticed_though_nothing_more_comes() -> None:
    source, feed = os.pipe()
    end, target = os.pipe()
    os.close(end)
    with pytest.raises(BrokenPipeError):
        relay(source, target, Captured())
    for descriptor in (source, feed, target):
        os.close(descriptor)


def test_a_full_disk_is_one_line() -> None:
    source, feed = os.pipe()
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        os.write(feed, HEADER)
        with pytest.raises(ConfigError, match="cannot write what was captured: No space left on device"):
            relay(source, full, Captured())
    finally:
        for descriptor in (source, feed, full):
            os.close(descriptor)


def test_what_runs_a_guest_holds_its_network_and_opens_no_port_of_the_host_by_it() -> None:
    with closing(Opening(NetConfig(options=("host=8000",)).for_guest("web", 0)).finish()) as cable:
        assert cable.network is not None
        with pytest.raises(ConfigError, match="asks nothing any more"):
            cable.network.ask("host", port=22)


def test_a_network_that_is_killed_is_one_line_for_the_operator(caplog: pytest.LogCaptureFixture) -> None:
    carriers: Queue[bool] = Queue()
    with closing(Opening(NetConfig().for_guest("web", 0)).finish()) as cable:
        assert cable.network is not None and cable.network.process is not None
        cable.begin(carriers.put)
        assert carriers.get(timeout=10)
        cable.network.process.kill()
        while carriers.get(timeout=10):  # told twice where the link is there already
            pass
        cable.pause()
    assert caplog.messages == ["a network card lost its carrier: the peer closed the connection"]
