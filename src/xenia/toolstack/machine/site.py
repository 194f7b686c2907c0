"""A domain as its devices see it (devices/device.py's Site and Driver): what is plugged in, and how."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from xenia.errors import ConfigError
from xenia.foreign.foreign import Foreign
from xenia.hypervisor.domain import DomainHandle
from xenia.hypervisor.foreign import DomainForeign
from xenia.storage.layer import Layer
from xenia.toolstack.config import values
from xenia.toolstack.config.device import Backing, DeviceConfig
from xenia.toolstack.config.disk import DiskConfig, parse_disk
from xenia.toolstack.config.values import Given, given
from xenia.toolstack.devices.device import Device, DeviceState, Served
from xenia.toolstack.devices.disk import Disk
from xenia.toolstack.devices.kinds import KINDS, listed
from xenia.toolstack.devices.served_disk import ServedDisk, ServedDiskConfig
from xenia.toolstack.devices.served_vif import ServedVif, ServedVifConfig
from xenia.toolstack.devices.vif import NetworkCard, card_config, place
from xenia.toolstack.machine.house import House
from xenia.xenstore.client import Client

if TYPE_CHECKING:  # loaded by who makes one
    from xenia.toolstack.networks.network import Network


DISK_OPTIONS: Final[dict[str, values.Kind]] = {
    "name": values.short, "read_only": values.truth, "cdrom": values.truth, "sector_size": values.NUMBER,
    "persistent": values.truth, "discard": values.truth,
}  # fmt: skip
CARD_OPTIONS: Final[dict[str, values.Kind]] = {
    "name": values.short, "mac": values.short, "mtu": values.NUMBER, "rate": values.short, "queues": values.NUMBER,
    "layers": values.WORDS, "port": values.WORDS,
}  # fmt: skip
_VIF_NUMBER: Final = values.whole(0, 0xFFFFFF)


def _network(name: str, value: Any) -> Any:
    from xenia.toolstack.networks.network import Network

    return values.either(str, values.instance(Network, "words of a network, or one of this machine"))(name, value)


def _domain(name: str, value: Any) -> Any:
    return values.instance(DomainSite, "a domain")(name, value)


class DomainSite(Given, ABC):
    """A domain, as far as devices are concerned."""

    def __init__(self, house: House, handle: DomainHandle, name: str, driver_domain: bool) -> None:
        self.name = name
        self.driver_domain = driver_domain
        self.handle = handle
        self.devices: list[Device] = []
        self._house = house
        self._keys = house.store.client()
        self._foreign = DomainForeign(handle)
        self._serves: list[Served] = []  # to others

    @property
    def domid(self) -> int:
        """The domain's number."""
        return self.handle.domid

    @property
    def neighbours(self) -> list[Device]:
        """What is plugged into the other domains of the machine."""
        return [device for other in self._house.domains if other is not self for device in other.devices]

    @property
    def foreign(self) -> Foreign:
        """The domain as its backends see it: what it grants to domain 0, and the ports it opens for it."""
        return self._foreign

    @property
    @abstractmethod
    def destroyed(self) -> bool:
        """Whether `destroy` was called."""

    @property
    @abstractmethod
    def runs(self) -> bool:
        """Whether it has not ended, nor was destroyed."""

    @given(config=values.instance(DeviceConfig, "what describes a device, as parse_disk answers"))
    def attach(self, config: DeviceConfig, behind: Backing | None = None) -> Device:
        """Plug in a device of any kind, before the guest starts or while it runs.

        behind      what it stands on, as `config.open` gives it, which is closed with the device, and stays open where
                    this fails.  None: it is opened here

        ConfigError when that cannot be opened, or its name is taken.
        """
        if behind is None:
            config = config.among(self._about)
        opened = config.open() if behind is None else behind
        try:
            device = KINDS[config.kind].functions.plug(self, config, opened)
        except BaseException:
            if behind is None:
                with suppress(OSError, ConfigError):  # nothing was written
                    opened.close()
            raise
        self.devices.append(device)
        return device

    def _about(self) -> dict[str, Any]:
        """What a device's configuration may depend on (DeviceConfig.among)."""
        macs = [device.mac for device in self.neighbours if isinstance(device, NetworkCard) and not device.removed]
        return {"name": self.name, "macs": macs, **listed(self.devices)}

    def resume_device(self, state: DeviceState, behind: Backing) -> Device:
        """Go on with a device that another domain had (`Device.suspend`), on what it stood on, which stays the caller's
        where this fails.  Its keys are in the store already.  ConfigError."""
        device = KINDS[state.kind].functions.resume(self, state, behind)
        self.devices.append(device)
        return device

    @given(layer=values.either(Layer, values.text), **DISK_OPTIONS)
    def attach_disk(
        self,
        layer: Layer | str,
        *,
        name: str | None = None,
        read_only: bool | None = None,
        cdrom: bool | None = None,
        sector_size: int | None = None,
        persistent: bool | None = None,
        discard: bool | None = None,
    ) -> Disk:
        """Plug in a disk, before the guest starts or while it runs.

        layer       the words of `xenia run --disk`, "file:data.img,cow" or "data.img,ro"; or what holds its bytes: that
                    is closed with the domain, and stays open where this fails
        name        xvda, hdc, ... (xen-vbd-interface(7)); None: the first xvd that is free
        persistent  let the guest copy through pages that stay granted, which it has to where it serves the disk to
                    another domain: it cannot grant what was granted to it.  None: a driver domain may

        The other options are VbdConfig's; those that are given stand above the words.  ConfigError when the words make
        no sense or what they name cannot be opened, there is no such name, or it is taken.
        """
        options: dict[str, Any] = {"name": name, "read_only": read_only, "cdrom": cdrom, "sector_size": sector_size,
                   "persistent": persistent, "discard": discard}  # fmt: skip
        described = parse_disk(layer) if isinstance(layer, str) else DiskConfig("")  # no words say what a layer is
        config = replace(described, **{option: value for option, value in options.items() if value is not None})
        disk = self.attach(config, layer if isinstance(layer, Layer) else None)
        assert isinstance(disk, Disk)
        return disk

    @given(network=_network, **CARD_OPTIONS)
    def attach_vif(
        self,
        network: Network | str = "user",
        *,
        name: str | None = None,
        mac: str | None = None,
        mtu: int | None = None,
        rate: str | None = None,
        queues: int | None = None,
        layers: Sequence[str] = (),
        port: Sequence[str] = (),
    ) -> NetworkCard:
        """Plug in a network card, before the guest starts or while it runs.

        network   one that `Machine.create_network` made, or what `xenia run --net` takes: "user", a network of its own;
                  "bridge=lan", one that `xenia net create` made; "tap=tap0" and others
        name      what it is called: vif0, vif1, ... unless told
        mac       its address; None: one that comes of the guest's name, and is nobody else's
        mtu       bytes of the largest datagram
        rate      what it may send at the most, in xl's words: "10Mb/s"
        queues    how many the guest may use
        layers    what its frames pass on the way, the card's end first: "delay=20ms", "loss=1%", "spoof=allow"
        port      what its port of that network's switch is: "vlan=10", "trunk=10+20", "isolated=on", "mirror=on",
                  "unanswered=on"

        ConfigError where it cannot be plugged in there, or its name or MAC is taken.
        """
        config = card_config(network, name=name, mac=mac, mtu=mtu, rate=rate, queues=queues, layers=layers, port=port)
        if isinstance(network, str):
            card = self.attach(config)
        else:
            config = place(self, config.among(self._about))
            cable = network.cable(config)
            try:
                card = self.attach(config, cable)
            except BaseException:
                cable.close()
                raise
        assert isinstance(card, NetworkCard)
        return card

    @property
    def cards(self) -> list[NetworkCard]:
        """Of the devices, the network cards."""
        return [device for device in self.devices if isinstance(device, NetworkCard)]

    @given(
        driver=_domain, params=values.text, name=values.text, read_only=values.truth, cdrom=values.truth,
        number=values.text, script=values.text,
    )  # fmt: skip
    def attach_disk_of(
        self,
        driver: DomainSite,
        params: str,
        *,
        name: str | None = None,
        read_only: bool = False,
        cdrom: bool = False,
        number: str | None = None,
        script: str | None = None,
    ) -> ServedDisk:
        """Plug in a disk that another domain serves: a block device that is there already, in a domain with Linux's
        xen-blkback.

        params      the path of the device's node in the driver domain
        name        xvda, hdc, ... (xen-vbd-interface(7)); None: the first xvd that is free
        number      the device's number there as MAJOR:MINOR, where it does not follow from the node's name
        script      the driver domain runs this hotplug script, which finds the number; nothing is done here

        ConfigError when `driver` is no driver domain of this machine, the number is not known, there is no such name,
        or it is taken.
        """
        self._check_driver(driver)
        disk = self.attach(ServedDiskConfig(driver.domid, params, name, read_only, cdrom, number, script))
        assert isinstance(disk, ServedDisk)
        return disk

    @given(driver=_domain, mac=values.text, bridge=values.text, number=_VIF_NUMBER, script=values.text)
    def attach_vif_of(
        self,
        driver: DomainSite,
        *,
        mac: str | None = None,
        bridge: str = "",
        number: int | None = None,
        script: str | None = None,
    ) -> ServedVif:
        """Plug in a network card that another domain serves, with Linux's xen-netback: there it is an interface
        `vifDOMID.NUMBER`, which somebody there has to bring up.

        mac         its address; None: one that comes of the guest's name
        bridge      what the driver domain's hotplug script is told to put it into
        number      the virtual device; None: the first that is free
        script      the driver domain runs this hotplug script, and the card comes up when that says so

        ConfigError when `driver` is no driver domain of this machine, or number or MAC are taken.
        """
        self._check_driver(driver)
        vif = self.attach(ServedVifConfig(driver.domid, number, mac, bridge, script))
        assert isinstance(vif, ServedVif)
        return vif

    @property
    def disks(self) -> list[Disk]:
        """Of the devices, the disks that we serve."""
        return [device for device in self.devices if isinstance(device, Disk)]

    @property
    def served_disks(self) -> list[ServedDisk]:
        """Of the devices, the disks that other domains serve."""
        return [device for device in self.devices if isinstance(device, ServedDisk)]

    def foreign_to(self, driver: int) -> Foreign:
        """The domain as a backend in another one sees it."""
        return DomainForeign(self.handle, driver)

    def store_client(self) -> Client:
        """The domain's client of the machine's xenstore, with the rights of domain 0.  It is closed with the domain."""
        return self._keys

    def driver(self, domid: int) -> DomainSite:
        """The driver domain of that number, which may serve this one.  ConfigError where there is none."""
        for other in self._house.domains:
            if other.domid == domid and not other.destroyed:
                self._check_driver(other)
                return other
        raise ConfigError(f"there is no domain {domid} that could serve anything")

    def _check_driver(self, driver: DomainSite) -> None:
        if not driver.driver_domain or driver is self or driver._house is not self._house:
            raise ConfigError(
                f"'{driver.name}' serves no disks, nor cards: create it in this machine, with driver_domain=True"
            )
        if driver.destroyed:
            raise ConfigError(f"the driver domain '{driver.name}' is gone")

    def serve(self, device: Served) -> None:
        """It serves this device to another domain, from now on."""
        self._serves = [*(served for served in self._serves if not served.removed), device]

    @property
    def serves(self) -> bool:
        """Whether it serves devices to others."""
        return any(not served.removed for served in self._serves)
