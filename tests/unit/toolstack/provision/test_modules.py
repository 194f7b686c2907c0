"""What modules say about themselves, and the order that follows from it."""

import gzip
import lzma
import zlib
from collections.abc import Callable

import pytest
import zstandard

from xenia.errors import ConfigError
from xenia.testing.packages import module
from xenia.toolstack.provision.modules import ModuleInfo, load_order, read_modinfo, unpack_module

MODULES = {
    info.name: info
    for info in (
        read_modinfo(module("ext4", depends="mbcache,jbd2,crc16", softdep="pre: crypto-crc32c"), "ext4.ko"),
        read_modinfo(module("jbd2", depends="crc16"), "jbd2.ko"),
        read_modinfo(module("crc16"), "crc16.ko"),
        read_modinfo(module("mbcache"), "mbcache.ko"),
        read_modinfo(module("crc32c_intel", alias="crypto-crc32c"), "crc32c-intel.ko"),
        read_modinfo(module("broken", depends="gone"), "broken.ko"),
        read_modinfo(module("chicken", depends="egg"), "chicken.ko"),
        read_modinfo(module("egg", depends="chicken"), "egg.ko"),
    )
}


def test_modinfo_is_read_with_dashes_made_underscores() -> None:
    data = module("xen-blkfront", depends="foo-bar,baz", softdep="pre: a-b c post: d", alias="xen:vbd")
    assert read_modinfo(data, "xen-blkfront.ko") == ModuleInfo(
        "xen_blkfront", ("foo_bar", "baz"), ("a_b", "c"), ("xen:vbd",), "6.1.0-test SMP"
    )


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "a/b", ".", "..", "a b", "a\nb", "\x1b[2J", "ü"])
def test_a_name_that_is_no_file_name_is_refused(name: str) -> None:
    for data in (module(name), module("a", depends=f"b,{name}")):
        with pytest.raises(ConfigError, match="no name of a kernel module"):
            read_modinfo(data, "a.ko")


@pytest.mark.parametrize("pack", [bytes, lzma.compress, zstandard.compress, gzip.compress])
def test_a_packed_module_is_unpacked(pack: Callable[[bytes], bytes]) -> None:
    assert unpack_module(pack(module("a")), "a.ko") == module("a")


def test_a_module_that_asks_for_a_gigabyte_to_be_unpacked_is_refused() -> None:
    large = bytearray(lzma.compress(module("a"), filters=[{"id": lzma.FILTER_LZMA2, "preset": 0}]))
    at = 12 + 4  # the dictionary's size, in the block's header, which has a checksum of its own
    large[at] = 36  # 1 GiB
    size = (large[12] + 1) * 4
    large[12 + size - 4 : 12 + size] = zlib.crc32(large[12 : 12 + size - 4]).to_bytes(4, "little")
    with pytest.raises(ConfigError, match="damaged module"):
        unpack_module(bytes(large), "a.ko")


def test_a_module_comes_after_all_it_depends_on_softdeps_by_alias_included() -> None:
    assert load_order(["ext4"], MODULES) == ["crc32c_intel", "mbcache", "crc16", "jbd2", "ext4"]


def test_each_module_is_named_once() -> None:
    assert load_order(["jbd2", "crc16", "jbd2"], MODULES) == ["crc16", "jbd2"]


def test_a_circle_of_dependencies_ends() -> None:
    assert sorted(load_order(["egg"], MODULES)) == ["chicken", "egg"]


def test_a_missing_module_is_named_with_what_needs_it() -> None:
    with pytest.raises(ConfigError, match="no kernel module gone, which broken depends on"):
        load_order(["broken"], MODULES)
    with pytest.raises(ConfigError, match=r"no kernel module nothing$"):
        load_order(["nothing"], MODULES)


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(ConfigError, match="not a kernel module"):
        read_modinfo(module("a").replace(b".modinfo", b".modinfx"), "a.ko")
    with pytest.raises(ConfigError, match="damaged module"):
        unpack_module(lzma.compress(module("a"))[:20] + b"?" * 50, "a.ko.xz")
