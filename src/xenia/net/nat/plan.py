"""The addresses of a user-mode network: what a subnet is divided into."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from xenia.errors import ConfigError

_GATEWAY, _NAMESERVER, _FIRST_GUEST = 2, 3, 15  # as libslirp and QEMU number them
_FIRST_OF_FEW = 4  # in a network of less than 32 addresses


_THIS_HOST = IPv4Network("0.0.0.0/8")  # RFC 1122, 3.2.1.3


@dataclass(frozen=True)
class Plan:
    """A network's subnets, its domain, and the greatest IP datagram on it."""

    subnet: IPv4Network
    subnet6: IPv6Network | None
    domain: str
    mtu: int

    @classmethod
    def read(cls, subnet: str, subnet6: str, domain: str, mtu: int) -> Plan:
        """The plan of these words; `subnet6` may be empty.  ConfigError where they make no network."""
        try:
            network = IPv4Network(subnet)
        except ValueError:
            raise ConfigError(f"{subnet} is no IPv4 subnet, such as 10.0.2.0/24") from None
        if not 16 <= network.prefixlen <= 29:
            raise ConfigError(f"{subnet}: a network of guests has between 16 and 29 bits, as 10.0.2.0/24 does")
        none = network.is_loopback or network.is_multicast or network.is_link_local or network.is_reserved
        if none or network.overlaps(_THIS_HOST):
            raise ConfigError(f"{subnet}: guests cannot have such addresses; private ones are 10.0.2.0/24")
        try:
            network6 = IPv6Network(subnet6) if subnet6 else None
        except ValueError:
            raise ConfigError(f"{subnet6} is no IPv6 subnet, such as fd00:78:656e::/64") from None
        if network6 is not None and (network6.prefixlen != 64 or network6.is_link_local or network6.is_multicast):
            raise ConfigError(f"{subnet6}: a network of guests has 64 bits, as fd00:78:656e::/64 does")
        if not 1280 <= mtu <= 9000:
            raise ConfigError(f"mtu={mtu}: a network's is between 1280 and 9000 bytes")
        return cls(network, network6, domain, mtu)

    @cached_property
    def gateway(self) -> IPv4Address:
        """Where the world lies behind, and the host is found."""
        return self.subnet[_GATEWAY]

    @cached_property
    def nameserver(self) -> IPv4Address:
        """Whom guests ask for names."""
        return self.subnet[_NAMESERVER]

    @property
    def gateway6(self) -> IPv6Address | None:
        """The gateway, IPv6."""
        return None if self.subnet6 is None else self.subnet6[_GATEWAY]

    @property
    def nameserver6(self) -> IPv6Address | None:
        """The name server, IPv6."""
        return None if self.subnet6 is None else self.subnet6[_NAMESERVER]

    @property
    def macs(self) -> list[str]:
        """Of the gateway and the name server, which libslirp makes of their addresses."""
        own = (b"\x52\x55" + address.packed for address in (self.gateway, self.nameserver))
        own6 = (b"\x52\x56" + it.packed[12:] for it in (self.gateway6, self.nameserver6) if it is not None)
        return [mac.hex(":") for mac in (*own, *own6)]

    @property
    def guests(self) -> range:
        """Which of the subnet's addresses are guests', by their place in it."""
        first = _FIRST_GUEST if self.subnet.num_addresses >= 32 else _FIRST_OF_FEW
        return range(first, self.subnet.num_addresses - 1)
