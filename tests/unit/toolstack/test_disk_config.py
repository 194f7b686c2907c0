"""What an operator writes after --disk."""

import pytest

from xenia.backends.storage.spec import quote
from xenia.errors import ConfigError
from xenia.toolstack.disk_config import DiskConfig, parse_disk


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ("root.img", DiskConfig("root.img")),
        ("root.qcow2,ro", DiskConfig("root.qcow2", read_only=True)),
        ("file:a,crypt:key=@k,cow,vdev=xvdb,ro", DiskConfig("file:a,crypt:key=@k,cow", "xvdb", read_only=True)),
        ("vdev=xvdc,file:a,cow", DiskConfig("file:a,cow", "xvdc")),
        ("./a=b.img,cow", DiskConfig("./a=b.img,cow")),
        ("file:cd.iso,cdrom", DiskConfig("file:cd.iso", cdrom=True)),
        (
            "a.img,sector=4K,persistent,no-discard",
            DiskConfig("a.img", sector_size=4096, persistent=True, discard=False),
        ),
    ],
)
def test_layers_and_words_for_the_device_stand_in_one_list(text: str, config: DiskConfig) -> None:
    assert parse_disk(text) == config


@pytest.mark.parametrize(
    ("text", "config"),
    [  # the examples of xl-disk-configuration(5), and what old configurations are full of
        ("/dev/vg/guest-volume,,xvda", DiskConfig("/dev/vg/guest-volume", "xvda")),
        ("/dev/vg/guest-volume,raw,xvda,rw", DiskConfig("file:/dev/vg/guest-volume", "xvda")),
        ("format=raw, vdev=xvda, access=rw, target=/dev/vg/volume", DiskConfig("file:/dev/vg/volume", "xvda")),
        ("raw:/dev/vg/guest-volume,xvda,w", DiskConfig("file:/dev/vg/guest-volume", "xvda")),
        ("/root/image.iso,,hdc,cdrom", DiskConfig("/root/image.iso", "hdc", cdrom=True)),
        ("/root/image.iso,,hdc,,cdrom", DiskConfig("/root/image.iso", "hdc", cdrom=True)),
        ("format=raw, vdev=hdc, access=ro, devtype=cdrom, target=/root/image.iso",
         DiskConfig("file:/root/image.iso", "hdc", read_only=True, cdrom=True)),
        ("raw:/root/image.iso,hdc:cdrom,ro", DiskConfig("file:/root/image.iso", "hdc", read_only=True, cdrom=True)),
        ("/images/a,qcow2,xvda2,r", DiskConfig("qcow2:/images/a", "xvda2", read_only=True)),
        ("a.qcow2,qcow2", DiskConfig("qcow2:a.qcow2")),
        ("backendtype=qdisk,vdev=xvda,format=qcow2,target=a, b", DiskConfig("qcow2:a\\, b", "xvda")),
        ("phy:/dev/vg/root,xvda1,w", DiskConfig("file:/dev/vg/root", "xvda1")),
        ("file:/images/a,xvda,w", DiskConfig("file:/images/a", "xvda")),
        ("file:/images/a,format=qcow2", DiskConfig("file:/images/a,qcow2")),
        ("tap:qcow2:/images/a,xvda,w", DiskConfig("qcow2:/images/a", "xvda")),
        ("tap:aio:/images/a,sda,r", DiskConfig("file:/images/a", "sda", read_only=True)),
        ("./a,direct-io-safe,discard,backend=Domain-0", DiskConfig("./a")),
    ],
)  # fmt: skip
def test_what_is_written_for_xl_is_understood(text: str, config: DiskConfig) -> None:
    assert parse_disk(text) == config


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "a disk has no name"),
        ("ro", "what is 'ro'"),
        ("vdev=xvda", "the disk 'vdev=xvda' names no file"),
        ("file:a,,cow", "the disk 'file:a,,cow' has an empty word"),
        ("file:a,", "the disk 'file:a,' has an empty word"),
        ("file:a,crpyt:key=@k,ro", "what is 'crpyt'?"),
        ("./a,qcow", "in 'qcow' of the disk './a,qcow': disks of the format 'qcow' are not read here"),
        ("./a,format=vmdk", "in 'format=vmdk' .* raw and qcow2 are"),
        ("qcow2:a,format=raw", "in 'format=raw' of the disk .*: 'qcow2:a' says how it is to be read"),
        ("./a,vdev=floppy", "in 'vdev=floppy' .* 'floppy' is no disk's name: use xvda"),
        ("./a,hdz", "in 'hdz' .* is no disk's name"),
        ("./a,xvda,xvdb", "in 'xvdb' .*: 'xvda' says that already"),
        ("./a,ro,access=rw", "in 'access=rw' .*: 'ro' says that already"),
        ("./a,access=maybe", "'maybe' is no way to use a disk: ro or rw"),
        ("./a,devtype=floppy", "disk or cdrom"),
        ("./a,sector=1K", "512 or 4096"),
        ("./a,backend=storage", "in 'backend=storage' .* no domain 'storage' is there"),
        ("./a,backendtype=magic", "phy, tap, qdisk, standalone"),
        ("script=block-nbd,target=x", "in 'script=block-nbd' .* no scripts are run here"),
        ("./a,target=./b", "in './b' .*: './a' says that already"),
    ],
)
def test_a_complaint_points_at_the_word(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        parse_disk(text)


@pytest.mark.parametrize("path", ["./a,b", "./ro", "./xvda", "./raw", "./target=x"])
def test_any_file_can_be_named(path: str) -> None:
    assert parse_disk(f"file:{quote(path)},ro") == DiskConfig(f"file:{quote(path)}", read_only=True)
    assert parse_disk(f"vdev=xvda,target={path}") == DiskConfig(quote(path), "xvda")
