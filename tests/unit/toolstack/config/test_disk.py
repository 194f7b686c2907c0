"""What an operator writes after --disk."""

import re
from pathlib import Path

import pytest

from xenia.errors import ConfigError
from xenia.storage.spec import quote
from xenia.toolstack.config.disk import DiskConfig, parse_disk


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
        (",file:a", "the disk ',file:a' has an empty word"),
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


# Every example of xl-disk-configuration(5), and its grammar's other forms.
XL = {
    "/dev/vg/guest-volume,,hda": DiskConfig("/dev/vg/guest-volume", "hda"),
    "/dev/vg/guest-volume,raw,hda,rw": DiskConfig("file:/dev/vg/guest-volume", "hda"),
    "format=raw, vdev=hda, access=rw, target=/dev/vg/guest-volume": DiskConfig("file:/dev/vg/guest-volume", "hda"),
    "raw:/dev/vg/guest-volume,hda,w": DiskConfig("file:/dev/vg/guest-volume", "hda"),
    "/root/image.iso,,hdc,cdrom": DiskConfig("/root/image.iso", "hdc", cdrom=True),
    "/root/image.iso,,hdc,,cdrom": DiskConfig("/root/image.iso", "hdc", cdrom=True),
    "/root/image.iso,raw,hdc,devtype=cdrom": DiskConfig("file:/root/image.iso", "hdc", cdrom=True),
    "format=raw, vdev=hdc, access=ro, devtype=cdrom, target=/root/image.iso": DiskConfig(
        "file:/root/image.iso", "hdc", read_only=True, cdrom=True
    ),
    "raw:/root/image.iso,hdc:cdrom,ro": DiskConfig("file:/root/image.iso", "hdc", read_only=True, cdrom=True),
    "tap:aio:/some/path,xvda,w": DiskConfig("file:/some/path", "xvda"),
    ",hdc:cdrom,r": DiskConfig("memory:0", "hdc", read_only=True, cdrom=True),
    ",raw,hdc:cdrom,r": DiskConfig("memory:0", "hdc", read_only=True, cdrom=True),
    ",,hdc,r,cdrom": DiskConfig("memory:0", "hdc", read_only=True, cdrom=True),
    ",,hdc,,cdrom": DiskConfig("memory:0", "hdc", cdrom=True),
    "raw:,hdc:cdrom,r": DiskConfig("memory:0", "hdc", read_only=True, cdrom=True),
    "vdev=hdc,devtype=cdrom": DiskConfig("memory:0", "hdc", cdrom=True),
    "vdev=hdc,cdrom,target=": DiskConfig("memory:0", "hdc", cdrom=True),
    ",raw,xvda,w,target=/images/a, b": DiskConfig("file:/images/a\\, b", "xvda"),
    "phy:vg0/lv,xvda,w": DiskConfig("file:/dev/vg0/lv", "xvda"),
    "phy:/dev/vg0/lv,xvda,w": DiskConfig("file:/dev/vg0/lv", "xvda"),
    "tap2:tapdisk:aio:/images/a,xvda,w": DiskConfig("file:/images/a", "xvda"),
    "tap:tapdisk:qcow2:/images/a,xvda,w": DiskConfig("qcow2:/images/a", "xvda"),
    "ioemu:/images/a,xvda,w": DiskConfig("file:/images/a", "xvda"),
    "tap2:/images/a:b,xvda,w": DiskConfig("file:/images/a\\:b", "xvda"),
    "/images/a:b.img,raw,xvda,w": DiskConfig("file:/images/a\\:b.img", "xvda"),
    "/dev/disk/by-path/pci-0000:00:1f.2-ata-1,raw,xvda,w": DiskConfig(
        "file:/dev/disk/by-path/pci-0000\\:00\\:1f.2-ata-1", "xvda"
    ),
    "/images/a=b:c.img,,xvda": DiskConfig("/images/a\\=b\\:c.img", "xvda"),
    "format=raw,vdev=xvda,target=/images/a:b=c,d": DiskConfig("file:/images/a\\:b\\=c\\,d", "xvda"),
    "/images/a,raw,xvda,w,": DiskConfig("file:/images/a", "xvda"),
    "/images/a,raw,xvda,": DiskConfig("file:/images/a", "xvda"),
    "/images/a,format=,vdev=xvda,access=": DiskConfig("/images/a", "xvda"),
    "/images/a,raw,xvda,w,backendtype=phy,trusted,discard,direct-io-safe,specification=xen": DiskConfig(
        "file:/images/a", "xvda"
    ),
    "/images/a,raw,xvda,w,untrusted,no-discard": DiskConfig("file:/images/a", "xvda", discard=False),
}


@pytest.mark.parametrize("text", XL)
def test_every_form_of_xls_manual_is_understood(text: str) -> None:
    assert parse_disk(text) == XL[text]


@pytest.mark.parametrize(
    "text",
    [
        "vhd:/images/a,xvda,w", "tap2:vhd:/images/a,xvda,w", "/images/a,vhd,xvda,w", "/images/a,qed,xvda",
        "/images/a,,floppy", "iscsi:iqn.2001,xvda,w", "drbd:resource,xvda,w", "/images/a,raw,xvda,w,script=block-x",
        ",raw,xvda,w", ",,xvda",
        "/images/a,raw,xvda,w,specification=virtio", "/images/a,raw,xvda,w,colo-host=b", "phy:vg0/lv,crpyt,xvda",
        "phy:vg0/lv,crypt:kye=@k,xvda", "/images/a:b.img,raw,xvda,w,backend=far", "tap2:aio:/a,xvda,xvdb",
    ],
)  # fmt: skip
def test_a_complaint_quotes_only_what_was_written(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_disk(text)
    message = str(refused.value)
    assert message.startswith(f"the disk '{text}'") or f"the disk '{text}'" in message
    for quoted in re.findall(r"in '([^']*)' of", message):
        assert quoted in text


@pytest.mark.parametrize("length", [1, 511, 200_001])
def test_the_tail_of_a_disk_that_is_only_read_is_filled_up_with_zeroes(length: int, tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"x" * length)
    whole = -(-length // 512) * 512
    for words in ("ro", "cdrom"):
        with parse_disk(f"{path},{words}").open() as disk:
            assert disk.size == whole and disk.read_only
            assert disk.pread(0, whole) == (b"x" * length).ljust(whole, b"\0")
    with parse_disk(f"{path},cow").open() as disk:
        assert disk.pread(0, disk.size) == (b"x" * length).ljust(whole, b"\0")
    with pytest.raises(ConfigError, match=rf"has {length} bytes, which are no whole sectors of 512: .*-s {whole}\)"):
        parse_disk(str(path)).open()
    with parse_disk(f"{path},ro,sector=4096").open() as disk:
        assert disk.size % 4096 == 0
    assert path.stat().st_size == length


def test_a_disk_without_a_byte_is_refused(tmp_path: Path) -> None:
    (tmp_path / "disk").touch()
    for words in ("", ",ro", ",cow"):
        with pytest.raises(ConfigError, match="has no bytes at all"):
            parse_disk(f"{tmp_path}/disk{words}").open()
    with parse_disk(",hdc:cdrom,r").open() as drive:
        assert drive.size == 0
