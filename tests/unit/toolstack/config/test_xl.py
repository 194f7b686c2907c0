"""What xl.cfg files ask for, a dozen of them as people publish them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from xenia.errors import ConfigError
from xenia.toolstack.config.domain import Action, DomainConfig
from xenia.toolstack.config.machine import MIB
from xenia.toolstack.config.xl import Asked, read, words_of
from xenia.toolstack.config.xl_keys import FOR_OTHERS, KEYS, REFUSED, WITHOUT

FILES = Path(__file__).with_name("xl")


def published(name: str) -> Asked:
    return read((FILES / f"{name}.cfg").read_text(), f"{name}.cfg")


def disks(asked: Asked) -> list[tuple[str, str | None, bool]]:
    return [(disk.stack, disk.name, disk.read_only) for disk in asked.guest.disks]


def cards(asked: Asked) -> list[str]:
    assert asked.guest.cards is not None
    return [card.words() for card in asked.guest.cards]


def test_a_debian_guest_of_xen_tools() -> None:
    asked = published("xen-tools")
    assert (asked.guest.name, asked.guest.memory, asked.guest.kernel) == (
        "db1",
        512 * MIB,
        "/boot/vmlinuz-6.1.0-18-amd64",
    )
    assert asked.guest.initrd == "/boot/initrd.img-6.1.0-18-amd64"
    assert asked.guest.append == "root=/dev/xvda2 ro elevator=noop"
    assert disks(asked) == [
        ("file:/srv/xen/domains/db1/disk.img", "xvda2", False), ("file:/srv/xen/domains/db1/swap.img", "xvda1", False),
    ]  # fmt: skip
    assert cards(asked) == ["user,mac=00:16:3e:5a:3b:1c,ip=192.168.0.41"]
    assert (asked.domain.on_poweroff, asked.domain.on_reboot) == (Action.DESTROY, Action.RESTART)
    assert asked.warnings == ()


def test_the_engine_is_asked_for_by_a_key_of_xenias_own() -> None:
    assert read("name = 'a'").domain.engine == "auto"
    asked = read("name = 'a'\nengine = 'auto'")
    assert (asked.guest.engine, asked.domain.engine, asked.domain.guest["engine"], asked.warnings) == (
        "auto", "auto", "auto", (),
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"engine.*'quick' is none of emulated, native, auto"):
        read("name = 'a'\nengine = 'quick'")


def test_the_example_that_xen_ships() -> None:
    asked = published("example-pv")
    assert asked.guest.append == "root=/dev/xvda1 "
    assert cards(asked) == ["user"]  # vif = [ '' ]
    assert disks(asked) == [("file:/dev/vg/guest-volume", "xvda", False)]
    assert asked.domain.uuid == "12345678-1234-1234-1234-123456789abc"


def test_several_disks_and_bridges() -> None:
    asked = published("bridges")
    assert cards(asked) == [
        "bridge=xenbr0,mac=00:16:3e:00:00:01", "bridge=lan,name=web.lan,mac=00:16:3e:00:00:02,rate=10Mb/s",
    ]  # fmt: skip
    assert [name for _, name, _ in disks(asked)] == ["xvda", "xvdb", "hdc"]
    assert [disk.cdrom for disk in asked.guest.disks] == [False, False, True]


def test_an_installer() -> None:
    asked = published("installer")
    assert asked.guest.append == "auto=true priority=critical url=http://192.0.2.1/preseed.cfg"
    assert (asked.domain.on_reboot, asked.domain.on_crash) == (Action.DESTROY, Action.PRESERVE)


def test_an_alpine_guest_with_a_command_line_of_its_own() -> None:
    asked = published("alpine")
    assert asked.guest.append == "console=hvc0 alpine_dev=xvdc:iso9660 modules=loop,squashfs"
    assert asked.warnings == ("alpine.cfg:5: cmdline: root= and extra= are ignored in favour of it",)


def test_weights_caps_and_affinities() -> None:
    domain = published("scheduling").domain
    assert (domain.weight, domain.cap, domain.cpus, domain.cpus_soft) == (512, 50, "0,1", "")


def test_a_generated_file_that_adds_to_its_lists() -> None:
    asked = published("generated")
    assert [name for _, name, _ in disks(asked)] == ["xvda", "xvdb"]
    assert asked.guest.append == "root=/dev/xvda ro quiet console=hvc0"


def test_what_is_meant_for_other_guests_and_tools_is_passed_over() -> None:
    assert published("leftovers").warnings == (
        "leftovers.cfg:9: vfb: no frame buffer is there yet, so the console is the only screen",
        "leftovers.cfg: unknown, and left out: autostart",
        "leftovers.cfg: of no effect here: seclabel, cpuid",
    )


def test_actions_that_xen_has_and_xenia_has_not_come_to_the_nearest() -> None:
    asked = published("actions")
    assert (asked.domain.on_poweroff, asked.domain.on_reboot, asked.domain.on_crash, asked.domain.on_watchdog) == (
        Action.PRESERVE, Action.PRESERVE, Action.COREDUMP_RESTART, Action.COREDUMP_DESTROY,
    )  # fmt: skip
    (warning,) = asked.warnings
    assert "4: on_reboot: 'rename-restart' is preserve here" in warning


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("hvm", "hvm.cfg:2: builder: 'hvm' needs a processor's virtualisation"),
        ("pygrub", "pygrub.cfg:3: bootloader: 'pygrub' would be run on the host: name the guest's kernel="),
        ("pci", "pci.cfg:4: pci: no devices of the host's are passed through here"),
    ],
)
def test_what_cannot_be_had_is_one_clear_line(name: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        published(name)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("memory = 128", "Domain name must be specified"),
        ("name = 'x'\nmemory = 'much'", "cfg:2: memory: 'much' is not a valid number"),
        ("name = 'x'\nmemory = [1]", "cfg:2: memory: is a single value"),
        ("name = 'x'\ndisk = 'a.img'", "cfg:2: disk: is a list"),
        ("name = 'x'\ndisk = [\n[1]]", "cfg:2: disk: is a list of strings"),
        ("name = 'x'\n\nvif = [\n'bridge=a',\n'colour=red']", "cfg:5: in the network 'colour=red'"),
        ("name = 'x'\nmemory=256\nmaxmem = 128", "cfg:3: maxmem: 128 is below memory, which is 256"),
        ("name = 'x'\non_crash = 'cry'", "cfg:2: on_crash: Unknown action 'cry'"),
        ("name = 'x'\nuuid = 'one'", "cfg:2: uuid: Failed to parse UUID: one"),
        ("name = 'x'\ntype = 'pvh'", "cfg:2: type: 'pvh' needs"),
        ("name = 'a/b'", "name 'a/b': use 1 to 64 letters"),
        ("name = 'x'\nmemory = 0", "cfg:2: memory: 0 MiB are no memory"),
        ("name = 'x'\nmemory = 1", "a guest needs 4M at the very least"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        read(text, "cfg")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["memory=512"], "memory=512\n"),
        (["memory=0x200"], "memory=0x200\n"),
        (["name=web"], 'name="web"\n'),  # whose quotes a shell has taken
        (["name='web'"], "name='web'\n"),
        (['extra="a b"'], 'extra="a b"\n'),
        (['extra=say "x"'], 'extra="say \\"x\\""\n'),
        (["disk=['a,b']", "memory = 7"], "disk=['a,b']\nmemory=7\n"),
    ],
)
def test_words_of_a_command_line_are_lines_of_a_file(words: list[str], text: str) -> None:
    assert words_of(words) == text


def test_a_word_of_the_command_line_takes_the_place_of_the_files() -> None:
    asked = read("name = 'file'\nmemory = 128\n" + words_of(["memory=64", "name=word"]))
    assert (asked.guest.name, asked.guest.memory) == ("word", 64 * MIB)


def test_the_daemon_reads_what_it_is_told() -> None:
    domain = published("scheduling").domain
    assert DomainConfig.read(domain.as_dict()) == domain
    for wrong in ({}, {"name": "x", "memory": 1, "on_crash": "cry"}, {**domain.as_dict(), "colour": "red"}):
        with pytest.raises(ConfigError, match="describes no domain"):
            DomainConfig.read(wrong)


def test_the_manual_says_of_each_key_what_becomes_of_it() -> None:
    table = (Path(__file__).parents[4] / "docs/xl.md").read_text().partition("## Configuration files")[2]
    told: dict[str, set[str]] = {}
    for keys, what in re.findall(r"^\| (.*?) \| (.*) \|$", table, re.M):
        told.setdefault(what.partition(",")[0], set()).update(re.findall(r"`([a-z0-9_]+)[=`]", keys))
    assert told.pop("refused") == {*REFUSED, "bootloader", "type"}
    assert told.pop("left out") == set(WITHOUT)
    assert told.pop("nothing") <= FOR_OTHERS
    done = set().union(*told.values())
    assert done >= KEYS - {"bootloader", "bootloader_args", "on_soft_reset"}
    assert done <= KEYS
