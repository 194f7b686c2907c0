"""Who may log in to an image over ssh."""

from __future__ import annotations

from pathlib import Path

import pytest

from xenia.errors import ConfigError
from xenia.toolstack.image.config import ImageConfig
from xenia.toolstack.image.network import own_keys, read_keys

KEY = "ssh-ed25519 AAAAC3Nz me@here"


def test_cards_come_up_by_themselves_and_without_a_key_there_is_no_sshd() -> None:
    config = ImageConfig(output="root.img")
    files = config.files()
    assert b"DHCP=yes" in files["etc/systemd/network/80-xenia.network"]
    assert "openssh-server" not in config.wanted and "root/.ssh/authorized_keys" not in files


def test_keys_bring_sshd_and_host_keys_of_the_first_boot() -> None:
    config = ImageConfig(output="root.img", ssh_keys=(KEY,))
    files = config.files()
    assert "openssh-server" in config.wanted and files["root/.ssh/authorized_keys"] == f"{KEY}\n".encode()
    assert b"ssh-keygen" in files["etc/systemd/system/ssh.service.d/host-keys.conf"]


def test_the_public_keys_of_a_file_and_of_a_user(tmp_path: Path) -> None:
    folder = tmp_path / ".ssh"
    folder.mkdir()
    with pytest.raises(ConfigError, match="make one with ssh-keygen"):
        own_keys(tmp_path)
    (folder / "id_ed25519.pub").write_text(f"# mine\n{KEY}\n\n")
    (folder / "id_ed25519").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    assert own_keys(tmp_path) == read_keys(folder / "id_ed25519.pub") == (KEY,)
    with pytest.raises(ConfigError, match=r"private key.*give .*id_ed25519.pub"):
        read_keys(folder / "id_ed25519")
    with pytest.raises(ConfigError, match="No such file"):
        read_keys(folder / "none")
    (folder / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="no public key"):
        read_keys(folder / "binary")
