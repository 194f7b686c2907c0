"""What an operator writes after --net and -p."""

import os
from pathlib import Path

import pytest

from xenia.errors import ConfigError
from xenia.storage.door import handed
from xenia.toolstack.config import host_id
from xenia.toolstack.config.forward import Forward, parse_forward, parse_publish
from xenia.toolstack.config.mac import parse_mac, stable_mac
from xenia.toolstack.config.net import NetConfig, for_guest, parse_card, parse_net
from xenia.toolstack.config.rate import Rate, parse_rate
from xenia.toolstack.networks import opening


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ("user", NetConfig()),
        ("", NetConfig()),
        ("bridge=lan", NetConfig("bridge=lan")),
        ("bridge=lan,mac=00:16:3E:00:00:01,mtu=9000", NetConfig("bridge=lan", mac="00:16:3e:00:00:01", mtu=9000)),
        ("tap=tap0,queues=2,name=wan", NetConfig("tap=tap0", queues=2, name="wan")),
        ("macvtap=macvtap0", NetConfig("macvtap=macvtap0")),
        ("nic=eth0", NetConfig("nic=eth0")),
        ("socket=/run/x.sock,vnet=on", NetConfig("socket=/run/x.sock", ("vnet=on",))),
        ("socket=10.0.0.1:4444", NetConfig("socket=10.0.0.1:4444")),
        ("vxlan=192.0.2.7:4789,vni=12", NetConfig("vxlan=192.0.2.7:4789", ("vni=12",))),
        ("passt", NetConfig("passt")),
        ("null", NetConfig("null")),
        ("user,forward=tcp:127.0.0.1:2222:22,host=8000", NetConfig(
            options=("forward=tcp:127.0.0.1:2222:22", "host=8000"))),
        ("user,hostfwd=tcp::2222-:22", NetConfig(options=("forward=tcp:127.0.0.1:2222:22",))),
        ("user,subnet=192.168.7.0/24,ipv6=off", NetConfig(options=("subnet=192.168.7.0/24", "ipv6=off"))),
        ("delay=20ms,jitter=5ms,bridge=lan,loss=1%", NetConfig(
            "bridge=lan", layers=("delay=20ms", "jitter=5ms", "loss=1%"))),
        ("spoof=allow,firewall=in:deny", NetConfig(layers=("spoof=allow", "firewall=in:deny"))),
        ("ip=10.0.2.20 fd00::5", NetConfig(ip=("10.0.2.20", "fd00::5"))),
    ],
)  # fmt: skip
def test_a_link_and_words_for_the_card_and_the_way_between_stand_in_one_list(text: str, config: NetConfig) -> None:
    assert parse_net(text) == config


@pytest.mark.parametrize(
    ("text", "config"),
    [  # what xl.cfg(5) and xl-network-configuration(5) show
        ("mac=00:16:3E:74:3d:76,bridge=xenbr0", NetConfig("bridge=xenbr0", mac="00:16:3e:74:3d:76")),
        ("bridge=xenbr0, ip=10.0.0.2", NetConfig("bridge=xenbr0", ip=("10.0.0.2",))),
        ("mac=00:16:3e:01:01:01,bridge=mybridge,rate=10Mb/s@20ms,model=e1000", NetConfig(
            "bridge=mybridge", mac="00:16:3e:01:01:01", rate="10Mb/s@20ms")),
        ("vifname=web0,backend=0,type=vif,devid=2,mtu=1400,untrusted,gatewaydev=eth0", NetConfig(
            name="web0", number=2, mtu=1400)),
        ("mac=,bridge=", None),
    ],
)  # fmt: skip
def test_what_is_written_for_xl_is_understood(text: str, config: NetConfig | None) -> None:
    if config is None:
        with pytest.raises(ConfigError, match="it names nothing: bridge=NAME"):
            parse_net(text)
    else:
        assert parse_net(text) == config


@pytest.mark.parametrize(
    "text",
    [
        "vif = ['mac=00:16:3e:00:00:01,bridge=lan']",
        'vif=[ "mac=00:16:3e:00:00:01, bridge=lan", ]',
        "['mac=00-16-3E-00-00-01,bridge=lan']",
        "'bridge=lan,mac=00:16:3e:00:00:01'",
        "type=vif,mac=00:16:3e:00:00:01,script=/etc/xen/scripts/vif-bridge,bridge=lan",
        "mac=00:16:3e:00:00:01,model=e1000,bridge=lan,gatewaydev=eth0",
    ],
)
def test_lines_of_an_xl_cfg_are_understood_as_they_stand(text: str) -> None:
    assert parse_net(text) == NetConfig("bridge=lan", mac="00:16:3e:00:00:01")


@pytest.mark.parametrize(
    ("text", "path"),
    [("socket=listen:a/b", "a/b"), ("socket=listen::80", None), ("socket=a", None), ("user", None)],
)
def test_a_listening_link_makes_a_socket_that_is_to_be_taken_away(text: str, path: str | None) -> None:
    assert parse_card(text).socket_made == (Path(path) if path else None)


@pytest.mark.parametrize("text", [":2222:22", ":53:53/udp"])
def test_a_forward_whose_address_is_empty_is_asked_which_it_is(text: str) -> None:
    with pytest.raises(ConfigError, match=r"names no address .*: \d+:\d+ is of this host alone, \*:\d+:\d+ of all"):
        parse_publish(text)


def test_none_is_no_card() -> None:
    assert parse_net("none") is None
    with pytest.raises(ConfigError, match="no network to plug a card into"):
        parse_card("none")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("qq=lan", r"what is 'qq=lan'\? There are user, bridge, tap"),
        ("vif = ['bridge=a', 'bridge=b']", "is more than one card: give each a --net of its own"),
        ("bridge=lan,script=vif-route", "no scripts are run here"),
        ("brdge=lan", "^in the network 'brdge=lan': what is 'brdge=lan'; did you mean bridge=\\?$"),
        ("User", "; did you mean user\\?$"),
        ("slirp", "; did you mean user\\?$"),
        ("user,dely=3ms", "what is 'dely=3ms'; did you mean delay=\\?$"),
        ("floppy", "capture$"),
        ("user,host", "in 'host' .*: it says nothing: host="),
        ("user,ipv6=no", "'no' is neither on nor off"),
        ("user,none", "in 'none' of the network 'user,none': it stands alone"),
        ("user,bridge=lan", "in 'bridge=lan' .*: 'user' says that already"),
        ("tap", "in 'tap' .*: it names nothing: tap=NAME"),
        ("user=x", "'user' takes no value"),
        ("bridge=../x", "'../x' is no network's name"),
        ("mac=00:16:3e", "'00:16:3e' is no MAC: write six bytes"),
        ("mac=01:00:5e:00:00:01", "it is a group's"),
        ("mtu=9001", "'9001' is no whole number from 68 to 9000"),
        ("queues=0", "from 1 to 8"),
        ("rate=fast", "'fast' is no rate"),
        ("ip=10.0.2", "'10.0.2' is no address"),
        ("host=0", "'0' is no port"),
        ("tap=tap0,forward=2222:22", "in 'forward=2222:22' .*: that goes with user and bridge and passt, not with tap"),
        ("bridge=lan,subnet=10.0.0.0/8", "goes with user, not with bridge"),
        ("user,subnet=1.2.3", "in 'subnet=1.2.3' .*: '1.2.3' is no subnet"),
        ("bridge=lan,vlan=4095", "in 'vlan=4095' .*: '4095' is no whole number from 1 to 4094"),
        ("bridge=lan,trunk=10+x", "in 'trunk=10[+]x' .*: 'x' is no whole number"),
        ("bridge=lan,mirror=yes", "'yes' is neither on nor off"),
        ("user,vlan=10", "that goes with bridge, not with user"),
        ("loss=much", "in 'loss=': 'much' is no share of the frames"),
        ("jitter=5ms", r"wants a delay= to stand with it \(of the network 'jitter=5ms'\)"),
        ("script=vif-bridge", "no scripts are run here"),
        ("backend=net", "no domain 'net' is there"),
        ("type=ioemu", "no 'ioemu'"),
        ("network", "what is 'network'"),
    ],
)
def test_a_complaint_points_at_the_word(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        parse_net(text)


@pytest.mark.parametrize(
    ("text", "forward"),
    [
        ("2222:22", Forward(2222, 22)),
        ("127.0.0.1:8080:80/tcp", Forward(8080, 80)),
        ("53:53/udp", Forward(53, 53, "udp")),
        ("0.0.0.0:80:8080", Forward(80, 8080, address="0.0.0.0")),
        ("*:80:8080", Forward(80, 8080, address="0.0.0.0")),
        ("[::1]:80:8080", Forward(80, 8080, address="::1")),
    ],
)
def test_a_published_port_is_on_loopback_unless_an_address_is_given(text: str, forward: Forward) -> None:
    assert parse_publish(text) == parse_forward(text) == parse_forward(str(forward)) == forward


def test_a_port_of_a_network_is_what_its_words_say() -> None:
    port = parse_card("bridge=lan,vlan=10,trunk=20+30,isolated=on,mirror=off,unanswered=on").port
    assert port == {"vlan": 10, "trunk": [20, 30], "isolated": True, "unanswered": True}
    assert parse_card("bridge=lan,trunk=all").port == {"trunk": "all"}


def test_a_card_is_written_as_it_is_read() -> None:
    text = "bridge=lan,forward=2222:22,mac=00:16:3e:0:0:1".replace(":0:0:1", ":00:00:01")
    config = parse_card(f"{text},mtu=1400,rate=1MB/s,queues=2,ip=10.0.0.1 fd00::1,loss=1%,name=a,devid=3")
    assert parse_card(config.words()) == config
    config.check()


@pytest.mark.parametrize(
    "change",
    [
        {"link": "bridge=/etc"}, {"link": "floppy"}, {"mac": "x"}, {"mtu": 1}, {"layers": ("a=b",)},
        {"options": ("x=1",)}, {"name": "a,b"},
    ],
)  # fmt: skip
def test_a_card_that_no_words_describe_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        NetConfig(**change).check()  # type: ignore[arg-type]


def test_a_forward_of_localhost_is_one_of_the_loopback() -> None:
    assert parse_publish("localhost:8080:80") == parse_publish("127.0.0.1:8080:80")


@pytest.mark.parametrize("text", ["22", "2222", "a:22", "1:2:3:4", "2222:22/sctp", "70000:22", "0:22", "1.2.3:1:2", ""])
def test_what_is_no_forward_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="forward"):
        parse_publish(text)


@pytest.mark.parametrize(
    ("text", "rate"),
    [  # the examples of xl-network-configuration(5), as libxlu works them out
        ("10Mb/s", Rate(62500, 50000)),
        ("250KB/s", Rate(12500, 50000)),
        ("1MB/s@20ms", Rate(20000, 20000)),
        ("1GB/s@1s", Rate(1000000000, 1000000)),
        ("80000b/s@100us", Rate(1, 100)),
    ],
)
def test_a_rate_is_read_as_xl_reads_it(text: str, rate: Rate) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["10Mb", "10 Mb/s", "0B/s", "10mb/s", "1B/s@1us", "999999999GB/s@1s", "1MB/s@0ms"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="rate"):
        parse_rate(text)


def test_a_mac_comes_of_the_name_and_is_nobody_elses() -> None:
    mac = stable_mac("web", 0)
    assert mac == stable_mac("web", 0) == parse_mac(mac)
    assert mac.startswith("00:16:3e:")
    others = {stable_mac("web", 1), stable_mac("db", 0), stable_mac("web", 0, "tap=tap0"), mac}
    assert len(others) == 4
    assert stable_mac("web", 0, taken=[mac]) not in (mac, stable_mac("web", 1))


def test_a_card_of_a_guest_has_a_mac_and_keeps_the_one_that_was_given() -> None:
    card = NetConfig().for_guest("web", 0)
    assert card.mac == NetConfig("bridge=lan").for_guest("web", 0).mac == stable_mac("web", 0)
    assert NetConfig(mac="00:16:3e:00:00:01").for_guest("web", 1).mac == "00:16:3e:00:00:01"
    assert NetConfig("tap=tap0").for_guest("web", 0).mac != card.mac


LEADING_OUT = ("tap=tap0", "macvtap=mv0", "nic=eth0", "socket=h:1", "socket=listen:/x", "vxlan=192.0.2.1", "passt")


def test_two_hosts_guests_of_one_name_have_two_macs_on_what_leads_out_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def macs(host: str, *links: str) -> list[str | None]:
        monkeypatch.setattr("xenia.toolstack.config.net.host_id", lambda: host)
        return [NetConfig(link).for_guest("web", 0).mac for link in links]

    one, two = macs("one", *LEADING_OUT), macs("two", *LEADING_OUT)
    assert one == macs("one", *LEADING_OUT)
    assert len({*one, *two}) == 2 * len(LEADING_OUT)
    private = ("user", "bridge=lan", "network")
    assert macs("one", *private) == macs("two", *private)


def test_a_host_without_an_id_of_its_own_draws_one_and_keeps_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def read() -> str:
        host_id.host_id.cache_clear()
        return host_id.host_id()

    monkeypatch.setattr(host_id, "_MACHINE_ID", tmp_path / "machine-id")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    drawn = read()
    assert len(drawn) == 32 and read() == drawn
    assert [path.name for path in (tmp_path / "state" / "xenia").iterdir()] == ["host-id"]
    (tmp_path / "machine-id").write_text("uninitialized\n")
    assert read() == drawn
    (tmp_path / "machine-id").write_text("0123456789abcdef\n")
    assert read() == "0123456789abcdef"
    (tmp_path / "machine-id").unlink()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "machine-id-file" / "x"))
    (tmp_path / "machine-id-file").touch()  # where nothing can be kept
    assert len(read()) == 32
    host_id.host_id.cache_clear()


def test_what_two_cards_on_one_link_need_is_handed_over_to_each(monkeypatch: pytest.MonkeyPatch) -> None:
    class Opening:
        def __init__(self, card: NetConfig, for_another: bool) -> None:
            self.card = card

        def files(self) -> list[int]:
            return [os.open(os.devnull, os.O_RDONLY)]

    monkeypatch.setattr(opening, "Opening", Opening)
    monkeypatch.setattr(opening, "assemble", lambda card, files: files)
    cards = for_guest([NetConfig("bridge=lan"), NetConfig("bridge=lan")], "web")
    files: list[tuple[str, int]] = []
    for card in cards:
        with card.opened() as (_, found):
            files += [(name, os.dup(descriptor)) for name, descriptor in found]
    with handed(files):
        backings: list[object] = [card.open() for card in cards]
    assert backings == [[descriptor] for _, descriptor in files]
    for _, descriptor in files:
        os.close(descriptor)
