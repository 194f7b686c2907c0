"""What makes a system's network cards come up by themselves, and lets its user in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xenia.errors import ConfigError

PACKAGES = ("?exact-name(systemd-resolved)",)  # a part of systemd before it was one of its own
SSH_PACKAGES = ("openssh-server",)

# Whatever is plugged in, but for bridges and such, and for the cards that a driver domain serves to others.  A card's
# address is made of its MAC, and of those no two are alike: nobody has to ask whether it is taken.
_CARDS = """\
[Match]
Type=ether
Kind=!*
Name=!vif*

[Network]
DHCP=yes
IPv6DuplicateAddressDetection=0
LLMNR=no

[DHCPv4]
ClientIdentifier=mac
UseDomains=yes
UseHostname=no
"""
# Made when it is started first, so that copies of an image have keys of their own.
_HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"
_HOST_KEYS = f"""\
[Service]
ExecStartPre=
ExecStartPre=/bin/sh -c 'test -s {_HOST_KEY} || ssh-keygen -q -t ed25519 -N "" -f {_HOST_KEY}'
ExecStartPre=/usr/sbin/sshd -t
"""
_SSHD = f"""\
HostKey {_HOST_KEY}
PermitRootLogin prohibit-password
"""
_OWN_KEYS = ("id_ed25519.pub", "id_ecdsa.pub", "id_ed25519_sk.pub", "id_ecdsa_sk.pub", "id_rsa.pub")
_KINDS = ("ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-")


def network_files(ssh_keys: Sequence[str]) -> dict[str, bytes]:
    """The files, by path, that a system with these public keys has for its network; without keys nobody gets in."""
    texts = {"etc/systemd/network/80-xenia.network": _CARDS}
    if ssh_keys:
        texts |= {
            "etc/ssh/sshd_config.d/xenia.conf": _SSHD,
            "etc/systemd/system/ssh.service.d/host-keys.conf": _HOST_KEYS,
            "root/.ssh/authorized_keys": "".join(f"{key}\n" for key in ssh_keys),
        }
    return {path: text.encode() for path, text in texts.items()}


def read_keys(path: Path) -> tuple[str, ...]:
    """The public keys in a file.  ConfigError where there is none."""
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except OSError as error:
        raise ConfigError(f"cannot read the key in {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        lines = []
    keys = tuple(line for line in lines if line.startswith(_KINDS) and line.isprintable())
    if any("PRIVATE KEY" in line for line in lines):
        raise ConfigError(f"{path} is a private key, which no image should have; give {path}.pub")
    if not keys:
        raise ConfigError(f"there is no public key for ssh in {path}")
    return keys


def own_keys(home: Path) -> tuple[str, ...]:
    """The public keys of the user whose home that is.  ConfigError where there are none."""
    folder = home / ".ssh"
    keys = tuple(key for name in _OWN_KEYS if (folder / name).is_file() for key in read_keys(folder / name))
    if not keys:
        raise ConfigError(f"you have no key in {folder}: make one with ssh-keygen, or give one with --ssh-key FILE")
    return keys
