"""Network cards of a guest: a cable to a network, and the device on the bus that serves it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from xenia.backends.vif.config import VifConfig
from xenia.backends.vif.device import Vif
from xenia.backends.vif.persist import VifState
from xenia.errors import ConfigError
from xenia.foreign.foreign import Foreign
from xenia.persist import misfit
from xenia.toolstack.config.mac import stable_mac
from xenia.toolstack.config.net import MOST_CARDS, NetConfig, parse_card
from xenia.toolstack.config.rate import parse_rate
from xenia.toolstack.devices.attached import AttachedDevice, published
from xenia.toolstack.devices.device import DeviceState, Site
from xenia.toolstack.networks.cable import Cable
from xenia.toolstack.releases import Releases
from xenia.xenbus.attachment import Attachment
from xenia.xenbus.directories import Address
from xenia.xenbus.persist import AttachmentState
from xenia.xenstore.client import Client

_VIF = re.compile(r"vif([0-9]+)\.([0-9]+)")
# What a frontend publishes of itself, by the keys that it may have for it.
_PUBLISHED = {
    "tx_ring_ref": ("tx-ring-ref", "queue-0/tx-ring-ref"),
    "rx_ring_ref": ("rx-ring-ref", "queue-0/rx-ring-ref"),
    "event_channel": (
        "event-channel",
        "event-channel-tx",
        "queue-0/event-channel",
        "queue-0/event-channel-tx",
    ),
}
parse = parse_card


def read(values: Mapping[str, Any]) -> NetConfig:
    """See kinds.Module."""
    lists = {name: tuple(values[name]) for name in ("options", "layers", "ip") if isinstance(values.get(name), list)}
    config = NetConfig(**{**values, **lists})
    if misfit(config) is None:
        config.check()
    return config


def place(site: Site, config: NetConfig) -> NetConfig:
    """The card with a number, a name and a MAC that no other has.  ConfigError where those that were asked for are
    taken."""
    here = [device for device in site.devices if isinstance(device, NetworkCard) and not device.removed]
    if len(here) >= MOST_CARDS:
        raise ConfigError(f"a guest has {MOST_CARDS} network cards at the most")
    numbers = {card.address.device for card in here}
    number = config.number if config.number is not None else next(n for n in range(128) if n not in numbers)
    name = config.name if config.name is not None else f"vif{number}"
    if number in numbers or any(card.is_called(name) for card in here):
        raise ConfigError(f"there is a network card {name if number not in numbers else number} already")
    others = [device for device in site.neighbours if isinstance(device, NetworkCard) and not device.removed]
    taken = {card.mac for card in (*here, *others)}
    mac = config.mac if config.mac is not None else stable_mac(site.name, number, taken=taken)
    if mac in taken:
        raise ConfigError(f"there is a network card with the MAC {mac} already")
    return replace(config, name=name, number=number, mac=mac)


def card_config(network: object, *, layers: Sequence[str] = (), port: Sequence[str] = (), **card: Any) -> NetConfig:
    """A card as a program asks for it: on a network, in words or one that it made, with words for the card by name.
    ConfigError."""
    words = parse_card(network if isinstance(network, str) else "bridge=network")
    said = {name: value for name, value in card.items() if value is not None}
    words = replace(words, **said, options=(*words.options, *port), layers=(*words.layers, *layers))
    config = parse_card(words.words())
    return config if isinstance(network, str) else replace(config, link="network")


def plug(site: Site, config: NetConfig, cable: Cable) -> NetworkCard:
    """See kinds.Module."""
    config = place(site, config)
    vif = Vif(cable.port, _vif_config(config), device=_number(config))
    return NetworkCard(site.store_client(), site.foreign, config, cable, vif)


def resume(site: Site, state: DeviceState, cable: Cable) -> NetworkCard:
    """See kinds.Module."""
    vif = Vif.restore(cable.port, state.backend_of(VifState))
    config = read(state.config)
    return NetworkCard(site.store_client(), site.foreign, config, cable, vif, resumes=state.attachment)


def _vif_config(config: NetConfig) -> VifConfig:
    assert config.mac is not None
    said: dict[str, int] = {}
    if config.mtu is not None:
        said["mtu"] = config.mtu
    if config.queues is not None:
        said["queues"] = config.queues
    if config.rate is not None:
        rate = parse_rate(config.rate)
        said |= {"credit": rate.bytes, "period": rate.microseconds}
    return VifConfig(mac=config.mac, **said)


def _number(config: NetConfig) -> int:
    assert config.number is not None
    return config.number


class NetworkCard(AttachedDevice):
    """A network card that is plugged into a domain, with the cable that is its own to close."""

    config: NetConfig

    def __init__(
        self,
        client: Client,
        foreign: Foreign,
        config: NetConfig,
        cable: Cable,
        vif: Vif,
        *,
        resumes: AttachmentState | None = None,
        patience: float = 5.0,
    ) -> None:
        """Plug in `vif`, which is at the cable's port.

        resumes    it is plugged in, as a card that was suspended left it
        patience   seconds that its backend may take to let go of a guest that is gone
        """
        super().__init__(vif)
        self.config = config
        self.cable = self.behind = cable
        self.address = Address("vif", foreign.domid, _number(config))
        self._vif = vif
        self._client = client
        self._frames = foreign.frames
        self._patience = patience
        attachment = Attachment(
            client, self.address, foreign, vif, vif.frontend_keys(), {**vif.backend_keys(), **self._keys()},
            resumes=resumes,
        )  # fmt: skip
        self.attached(attachment)
        vif.on_change(attachment.update, attachment.shut)
        try:
            cable.begin(vif.set_carrier)
            if cable.errand is not None:
                foreign.frames.lend(cable.errand)
        except BaseException:
            self.remove(keep=True)
            raise

    @property
    def mac(self) -> str:
        """Its address."""
        assert self.config.mac is not None
        return self.config.mac

    @property
    def statistics(self) -> dict[str, Any]:
        """What it (VifStats) and the way behind it have done, as plain data."""
        return {
            "name": self.name,
            "number": self.address.device,
            "mac": self.mac,
            "link": self.config.link,
            "network": self.config.network,
            "state": self.state.name.lower(),
            "carrier": self._vif.carrier,
            "queues": self._vif.nr_queues,
            "fault": self._vif.fault,
            "backend_path": self.address.backend_path,
            **published(self._client, self.address, _PUBLISHED),
            **asdict(self._vif.stats),
            "layers": self.cable.layers,
            "behind": self.cable.statistics,
        }

    def is_called(self, name: str) -> bool:
        """By its name, its number, its MAC, or as Xen's domain 0 calls its end: vif1.0."""
        if known := _VIF.fullmatch(name):
            return (int(known[1]), int(known[2])) == (self.address.domid, self.address.device)
        return name in (self.name, str(self.address.device), self.mac)

    def set_carrier(self, up: bool) -> None:
        """Plug the cable in, or pull it out, as far as the guest's card is concerned: see `Vif.set_carrier`."""
        self._vif.set_carrier(up)

    def remove(self, *, keep: bool = False) -> None:
        """See Device.remove."""
        if not self._closed:
            with Releases() as releases:
                releases.do(self._attachment.remove)
                releases.do(self._attachment.wait_removed, self._patience)
                releases.do(self._close, keep)

    def _let_go(self, keep: bool) -> None:
        if self.cable.errand is not None:
            self._frames.take_back(self.cable.errand)
        self.cable.pause()
        if not keep:
            self.close_behind()

    def _keys(self) -> dict[str, str]:
        """What xl writes besides, for whoever looks for it."""
        bridge = {"bridge": self.config.link_name} if self.config.link_kind == "bridge" else {}
        return {"vifname": self.name, **bridge}
