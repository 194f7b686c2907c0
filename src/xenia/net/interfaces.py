"""Network interfaces of the host, opened for links: a TAP, a macvtap, an ordinary one by a raw socket.

Sources: linux/if_tun.h, linux/if_packet.h, linux/sockios.h; Documentation/networking/tuntap.rst of Linux.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import pwd
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NoReturn

from xenia.errors import ConfigError

_TUNSETIFF, _TUNSETOFFLOAD, _TUNSETVNETHDRSZ = 0x400454CA, 0x400454D0, 0x400454D8
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x2, 0x1000, 0x4000
_OFFLOADS = 0x1 | 0x2 | 0x4 | 0x8  # TUN_F_CSUM, _TSO4, _TSO6, _TSO_ECN
_VNET_HEADER = 10  # bytes
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCGIFMTU, _SIOCGIFHWADDR, _SIOCBRADDIF = 0x8913, 0x8914, 0x8921, 0x8927, 0x89A2
_IFF_UP = 0x1
_ETH_P_ALL = 3
_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, _PACKET_VNET_HDR, _PACKET_MR_PROMISC = 263, 1, 15, 1
_SO_ATTACH_FILTER = 26

# A program of linux/filter.h for what comes: nothing that left by the interface, and nothing with a VLAN's tag, which
# the kernel takes off where a raw socket reads.
_FILTER = (
    (0x20, 0, 0, 0xFFFFF004),  # A = SKF_AD_PKTTYPE
    (0x15, 3, 0, 4),  # PACKET_OUTGOING: none of it
    (0x20, 0, 0, 0xFFFFF030),  # A = SKF_AD_VLAN_TAG_PRESENT
    (0x15, 0, 1, 0),
    (0x06, 0, 0, 0x40000),  # all of it
    (0x06, 0, 0, 0),
)


@dataclass(frozen=True, slots=True)
class Interface:
    """One that was opened.

    mtu  bytes of the largest datagram
    mac  its own address, which whoever uses it has to have; None: any will do
    """

    descriptor: int
    mtu: int
    mac: str | None = None


def open_tap(name: str, master: str | None = None) -> Interface:
    """A TAP that there is, which needs no rights where it belongs to the user, or a new one for as long as it is open.

    master   the host's bridge that it joins; None: it stays where it is

    ConfigError.
    """
    exists = _exists(name)
    with _opened("/dev/net/tun", f"tap={name}") as descriptor:
        request = _request(name, struct.pack("=H", _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR))
        try:
            fcntl.ioctl(descriptor, _TUNSETIFF, request)
        except OSError as error:
            _refuse_tap(name, exists, error)
        _set_headers(descriptor)
        if master is not None:
            _join(name, master)
        if not exists or master is not None:
            _bring_up(name)
        return Interface(os.dup(descriptor), _mtu(name))


def open_macvtap(name: str) -> Interface:
    """A macvtap that there is, through its device /dev/tapN.  ConfigError."""
    _need(name, f"sudo ip link add link eth0 name {name} type macvtap mode bridge && sudo ip link set {name} up")
    path = f"/dev/tap{socket.if_nametoindex(name)}"
    if not os.path.exists(path):
        raise ConfigError(f"macvtap={name}: there is no {path}, so '{name}' is no macvtap, or of another namespace")
    with _opened(path, f"macvtap={name}") as descriptor:
        flags = struct.pack("=H", _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR)
        fcntl.ioctl(descriptor, _TUNSETIFF, _request(name, flags))
        _set_headers(descriptor)
        mac = _ask(_SIOCGIFHWADDR, name)[18:24].hex(":")
        return Interface(os.dup(descriptor), _mtu(name), mac)


def open_nic(name: str) -> Interface:
    """A raw socket on an interface, which then sees every frame.  ConfigError."""
    _need(name, f"see `ip link`; 'nic={name}' is for one of this host's")
    try:
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # bound to no protocol yet: nothing comes
    except PermissionError:
        raise ConfigError(
            f"nic={name} needs the right to open raw sockets (CAP_NET_RAW); without it, use --net user, or tap=NAME "
            f"with a TAP that is yours"
        ) from None
    with raw:
        raw.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
        _attach_filter(raw)
        try:
            raw.bind((name, _ETH_P_ALL))
            index = socket.if_nametoindex(name)
            raw.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, struct.pack("=iHH8x", index, _PACKET_MR_PROMISC, 0))
        except OSError as error:
            raise ConfigError(f"nic={name}: {error.strerror}: bring it up with `ip link set {name} up`") from None
        return Interface(raw.detach(), _mtu(name))


def _refuse_tap(name: str, exists: bool, error: OSError) -> NoReturn:
    user = _user()
    if error.errno in (errno.EPERM, errno.EACCES) and not exists:
        told = (
            f"there is none, and making one needs rights: sudo ip tuntap add dev {name} mode tap user {user} && "
            f"sudo ip link set {name} up"
        )
    elif error.errno in (errno.EPERM, errno.EACCES):
        told = f"it belongs to somebody else: sudo ip tuntap add dev NAME mode tap user {user} makes one that is yours"
    elif error.errno == errno.EBUSY:
        told = "somebody uses it already"
    elif error.errno == errno.EINVAL:
        told = "that is no TAP with one queue"
    else:
        told = error.strerror or str(error)
    raise ConfigError(f"tap={name}: {told}")


@contextmanager
def _opened(path: str, what: str) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError:
        raise ConfigError(f"{what}: {path} is not yours to use: sudo setfacl -m u:{_user()}:rw {path}") from None
    except OSError as error:
        raise ConfigError(f"{what}: cannot open {path}: {error.strerror}") from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _set_headers(descriptor: int) -> None:
    fcntl.ioctl(descriptor, _TUNSETVNETHDRSZ, struct.pack("=i", _VNET_HEADER))
    fcntl.ioctl(descriptor, _TUNSETOFFLOAD, _OFFLOADS)


def _attach_filter(raw: socket.socket) -> None:
    program = b"".join(struct.pack("=HBBI", *instruction) for instruction in _FILTER)
    buffer = ctypes.create_string_buffer(program)
    raw.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(_FILTER), ctypes.addressof(buffer)))


def _join(name: str, master: str) -> None:
    _need(master, f"sudo ip link add {master} type bridge && sudo ip link set {master} up")
    try:
        with socket.socket() as asking:
            fcntl.ioctl(asking, _SIOCBRADDIF, _request(master, struct.pack("=i", socket.if_nametoindex(name))))
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES):
            told = f"joining it needs rights: sudo ip link set {name} master {master}, and leave master= out"
        elif error.errno == errno.EBUSY:
            told = f"'{name}' is in a bridge already: leave master= out"
        else:
            told = f"that is no bridge ({error.strerror})"
        raise ConfigError(f"master={master} of tap={name}: {told}") from None


def _bring_up(name: str) -> None:
    (flags,) = struct.unpack_from("=H", _ask(_SIOCGIFFLAGS, name), 16)
    with socket.socket() as asking, suppress(PermissionError):  # who made it knows when
        fcntl.ioctl(asking, _SIOCSIFFLAGS, _request(name, struct.pack("=H", flags | _IFF_UP)))


def _need(name: str, remedy: str) -> None:
    if not _exists(name):
        raise ConfigError(f"this host has no interface '{name}': {remedy}")


def _exists(name: str) -> bool:
    if not 0 < len(name.encode()) < 16 or "/" in name or name != name.strip():
        raise ConfigError(f"'{name}' cannot be an interface's name: 15 letters at the most, without / and spaces")
    return name in (known for _, known in socket.if_nameindex())


def _mtu(name: str) -> int:
    return int(struct.unpack_from("=i", _ask(_SIOCGIFMTU, name), 16)[0])


def _ask(request: int, name: str) -> bytes:
    with socket.socket() as asking:
        return fcntl.ioctl(asking, request, _request(name, b""))


def _request(name: str, data: bytes) -> bytes:
    """A struct ifreq of linux/if.h."""
    return struct.pack("=16s24s", name.encode(), data)


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
