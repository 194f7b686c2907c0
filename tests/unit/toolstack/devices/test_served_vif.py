"""The toolstack's part of a network card that another domain serves."""

from __future__ import annotations

import pytest

from xenia.errors import ConfigError
from xenia.guests import embedded
from xenia.toolstack.config.machine import MIB
from xenia.toolstack.devices.kinds import read_config
from xenia.toolstack.devices.served_vif import ServedVifConfig
from xenia.toolstack.machine.machine import Machine

TIMEOUT = 30


@pytest.mark.skipif(embedded() is None, reason="the built-in guest is not built: no C compiler for x86-64")
def test_both_ends_find_what_xl_writes_and_all_is_gone_with_the_driver_domain() -> None:
    image = embedded()
    assert image is not None
    with Machine(Machine.memory_for(*[16 * MIB] * 2)) as machine:
        driver = machine.create_domain(image, name="driver", memory=16 * MIB, driver_domain=True)
        guest = machine.create_domain(image, name="guest", memory=16 * MIB)
        with pytest.raises(ConfigError, match="serves no disks, nor cards"):
            driver.attach_vif_of(guest)
        vif = guest.attach_vif_of(driver, mac="00-16-3E-00-00-01", bridge="br0")
        scripted = guest.attach_vif_of(driver, script="vif-bridge")
        keys = machine.xenstore
        front, back = vif.address.frontend_path, vif.address.backend_path
        assert (front, back) == ("/local/domain/2/device/vif/0", "/local/domain/1/backend/vif/2/0")
        frontend = {name: keys.read(f"{front}/{name}") for name in keys.directory(front)}
        assert frontend == {
            "backend": back, "backend-id": "1", "handle": "0", "mac": "00:16:3e:00:00:01", "state": "1",
        }  # fmt: skip
        backend = {name: keys.read(f"{back}/{name}") for name in keys.directory(back)}
        assert backend == {
            "bridge": "br0", "frontend": front, "frontend-id": "2", "handle": "0", "hotplug-status": "connected",
            "mac": "00:16:3e:00:00:01", "online": "1", "script": "", "state": "1", "type": "vif",
        }  # fmt: skip
        told = set(keys.directory(scripted.address.backend_path))
        assert "hotplug-status" not in told and scripted.interface == "vif2.1"
        with pytest.raises(ConfigError, match="there is a network card 1 already"):
            guest.attach_vif_of(driver, number=1)
        with pytest.raises(ConfigError, match="the MAC 00:16:3e:00:00:01 already"):
            guest.attach_vif_of(driver, mac="00:16:3e:00:00:01")
        driver.destroy()
        assert vif.unplug(TIMEOUT) and scripted.removed and not keys.exists(front)


def test_a_request_for_one_is_read_again() -> None:
    config = ServedVifConfig(3, 1, "00:16:3e:00:00:01", "br0", None)
    assert read_config("served-vif", config.as_dict()) == config
    with pytest.raises(ConfigError, match="describes no network card"):
        read_config("served-vif", {"driver": "x"})
