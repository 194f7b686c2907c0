from pathlib import Path

import pytest

from xenia.errors import ConfigError
from xenia.net.layers.rules import ARP, Rule, Rules
from xenia.net.layers.words import (
    CaptureSpec,
    FirewallSpec,
    GuardSpec,
    NetemSpec,
    Shape,
    files_of,
    parse_layers,
    words_of,
)  # fmt: skip


def test_words_that_stand_together_are_one_layer() -> None:
    words = (("delay", "20ms"), ("jitter", "5ms:normal"), ("loss", "1%"), ("limit", "10Mb/s"), ("seed", "7"))
    shape = Shape(delay=20_000_000, jitter=5_000_000, normal=True, loss=0.01, rate=10_000_000)
    assert parse_layers(words) == (NetemSpec(shape, shape, 7, words),)


def test_layers_are_in_the_order_of_their_words() -> None:
    words = (("delay", "1ms"), ("capture", "a.pcapng"), ("loss", "0.5%:run=4"), ("loss", "1%"))
    first, second, third, fourth = parse_layers(words)
    assert isinstance(first, NetemSpec) and first.inward == Shape(delay=1_000_000)
    assert second == CaptureSpec("a.pcapng", words=(("capture", "a.pcapng"),))
    assert isinstance(third, NetemSpec) and third.outward == Shape(loss=0.005, loss_run=4.0)
    assert isinstance(fourth, NetemSpec) and fourth.outward == Shape(loss=0.01)


def test_each_direction_has_its_own_words() -> None:
    (spec,) = parse_layers([("delay", "in:20ms"), ("delay", "out:5ms"), ("limit", "out:1MB/s:burst=64K:queue=1M")])
    assert isinstance(spec, NetemSpec)
    assert spec.inward == Shape(delay=20_000_000)
    assert spec.outward == Shape(delay=5_000_000, rate=8_000_000, burst=65536, queue=1 << 20)


def test_a_capture_says_what_it_takes() -> None:
    (spec,) = parse_layers([("capture", r"C\:x.pcapng:snaplen=96:limit=100M")])
    assert isinstance(spec, CaptureSpec)
    assert (spec.file, spec.snaplen, spec.limit) == ("C:x.pcapng", 96, 100 << 20)
    assert files_of((spec,)) == ("C:x.pcapng",)


def test_a_firewall_is_rules() -> None:
    text = "in:allow:tcp:22; in allow udp 8000-8080 from=10.0.0.0/8;any:deny:arp:from=[52:54:00:12:34:56];in:deny"
    (spec,) = parse_layers([("firewall", text)])
    assert isinstance(spec, FirewallSpec)
    assert spec.rules == Rules(
        (
            Rule("in", True, 6, (22, 22)),
            Rule("in", True, 17, (8000, 8080), source="10.0.0.0/8"),
            Rule("any", False, ARP, source="52:54:00:12:34:56"),
            Rule("in", False),
        )
    )


def test_a_firewall_may_be_a_file_which_is_read_once(tmp_path: Path) -> None:
    file = tmp_path / "rules"
    file.write_text("# who may come\nstateless\n\nin allow tcp 443 to=[fd00::/8] sport=1024-65535   # and from where\n")
    specs = parse_layers([("firewall", f"@{file}")])
    file.unlink()
    assert isinstance(specs[0], FirewallSpec)
    rule = Rule("in", True, 6, (443, 443), (1024, 65535), destination="fd00::/8")
    assert specs[0].rules == Rules((rule,), stateful=False)
    assert parse_layers(words_of(specs)) == specs


def test_words_are_what_specs_were_made_of() -> None:
    words = (("spoof", "allow"), ("delay", "out:1ms"), ("reorder", "out:5%"), ("duplicate", "1%"))
    specs = parse_layers(words)
    assert specs[0] == GuardSpec(False, (("spoof", "allow"),))
    assert words_of(specs) == words


@pytest.mark.parametrize(
    ("word", "value", "complaint"),
    [
        ("dealy", "20ms", "names no layer"),
        ("delay", "20", "is no time"),
        ("delay", "61s", "is no time"),
        ("delay", "20ms:5ms", "has no place"),
        ("jitter", "5ms", "wants a delay"),
        ("loss", "101%", "no share"),
        ("loss", "1", "no share"),
        ("loss", "90%:run=2", "in runs of 2"),
        ("loss", "1%:run=0", "in runs of 0"),
        ("reorder", "5%", "wants a delay"),
        ("seed", "1", "stands with"),
        ("seed", "one", "is no number"),
        ("limit", "10MB", "is no rate"),
        ("limit", "1b/s", "is no rate"),
        ("limit", "1Mb/s:queue=1", "a queue from"),
        ("spoof", "yes", "allow or deny"),
        ("capture", "", "into which file"),
        ("capture", "a:snaplen=1", "snaplen is from"),
        ("capture", "a:length=1", "has no place"),
        ("firewall", "", "no rule in it"),
        ("firewall", "@/nowhere/at/all", "cannot read the rules: No such file"),
        ("firewall", "in", "it begins with"),
        ("firewall", "in:reject", "it begins with"),
        ("firewall", "in:allow:tcpp", "is no protocol"),
        ("firewall", "in:allow:tcp:70000", "is no port"),
        ("firewall", "in:allow:tcp:9-1", "is no port"),
        ("firewall", "in:allow:icmp:1", "have ports"),
        ("firewall", "in:allow:from=example.org", "is no address"),
        ("firewall", "in:allow:from=fd00::1", "stand in brackets"),
        ("firewall", "in:deny:tcp:22[", "a bracket in it is not closed"),
        ("firewall", "in:allow:from=10.0.0.1:to=[fd00::1]", "from IPv4 to IPv6"),
        ("firewall", "in:allow:mac=1", "not one of"),
        ("firewall", "in:allow:tcp:1:2", "has no place"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(word: str, value: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        parse_layers([(word, value)])
    assert "\n" not in str(caught.value)
    assert value in str(caught.value) or word in str(caught.value)


def test_what_is_wrong_is_said_once() -> None:
    for word, value in (("firewall", "in:reject"), ("delay", "xx"), ("loss", "x")):
        with pytest.raises(ConfigError) as caught:
            parse_layers([(word, value)])
        assert str(caught.value).count(value) == 1


def test_jitter_is_not_more_than_the_delay_and_spoof_is_said_once() -> None:
    with pytest.raises(ConfigError, match="more than the delay"):
        parse_layers([("delay", "1ms"), ("jitter", "2ms")])
    with pytest.raises(ConfigError, match="given twice"):
        parse_layers([("spoof", "allow"), ("delay", "1ms"), ("spoof", "deny")])
