"""What a booted guest is configured as."""

from pathlib import Path

import pytest

from xenia.errors import ConfigError
from xenia.toolstack.config.machine import MachineConfig
from xenia.toolstack.scripting.boot import boot, machine_config


def test_what_is_left_out_is_as_for_the_command_line() -> None:
    assert machine_config({}) == MachineConfig(cards=None)
    assert machine_config({"kernel": "debian", "memory": None}) == MachineConfig(cards=None)


def test_options_are_read_as_the_command_line_reads_them() -> None:
    config = machine_config({
        "kernel": Path("vmlinuz"), "initrd": Path("initrd"), "memory": "96M", "max_memory": 1 << 28, "vcpus": 2,
        "root": "root.img", "disks": ["data.img,ro"], "append": "quiet", "name": "web", "clock": "warped",
        "net": ["user", "bridge=lan"], "publish": "8080:80",
    })  # fmt: skip
    assert (config.kernel, config.initrd, config.memory, config.max_memory) == ("vmlinuz", "initrd", 96 << 20, 1 << 28)
    assert (config.vcpus, config.clock, config.name) == (2, "warped", "web")
    assert [(disk.stack, disk.name, disk.read_only) for disk in config.disks] == [
        ("root.img", "xvda", False), ("data.img", None, True)
    ]  # fmt: skip
    assert config.append == "root=/dev/xvda quiet"
    assert config.cards is not None
    assert [card.link for card in config.cards] == ["user", "bridge=lan"]
    assert "8080" in str(config.cards[0].options)


def test_a_flavour_has_a_name_and_no_network_is_none() -> None:
    config = machine_config({"kernel": "debian-cloud", "net": "none", "env": {"A": "b"}, "cwd": "/tmp"})
    assert (config.flavour, config.cards, config.environment, config.directory) == (
        "cloud-amd64", (), {"A": "b"}, "/tmp"
    )  # fmt: skip


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(TypeError, match="no option 'ram'"):
        machine_config({"ram": 1})  # type: ignore[typeddict-unknown-key]
    with pytest.raises(ConfigError, match="is not a size"):
        machine_config({"memory": "lots"})
    with pytest.raises(ConfigError, match="forwards ports"):
        machine_config({"net": "none", "publish": "1:1"})
    with pytest.raises(ConfigError, match=r"kernel .* names no file"):
        machine_config({"kernel": ""})


def test_what_is_refused_has_the_options_names() -> None:
    with pytest.raises(ConfigError, match=r"\(max_memory\).*\(memory\)"):
        boot(max_memory="1M")
