"""LUKS2 disks of ours and of cryptsetup's."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from xenia.errors import ConfigError
from xenia.storage.stack import create_stack, open_stack

CRYPTSETUP = shutil.which("cryptsetup", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(CRYPTSETUP is None, reason="cryptsetup is not installed (cryptsetup-bin)"),
]
pytest.importorskip("cryptography", reason="needs the Python package cryptography")


def cryptsetup(*arguments: str | Path) -> str:
    assert CRYPTSETUP is not None
    # Its locks are files that only root may make.
    done = subprocess.run([CRYPTSETUP, *map(str, arguments), "--disable-locks"], capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return done.stdout


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_bytes(b"open sesame")
    return path


@pytest.mark.parametrize("options", ["", ":kdf=pbkdf2:sector=512"])
def test_cryptsetup_opens_what_we_make(options: str, key: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    create_stack(f"file:{disk},crypt:key=@{key}{options}", 1 << 20)
    dump = cryptsetup("luksDump", disk)
    assert "aes-xts-plain64" in dump
    cryptsetup("open", "--test-passphrase", "--key-file", key, disk)
    wrong = tmp_path / "wrong"
    wrong.write_bytes(b"open barley")
    with pytest.raises(AssertionError, match="No key available"):
        cryptsetup("open", "--test-passphrase", "--key-file", wrong, disk)


@pytest.mark.parametrize(
    "options",
    [
        ("--pbkdf", "argon2id", "--pbkdf-memory", "65536"),
        ("--pbkdf", "pbkdf2", "--sector-size", "512", "--key-size", "256", "--hash", "sha512"),
    ],
    ids=["argon2id", "pbkdf2"],
)
def test_we_open_what_cryptsetup_makes(options: tuple[str, ...], key: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.touch()
    os.truncate(disk, 20 << 20)
    cryptsetup("luksFormat", "-q", "--type", "luks2", "--iter-time", "50", "--key-file", key, *options, disk)
    text = f"file:{disk},crypt:key=@{key}"
    with open_stack(text) as layer:
        assert layer.size == 4 << 20
        layer.pwrite(b"x" * 8192, 4096)
    with open_stack(text) as layer:
        assert layer.pread(4096, 8192) == b"x" * 8192
    cryptsetup("open", "--test-passphrase", "--key-file", key, disk)


@pytest.mark.parametrize("sector", ["512", "4096"])
def test_we_read_what_cryptsetup_encrypted(sector: str, key: Path, tmp_path: Path) -> None:
    """cryptsetup encrypts a plain disk, which needs no device mapper."""
    disk, plain = tmp_path / "disk", os.urandom(4 << 20)
    disk.write_bytes(plain)
    os.truncate(disk, len(plain) + (32 << 20))
    cryptsetup(
        "reencrypt", "-q", "--encrypt", "--type", "luks2", "--reduce-device-size", "32M", "--pbkdf", "pbkdf2",
        "--iter-time", "50", "--sector-size", sector, "--key-file", key, disk,
    )  # fmt: skip
    with open_stack(f"file:{disk},crypt:key=@{key}") as layer:
        assert layer.block_size.minimum == int(sector)
        assert layer.pread(0, len(plain)) == plain


def test_a_second_keyslot_opens_too(key: Path, tmp_path: Path) -> None:
    disk, other = tmp_path / "disk", tmp_path / "other"
    other.write_bytes(b"another")
    create_stack(f"file:{disk},crypt:key=@{key}:kdf=pbkdf2", 1 << 20)
    with open_stack(f"file:{disk},crypt:key=@{key}") as layer:
        layer.pwrite(b"y" * 4096, 0)
    cryptsetup("luksAddKey", "-q", "--iter-time", "50", "--key-file", key, disk, other)
    cryptsetup("luksRemoveKey", "-q", "--key-file", key, disk, key)
    with open_stack(f"file:{disk},crypt:key=@{other}") as layer:
        assert layer.pread(0, 4096) == b"y" * 4096
    with pytest.raises(ConfigError, match="no keyslot"):
        open_stack(f"file:{disk},crypt:key=@{key}")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--cipher", "aes-cbc-essiv:sha256"), r"is encrypted with aes-cbc-essiv:sha256; aes-xts-plain64 can be used"),
        (("--keyslot-cipher", "aes-cbc-essiv:sha256", "--keyslot-key-size", "256"), r"the cipher aes-cbc-essiv:sha256"),
        (("--hash", "whirlpool"), r"the hash whirlpool cannot be used here|^$"),
        (("--pbkdf", "argon2i", "--pbkdf-memory", "65536"), r"argon2i as the maker of keys cannot be used here"),
        (("--type", "luks1"), r"LUKS1; convert it"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[-1],
)
def test_what_is_not_supported_is_named(options: tuple[str, ...], complaint: str, key: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.touch()
    os.truncate(disk, 20 << 20)
    kind = () if "--type" in options else ("--type", "luks2")
    kdf = (
        ("--pbkdf-force-iterations", "4")
        if "--pbkdf" in options
        else ("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000")
    )
    cryptsetup("luksFormat", "-q", *kind, *kdf, *options, "--key-file", key, disk)
    try:
        open_stack(f"file:{disk},crypt:key=@{key}").close()
        found = ""  # a host whose OpenSSL has it
    except ConfigError as error:
        found = str(error)
    assert re.search(complaint, found)
