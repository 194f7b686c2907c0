"""A new kind of devices is a module and a row: nothing else has to know of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.unit.toolstack.devices.lamp import ROW, Lamp, LampConfig
from tests.unit.toolstack.guest.test_guest import LIMIT, boot, ignore, reboot
from xenia.abi.xenbus import XenbusState
from xenia.errors import ConfigError
from xenia.guests import embedded
from xenia.testing.persist import through_json
from xenia.toolstack.config.disk import parse_disk
from xenia.toolstack.config.machine import MIB, MachineConfig
from xenia.toolstack.control.remote import handlers
from xenia.toolstack.devices.kinds import KINDS, read_config
from xenia.toolstack.guest.build import Build, Rebuild
from xenia.toolstack.guest.guest import Guest
from xenia.toolstack.guest.verbs import AttachDevice, Destroy, DetachDevice, Statistics

pytestmark = pytest.mark.skipif(embedded() is None, reason="the built-in guest is not built: no C compiler for x86-64")

S = XenbusState


@pytest.fixture
def guest(monkeypatch: pytest.MonkeyPatch) -> Iterator[Guest]:
    monkeypatch.setitem(KINDS, "lamp", ROW)
    config = MachineConfig(
        kernel="demo", memory=16 * MIB, disks=(parse_disk("memory:1M"),), devices=(LampConfig("red"),)
    )
    guest = Guest(config)
    guest.do(Build(boot(), ignore))
    yield guest
    guest.do(Destroy())


def lamps(guest: Guest) -> list[tuple[str, str]]:
    """As a list of devices has them: name and colour."""
    statistics = json.loads(json.dumps(guest.do(Statistics())))
    return [(lamp["name"], lamp["colour"]) for lamp in statistics["lamps"]]


def test_it_is_plugged_in_and_listed_beside_the_disks(guest: Guest) -> None:
    assert guest.do(AttachDevice(LampConfig("blue"))) == "lamp1"
    assert lamps(guest) == [("lamp0", "red"), ("lamp1", "blue")]
    assert [disk["name"] for disk in guest.do(Statistics())["disks"]] == ["xvda"]
    assert [device.kind for device in guest.require_domain().devices] == ["disk", "lamp", "lamp"]


def test_its_frontend_meets_it_on_the_bus(guest: Guest) -> None:
    lamp = guest.device("lamp", "lamp0")
    assert isinstance(lamp, Lamp) and guest.machine is not None
    assert lamp.wait(S.INIT_WAIT, LIMIT)
    store = guest.machine.xenstore
    assert store.read(f"{lamp.address.backend_path}/colour") == "red"
    store.write(f"{lamp.address.frontend_path}/state", str(int(S.CONNECTED)))
    assert lamp.wait(S.CONNECTED, LIMIT) and lamp.statistics["lit"] == 1
    with pytest.raises(ConfigError, match=r"the guest has not let go of lamp0 yet: it is asked to \(--force takes"):
        guest.do(DetachDevice("lamp", "lamp0", 0))
    store.write(f"{lamp.address.frontend_path}/state", str(int(S.CLOSED)))
    assert lamp.unplug(LIMIT)
    assert "lamps" not in guest.do(Statistics())


def test_it_is_asked_for_over_the_control_socket_in_words_of_its_own(guest: Guest) -> None:
    handle = handlers(guest)
    asked = AttachDevice(ROW.functions.parse("colour=green"))
    assert asked.word == "lamp-attach"
    assert handle[asked.word](through_words(asked)) == "lamp1"
    assert lamps(guest)[1] == ("lamp1", "green")
    gone = DetachDevice("lamp", "lamp1")
    assert gone.word == "lamp-detach"
    assert handle[gone.word](through_words(gone)) is None
    assert lamps(guest) == [("lamp0", "red")]
    with pytest.raises(ConfigError, match=r"there is no lamp lamp1 \(lamp0\)"):
        handle[gone.word](through_words(gone))
    with pytest.raises(ConfigError, match="the request describes no lamp"):
        handle[asked.word]({"lamp": {"taste": "sweet"}})


def through_words(verb: AttachDevice | DetachDevice) -> dict[str, object]:
    request: dict[str, object] = json.loads(json.dumps(verb.request()))
    return request


def test_it_goes_on_in_the_next_life_but_for_those_that_were_taken_away(guest: Guest) -> None:
    guest.do(AttachDevice(LampConfig("blue")))
    guest.do(DetachDevice("lamp", "lamp0", LIMIT))
    before = guest.require_domain()
    reboot(guest)
    guest.do(Rebuild(boot(), ignore))
    assert lamps(guest) == [("lamp1", "blue")]
    lamp = guest.device("lamp", "lamp1")
    assert lamp.address.domid != before.domid and lamp.wait(S.INIT_WAIT, LIMIT)


def test_its_state_is_all_that_it_needs_to_go_on_in_another_domain(guest: Guest) -> None:
    lamp = guest.device("lamp", "lamp0")
    assert isinstance(lamp, Lamp) and lamp.wait(S.INIT_WAIT, LIMIT)
    domain = guest.require_domain()
    state = through_json(lamp.suspend())
    assert (state.kind, state.config, state.attachment.state) == ("lamp", LampConfig("red", "lamp0").as_dict(), 2)
    again = domain.resume_device(state, lamp.behind)
    assert isinstance(again, Lamp) and again.state is S.INIT_WAIT and not again.behind.closed


def test_a_kind_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match=re.escape(f"there is no kind of devices 'lamp' ({', '.join(KINDS)})")):
        read_config("lamp", {})
