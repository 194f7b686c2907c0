"""What an operator's words for a shared folder come to."""

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from xenia.errors import ConfigError
from xenia.storage.door import handed
from xenia.toolstack.config.disk import parse_disk
from xenia.toolstack.config.share import (
    HOST_ROOT,
    ShareConfig,
    for_guest,
    on_disks,
    parse_later,
    parse_share,
    place_of,
    written,
)
from xenia.toolstack.devices.kinds import read_config


@pytest.mark.parametrize(
    ("words", "config"),
    [
        ("/srv/data", ShareConfig("/srv/data", mount="/srv/data")),
        ("/srv/data:ro", ShareConfig("/srv/data", mount="/srv/data", read_only=True)),
        ("/srv/data:/mnt", ShareConfig("/srv/data", mount="/mnt")),
        ("/srv/../etc:/mnt/x/:ro", ShareConfig("/etc", mount="/mnt/x", read_only=True)),
        ("/usr", ShareConfig("/usr", mount="/mnt/usr")),
        ("/", ShareConfig("/", mount="/mnt")),
        ("~/src", ShareConfig(f"{Path.home()}/src", mount=f"{Path.home()}/src")),
        ("tag=a,path=/b,security_model=none", ShareConfig("/b", "a")),
        (r"/srv/a\:b", ShareConfig("/srv/a:b", mount="/srv/a:b")),
        (r"/srv/10\:30\:ro:/mnt/10\:30:ro", ShareConfig("/srv/10:30:ro", mount="/mnt/10:30", read_only=True)),
        (r"/srv/a\\b:/x", ShareConfig(r"/srv/a\b", mount="/x")),
    ],
)
def test_words_are_a_folder_and_where_it_is_seen(words: str, config: ShareConfig) -> None:
    assert parse_share(words) == config
    assert read_config("share", config.as_dict()) == config


def test_a_path_that_is_written_is_read_again() -> None:
    assert parse_share(written(r"/a:b\:c\\d:ro")).path == r"/a:b\:c\\d:ro"


def test_a_folder_that_is_named_shortly_is_this_one() -> None:
    assert parse_share(".").path == os.getcwd()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("", "write DIR"),
        (":/mnt", "write DIR"),
        ("/a:/b:/c", r"write DIR\[:MOUNT\]\[:ro\]\[:disk\] \(and \\: for a colon in a name\)"),
        ("/a:ro:rw", "write DIR"),
        ("/a:b", "and not at 'b'"),
        ("/a:/", "and not at '/'"),
        ("/a:/b\n", "no path"),
        ("tag=a", "no path="),
        ("tag=a,path=/b,security_model=mapped", "use none"),
        ("tag=a/b,path=/b", "no tag"),
        ("tag=a,path=/b,colour=red", "what is 'colour=red'"),
    ],
)
def test_words_that_mean_nothing_are_told(words: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        parse_share(words)


def test_each_folder_has_a_tag_and_a_place_of_its_own() -> None:
    shares = for_guest([parse_share("/srv/a"), parse_share("tag=share0,path=/b"), parse_share("/srv/c")])
    assert [share.name for share in shares] == ["share1", "share0", "share2"]
    with pytest.raises(ConfigError, match="are to be at"):
        for_guest([parse_share("/srv/a:/x"), parse_share("/srv/b:/x")])
    with pytest.raises(ConfigError, match="already"):
        for_guest([parse_share("tag=a,path=/b"), parse_share("tag=a,path=/c")])


def test_a_folder_is_found_in_the_guest_by_the_nearest_share() -> None:
    shares = [HOST_ROOT, parse_share("/srv/a:/x"), parse_share("/srv/a/b:/y")]
    assert place_of("/srv/a/b/c", shares) == "/y/c"
    assert place_of("/srv/a/c", shares) == "/x/c"
    assert place_of("/srv/ab", shares) == "/srv/ab"
    assert place_of("/", shares) == "/"
    assert place_of("/srv/ab", shares[1:]) is None


@pytest.mark.parametrize("values", [{"path": "relative"}, {"path": 3}, {"path": "/a", "mount": "b"}, {"tag": "x"}])
def test_values_from_anywhere_that_describe_no_share_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        read_config("share", values)


def test_the_agent_is_told_how_each_is_mounted() -> None:
    words = [
        share.agent_word for share in for_guest([HOST_ROOT, parse_share("/a/b:ro"), parse_share("/c/d", cow=True)])
    ]
    assert words == ["root:root:/", "share0:ro:/a/b", "share1:cow:/c/d"]


def test_a_copy_on_a_disk_is_a_disk_of_the_last_name_that_is_free() -> None:
    shares = for_guest([parse_share("/srv/a:/x"), parse_share("/srv/b,c:/y:disk"), parse_share("/srv/d:/z:ro:disk")])
    disks, others = on_disks(shares, [parse_disk("data.img"), parse_disk("memory:1M,xvdz")])
    assert others == shares[:1]
    assert [(disk.stack, disk.name, disk.agent_word) for disk in disks[2:]] == [
        (r"folder:/srv/b\,c", "xvdy", "xvdy:disk:/y"), ("folder:/srv/d", "xvdx", "xvdx:disk-ro:/z"),
    ]  # fmt: skip
    assert not parse_share("/srv/a:/x:disk", cow=True).cow  # it is a copy already
    with pytest.raises(ConfigError, match="no disk is left for the folder"):
        on_disks(for_guest(parse_share(f"/srv/a:/{number}:disk") for number in range(15)), [])
    with pytest.raises(ConfigError, match="xenia block-attach GUEST folder:DIR"):
        parse_later("/srv/a:/x:disk")


def test_one_folder_at_several_places_and_on_a_disk_is_handed_over_as_each(tmp_path: Path) -> None:
    words = (f"{tmp_path}:/a", f"{tmp_path}:/b:ro", f"{tmp_path}:/c:disk")
    disks, shares = on_disks(for_guest(map(parse_share, words)), [])
    files: list[tuple[str, int]] = []
    with ExitStack() as stack:
        for config in (*disks, *shares):
            _, found = stack.enter_context(config.opened())
            files += [(name, os.dup(descriptor)) for name, descriptor in found]
        assert len({name for name, _ in files}) == 3
        with handed(files):
            for config in (*disks, *shares):
                stack.callback(config.open().close)
