"""The sockets of a tunnel (RFC 7348), by the words for it: `vxlan=10.0.0.2`, and `+` between several hosts."""

from __future__ import annotations

import errno
import ipaddress
import socket

from xenia.errors import ConfigError
from xenia.net.sockets import BUFFER

PORT = 4789  # IANA's
MOST_HOSTS = 32
_MOST_VNI = (1 << 24) - 1
_HEADERS = 8 + 8 + 14  # UDP's, VXLAN's, Ethernet's within
_IP_HEADER = {socket.AF_INET: 20, socket.AF_INET6: 40}
_DONT_FRAGMENT_NOT = 0  # linux/in.h: IP_PMTUDISC_DONT; in6.h: IPV6_PMTUDISC_DONT
_IP_MTU_DISCOVER, _IP_MTU, _IPV6_MTU_DISCOVER, _IPV6_MTU = 10, 14, 23, 24
_SO_NO_CHECK = 11


def parse_vni(said: str) -> int:
    """A network's number.  ConfigError."""
    if not said.isdecimal() or int(said) > _MOST_VNI:
        raise ConfigError(f"vni={said}: a network's number is from 0 to {_MOST_VNI}")
    return int(said)


def open_tunnel(hosts: str, local: str | None, port: str) -> tuple[list[int], int]:
    """The descriptor at which datagrams come and one for each host, and how long a datagram within may be to cross in
    one packet.

    local  the address of this host to use; None: any

    ConfigError.
    """
    if not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise ConfigError(f"port={port} of a tunnel is no port")
    names = hosts.split("+")
    if len(names) > MOST_HOSTS:
        raise ConfigError(f"a tunnel goes to {MOST_HOSTS} hosts at the most")
    addresses = [_address("vxlan", name) for name in names]
    family = addresses[0][0]
    here = _address("local", local)[1] if local else None
    if any(other != family for other, _ in addresses) or (here and _address("local", here)[0] != family):
        raise ConfigError(f"vxlan={hosts}: addresses of one tunnel are all IPv4 or all IPv6")
    found: list[socket.socket] = []
    try:
        found.append(_bound(family, here, int(port)))
        found += [_connected(family, here, address, int(port)) for _, address in addresses]
        mtu = min(_path_mtu(one) for one in found[1:]) - _IP_HEADER[family] - _HEADERS
        return [one.detach() for one in found], mtu
    finally:
        for one in found:
            one.close()


def _address(word: str, name: str) -> tuple[socket.AddressFamily, str]:
    text = name.strip("[]")
    try:
        known = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        raise ConfigError(f"{word}={name}: write the host's address, as 10.0.0.2 or fd00::2") from None
    return (socket.AF_INET if known.version == 4 else socket.AF_INET6), text


def _bound(family: socket.AddressFamily, here: str | None, port: int) -> socket.socket:
    bound = _new(family)
    try:
        bound.bind((here or "", port))
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            told = f"UDP port {port} is in use, by another tunnel or the kernel's own: say port= here and at the others"
        elif error.errno == errno.EADDRNOTAVAIL:
            told = f"local={here} is no address of this host"
        else:
            told = f"cannot take UDP port {port}: {error.strerror}"
        raise ConfigError(f"the tunnel does not open: {told}") from None
    return bound


def _connected(family: socket.AddressFamily, here: str | None, address: str, port: int) -> socket.socket:
    connected = _new(family)
    try:
        if here:
            connected.bind((here, 0))
        connected.connect((address, port))
    except OSError as error:
        connected.close()
        raise ConfigError(f"vxlan={address}: there is no way to it: {error.strerror}") from None
    return connected


def _new(family: socket.AddressFamily) -> socket.socket:
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    if family == socket.AF_INET:
        made.setsockopt(socket.SOL_SOCKET, _SO_NO_CHECK, 1)  # RFC 7348, 5: what is within has sums of its own
        made.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _DONT_FRAGMENT_NOT)
    else:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _DONT_FRAGMENT_NOT)
    return made


def _path_mtu(connected: socket.socket) -> int:
    if connected.family == socket.AF_INET:
        return connected.getsockopt(socket.IPPROTO_IP, _IP_MTU)
    return connected.getsockopt(socket.IPPROTO_IPV6, _IPV6_MTU)
