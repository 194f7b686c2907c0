"""Layers over one another: what they add, take away, and where their paths lead."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import pytest

from xenia.errors import ConfigError
from xenia.testing.containers import file, folder, layer, link, symlink
from xenia.toolstack.image.oci_archive import open_tar
from xenia.toolstack.image.oci_tree import Tree

Member = tuple[tarfile.TarInfo, bytes]


def tree(*layers: list[Member]) -> Tree:
    made = Tree("image")
    for members in layers:
        made.add_layer(open_tar(io.BytesIO(layer(*members))))
    return made


def contents(made: Tree) -> dict[str, bytes | str]:
    """What is in it: files, links by their target, and empty directories."""
    found: dict[str, bytes | str] = {}
    for path, inode in made.paths():
        if inode.member.issym():
            found[path] = inode.member.linkname
        elif (data := inode.contents()) is not None:
            found[path] = data.read()
        elif path and not inode.names:
            found[path] = "/"
    return found


def test_a_layer_adds_and_replaces() -> None:
    made = tree([file("etc/a", b"1"), file("etc/b", b"2")], [file("./etc/b", b"3"), file("/c", b"4")])
    assert contents(made) == {"etc/a": b"1", "etc/b": b"3", "c": b"4"}


def test_a_whiteout_takes_a_file_or_a_directory_of_the_layers_below() -> None:
    below = [file("etc/a", b"1"), file("etc/b/c", b"2"), file("d")]
    made = tree(below, [file("etc/.wh.a"), file("etc/.wh.b"), file(".wh.nothing")])
    assert contents(made) == {"etc": "/", "d": b""}


def test_what_a_layer_takes_away_is_never_its_own_whatever_comes_first() -> None:
    below = [file("etc/a", b"old"), file("etc/b", b"old")]
    for order in (1, -1):
        above = [file("etc/.wh.a"), file("etc/a", b"new"), file("etc/.wh..wh..opq")][::order]
        assert contents(tree(below, above)) == {"etc/a": b"new"}


def test_an_opaque_directory_hides_all_that_was_in_it() -> None:
    made = tree([file("a/b/c"), file("a/d")], [file("a/.wh..wh..opq"), file("a/e", b"5")])
    assert contents(made) == {"a/e": b"5"}


def test_whiteouts_of_aufs_itself_mean_nothing() -> None:
    assert contents(tree([file("a")], [folder(".wh..wh.plnk"), file(".wh..wh.aufs"), file(".wh...")])) == {"a": b""}


def test_a_directory_keeps_what_is_in_it_and_takes_the_new_mode() -> None:
    made = tree([folder("a", 0o700), file("a/b")], [folder("a", 0o1777)])
    assert contents(made) == {"a/b": b""}
    found = made.find("a")
    assert found is not None and found.member.mode == 0o1777


def test_a_file_takes_the_place_of_a_directory_and_a_directory_that_of_a_link() -> None:
    assert contents(tree([file("a/b")], [file("a", b"1")])) == {"a": b"1"}
    assert contents(tree([file("x/y"), symlink("a", "x")], [folder("a")])) == {"x/y": b"", "a": "/"}


def test_a_path_goes_through_the_links_of_a_merged_system() -> None:
    made = tree([folder("usr/lib"), symlink("lib", "usr/lib")], [file("lib/a", b"1"), symlink("lib/b", "a")])
    assert contents(made) == {"lib": "usr/lib", "usr/lib/a": b"1", "usr/lib/b": "a"}


@pytest.mark.parametrize("path", ["../../etc/shadow", "/../etc/shadow", "a/../../etc/shadow", "./.././etc/shadow"])
def test_a_path_that_climbs_out_ends_in_the_root(path: str) -> None:
    assert contents(tree([file(path, b"evil")])) == {"etc/shadow": b"evil"}


@pytest.mark.parametrize("target", ["/etc", "../../../etc", "/../etc", "/"])
def test_a_link_out_leads_to_what_it_names_inside(target: str) -> None:
    made = tree([symlink("out", target), file("out/etc-or-root", b"evil")])
    inside = "etc-or-root" if target == "/" else "etc/etc-or-root"
    assert contents(made) == {"out": target, inside: b"evil"}


def test_a_whiteout_through_a_link_out_takes_what_is_inside() -> None:
    assert contents(tree([file("etc/passwd"), symlink("out", "/etc")], [file("out/.wh.passwd")])) == {
        "etc": "/", "out": "/etc",
    }  # fmt: skip


def test_several_names_are_one_file_until_a_layer_replaces_one() -> None:
    made = tree([file("a", b"1"), link("b", "a"), link("c", "/a")], [link("d", "b"), file("a", b"2")])
    assert contents(made) == {"a": b"2", "b": b"1", "c": b"1", "d": b"1"}
    assert made.find("b") is made.find("c") is made.find("d")


@pytest.mark.parametrize("target", ["gone", "../../etc/passwd", "folder", ".", "out/passwd"])
def test_another_name_of_what_is_no_file_here_is_refused(target: str) -> None:
    with pytest.raises(ConfigError, match="which is no file in it"):
        tree([folder("folder"), symlink("out", "/etc"), link("a", target)])


def test_links_in_a_circle_are_refused() -> None:
    with pytest.raises(ConfigError, match="links that lead in a circle"):
        tree([symlink("a", "b"), symlink("b", "a"), file("a/c")])


def test_a_file_in_a_file_is_refused() -> None:
    with pytest.raises(ConfigError, match="which is no directory"):
        tree([file("a"), file("a/b")])


@pytest.mark.parametrize("path", ["x" * 256, "a/" * 2100 + "b"])
def test_a_name_that_no_file_can_have_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match="a name that no file can have"):
        tree([file(path)])


@pytest.mark.parametrize("fields", [{"uid": 1 << 40}, {"gid": -1}, {"type": tarfile.CHRTYPE, "devmajor": 1 << 13}])
def test_an_owner_or_device_that_there_cannot_be_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="that there cannot be"):
        tree([file("a", **fields)])


def test_extended_attributes_are_kept_that_mean_something_elsewhere() -> None:
    capability = b"\x01\x00\x00\x02\x00\x20\xff\x00"
    said = {
        "SCHILY.xattr.security.capability": capability.decode("utf-8", "surrogateescape"),
        "SCHILY.xattr.user.mime": "text/plain", "SCHILY.xattr.trusted.overlay.opaque": "y",
    }  # fmt: skip
    found = tree([file("a", pax_headers=said)]).find("a")
    assert found is not None
    assert found.attributes == {"security.capability": capability, "user.mime": b"text/plain"}


def test_a_million_files_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xenia.toolstack.image.oci_tree.MOST_ENTRIES", 2)
    with pytest.raises(ConfigError, match="more than 2 files"):
        tree([file("a"), file("b")], [file("c")])
