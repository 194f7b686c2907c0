"""What `inspect` finds in a kernel file."""

import json
import lzma
from pathlib import Path

import pytest

from xenia.abi.elfnote import ElfNote
from xenia.errors import ConfigError
from xenia.testing.kernels import MACHINE_386, bzimage, elf_image, note
from xenia.toolstack.provision.cache import Cache
from xenia.toolstack.provision.inspect import Driver, inspect_kernel

BASE = 0xFFFF_FFFF_8000_0000
NOTES = [
    note(ElfNote.GUEST_OS, "linux"),
    note(ElfNote.VIRT_BASE, BASE),
    note(ElfNote.ENTRY, BASE + 0x10_0000),
    note(ElfNote.FEATURES, "!writable_page_tables|dom0"),
]
TEXT = b"Linux version 6.1.0-9-amd64 (someone) #1 SMP\n\0"
IMAGE = elf_image([(0x10_0000, TEXT, 0x4000)], NOTES)


def write_kernel(directory: Path, image: bytes = IMAGE) -> Path:
    path = directory / "vmlinuz-6.1.0-9-amd64"
    path.write_bytes(bzimage(lzma.compress(image), size=len(image), version="6.1.0-9-amd64 (someone) #1 SMP"))
    return path


def test_a_pv_kernel_is_described(tmp_path: Path) -> None:
    path = write_kernel(tmp_path)
    found = inspect_kernel(path)
    assert (found.container, found.packing, found.image_size) == ("bzImage", "xz", len(IMAGE))
    assert found.file_size == path.stat().st_size
    assert (found.version, found.release) == ("6.1.0-9-amd64 (someone) #1 SMP", "6.1.0-9-amd64")
    assert found.pv_capable
    assert (found.virt_base, found.start, found.entry) == (BASE, BASE + 0x10_0000, BASE + 0x10_0000)
    assert found.memory_needed == 4 << 20


def test_a_bare_image_tells_its_version_from_its_banner(tmp_path: Path) -> None:
    path = tmp_path / "vmlinux"
    path.write_bytes(IMAGE)
    found = inspect_kernel(path)
    assert (found.container, found.release) == ("ELF", "6.1.0-9-amd64")


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (elf_image([(0, b"x", 1)], [note(ElfNote.PHYS32_ENTRY, 1)]), "PVH only"),
        (elf_image([(0, b"x", 1)]), "no Xen notes"),
        (elf_image([(0, b"x", 1)], NOTES, machine=MACHINE_386), "32-bit"),
    ],
)
def test_a_kernel_that_cannot_be_a_pv_guest_says_why(tmp_path: Path, image: bytes, reason: str) -> None:
    found = inspect_kernel(write_kernel(tmp_path, image))
    assert not found.pv_capable
    assert found.pv_reason is not None
    assert reason in found.pv_reason
    assert found.memory_needed is None


def test_drivers_are_found_in_the_configuration_beside_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "config-6.1.0-9-amd64").write_text("CONFIG_HVC_XEN=y\n# CONFIG_XEN_BLKDEV_FRONTEND is not set\n")
    assert dict(inspect_kernel(write_kernel(tmp_path)).drivers) == {
        "hvc_xen": Driver.BUILT_IN,
        "xen-blkfront": Driver.ABSENT,
    }


def test_drivers_are_found_among_the_modules(tmp_path: Path) -> None:
    modules = tmp_path / "lib" / "kernel" / "drivers"
    modules.mkdir(parents=True)
    (modules / "xen-blkfront.ko.xz").touch()
    drivers = inspect_kernel(write_kernel(tmp_path), modules=tmp_path / "lib").drivers
    assert drivers["xen-blkfront"] is Driver.MODULE
    assert drivers["hvc_xen"] is Driver.UNKNOWN


def test_all_of_it_can_be_written_as_json(tmp_path: Path) -> None:
    data = json.loads(json.dumps(inspect_kernel(write_kernel(tmp_path), cache=Cache(tmp_path / "cache")).as_dict()))
    assert data["pv_capable"] is True
    assert data["notes"]["required"] == ["writable_page_tables"]
    assert data["drivers"]["xen-blkfront"] == "unknown"


def test_what_is_no_kernel_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("hello")
    with pytest.raises(ConfigError, match="not a kernel image"):
        inspect_kernel(path)
    with pytest.raises(ConfigError, match="No such file"):
        inspect_kernel(tmp_path / "y")
