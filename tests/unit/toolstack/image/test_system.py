"""A system as dpkg leaves it after unpacking, from packages of a made-up distribution."""

import io
import tarfile
from pathlib import Path

import pytest

from xenia.errors import ConfigError
from xenia.testing.packages import deb
from xenia.toolstack.image.package import DebianPackage, closure, read_package
from xenia.toolstack.image.system import SystemArchive
from xenia.toolstack.image.tools import tool_files
from xenia.toolstack.provision.deb import read_control, read_deb

TREE = ("", "bin", "etc", "lib", "lib/x86_64-linux-gnu", "usr", "usr/share")


def package(
    directory: Path,
    name: str,
    files: dict[str, bytes] | None = None,
    *,
    fields: str = "",
    control: dict[str, bytes] | None = None,
    links: dict[str, str] | None = None,
) -> DebianPackage:
    """A package with these files in TREE; `fields` are lines of its description."""
    stanza = f"Package: {name}\nVersion: 1.0\nArchitecture: amd64\n{fields}Description: made up\n and so on\n"
    path = directory / f"{name}_1.0_amd64.deb"
    path.write_bytes(
        deb(files or {}, control={"control": stanza.encode(), **(control or {})}, directories=TREE, links=links)
    )
    return read_package(path)


def archive(*packages: DebianPackage) -> tuple[tarfile.TarFile, list[str]]:
    """The archive of a system, and the names of what is left to dpkg."""
    file = io.BytesIO()
    with SystemArchive(file) as system:
        left = system.add_packages(packages)
    file.seek(0)
    return tarfile.open(fileobj=file), left


def text(tar: tarfile.TarFile, path: str) -> str:
    file = tar.extractfile(path)
    assert file is not None
    return file.read().decode()


def test_a_package_says_what_it_is(tmp_path: Path) -> None:
    one = package(
        tmp_path,
        "one",
        fields="Essential: yes\nMulti-Arch: same\nDepends: two (>= 1), three | four\nPre-Depends: five\n",
    )
    assert (one.name, one.is_essential, one.info_name, one.needs_dpkg) == ("one", True, "one:amd64", False)
    assert one.needs == ("five", "two", "three", "four")


def test_a_file_that_does_not_say_what_it_is_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.deb"
    path.write_bytes(deb({}))
    with pytest.raises(ConfigError, match="does not say what it is"):
        read_package(path)


def test_what_is_needed_is_found_over_several_steps_and_circles(tmp_path: Path) -> None:
    packages = [
        package(tmp_path, "one", fields="Depends: two\n"),
        package(tmp_path, "two", fields="Pre-Depends: three, not-here\n"),
        package(tmp_path, "three", fields="Depends: one\n"),
        package(tmp_path, "four"),
    ]
    assert closure(packages, ["one"]) == {"one", "two", "three"}


def test_an_unpacked_package_is_in_place_and_known_to_dpkg(tmp_path: Path) -> None:
    tar, left = archive(
        package(
            tmp_path,
            "tool",
            {"bin/tool": b"#! tool", "etc/tool.conf": b"setting"},
            control={"conffiles": b"/etc/tool.conf\nremove-on-upgrade /etc/old\n", "postinst": b"#!/bin/sh\n"},
        )
    )
    assert left == []
    assert tar.getmember("usr/bin/tool").mode == 0o755
    assert text(tar, "etc/tool.conf.dpkg-new") == "setting"
    assert "etc/tool.conf" not in tar.getnames()
    assert text(tar, "var/lib/dpkg/status") == (
        "Package: tool\nStatus: install ok unpacked\nVersion: 1.0\nArchitecture: amd64\nDescription: made up\n"
        " and so on\nConffiles:\n /etc/tool.conf newconffile\n\n"
    )
    listed = text(tar, "var/lib/dpkg/info/tool.list").splitlines()
    assert listed[:2] == ["/.", "/bin"] and listed[-2:] == ["/bin/tool", "/etc/tool.conf"]
    assert tar.getmember("var/lib/dpkg/info/tool.postinst").mode == 0o755
    assert "var/lib/dpkg/info/tool.control" not in tar.getnames()


def test_directories_that_are_merged_into_usr_are_links_and_nothing_else(tmp_path: Path) -> None:
    tar, _ = archive(
        package(tmp_path, "base-files", {"bin/sh": b"x"}, links={"lib64": "usr/lib64"}),
        package(tmp_path, "other", {"lib/x86_64-linux-gnu/lib.so": b"y"}),
    )
    names = tar.getnames()
    assert {"usr/bin/sh", "usr/lib/x86_64-linux-gnu/lib.so"} <= set(names)
    for name in ("bin", "sbin", "lib", "lib64"):
        assert tar.getmember(name).linkname == f"usr/{name}" and names.count(name) == 1
        assert tar.getmember(f"usr/{name}").isdir()
    assert not [name for name in names if name.startswith(("bin/", "lib/"))]
    assert len([name for name in names if tar.getmember(name).isdir()]) == len(
        {name for name in names if tar.getmember(name).isdir()}
    )


@pytest.mark.parametrize("control", [{"preinst": b"#!/bin/sh\n"}, {"triggers": b"interest-noawait ldconfig\n"}])
def test_a_package_with_more_to_do_is_left_to_dpkg(tmp_path: Path, control: dict[str, bytes]) -> None:
    one = package(tmp_path, "one", {"bin/one": b"1" * 1000}, control=control)
    tar, left = archive(one, package(tmp_path, "two", control={"triggers": b"activate-noawait ldconfig\n"}))
    assert left == ["one"]
    assert "usr/bin/one" not in tar.getnames()
    assert "Package: one" not in text(tar, "var/lib/dpkg/status")
    assert "Package: two" in text(tar, "var/lib/dpkg/status")
    file = tar.extractfile("var/cache/apt/archives/one.deb")
    assert file is not None
    copy = tmp_path / "copy.deb"
    copy.write_bytes(file.read())
    assert b"data.tar  " in copy.read_bytes() and b"1" * 1000 in copy.read_bytes()
    assert [member.name for member, _ in read_deb(copy)] == [member.name for member, _ in read_deb(one.path)]
    assert read_control(copy) == one.control


def test_of_what_is_left_to_dpkg_that_which_essential_packages_need_is_in_place_all_the_same(tmp_path: Path) -> None:
    script = {"preinst": b"#!/bin/sh\n", "conffiles": b"/etc/libc.conf\n"}
    tar, left = archive(
        package(tmp_path, "shell", {"bin/sh": b"x"}, fields="Essential: yes\nPre-Depends: libc\n"),
        package(tmp_path, "libc", {"lib/libc.so": b"y", "etc/libc.conf": b"z"}, control=script),
    )
    assert left == ["libc"]
    assert "usr/lib/libc.so" in tar.getnames()
    assert not [name for name in tar.getnames() if name.startswith("etc/libc.conf")]  # dpkg asks about those it finds


def test_a_file_of_our_own_brings_its_directories(tmp_path: Path) -> None:
    file = io.BytesIO()
    with SystemArchive(file) as system:
        system.add_file("etc/default/locale", b"LANG=C.UTF-8\n")
        system.add_file("etc/default/other", b"")
    file.seek(0)
    with tarfile.open(fileobj=file) as tar:
        names = tar.getnames()
    assert names == ["etc", "etc/default", "etc/default/locale", "etc/default/other"]


def test_a_program_comes_with_its_loader_and_libraries(tmp_path: Path) -> None:
    library = "lib/x86_64-linux-gnu"
    packages = [
        package(
            tmp_path, "e2fsprogs", {"sbin/mke2fs": b"program", "sbin/other": b""},
            fields="Pre-Depends: libext2fs2\n",
        ),
        package(
            tmp_path, "libext2fs2", {f"{library}/libext2fs.so.2.4": b"library"},
            fields="Depends: libc6\n", links={f"{library}/libext2fs.so.2": "libext2fs.so.2.4"},
        ),
        package(tmp_path, "libc6", {f"{library}/ld-linux-x86-64.so.2": b"loader", f"usr/{library}/gconv/X.so": b""}),
        package(tmp_path, "libother", {f"{library}/libother.so.1": b""}),
    ]  # fmt: skip
    assert tool_files(packages, "e2fsprogs", ["mke2fs"]) == {
        "mke2fs": b"program",
        "libext2fs.so.2.4": b"library",
        "libext2fs.so.2": b"library",
        "ld-linux-x86-64.so.2": b"loader",
    }
    with pytest.raises(ConfigError, match="package e2fsprogs has no mkfs"):
        tool_files(packages, "e2fsprogs", ["mkfs"])
