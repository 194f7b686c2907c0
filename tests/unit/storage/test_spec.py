"""The words that name a stack."""

from pathlib import Path

import pytest

from xenia.errors import ConfigError
from xenia.storage.cow import Overlay
from xenia.storage.memory import Memory
from xenia.storage.spec import parse, quote
from xenia.storage.stack import absolute, create_stack, open_stack, words_of


def test_words_have_values_and_options() -> None:
    file, crypt, cow = parse("file:data.img,crypt:key=@key:plain,cow")
    assert (file.name, file.values, file.options) == ("file", ("data.img",), {})
    assert (crypt.name, crypt.values, crypt.options) == ("crypt", ("plain",), {"key": "@key"})
    assert (cow.text, cow.values) == ("cow", ())


@pytest.mark.parametrize("name", ["a,b", "a:b", "a\\b", "a,:\\,b", "a=b", "plain"])
def test_a_quoted_name_is_the_name(name: str) -> None:
    (word,) = parse(f"file:{quote(name)}")
    assert word.values == (name,)
    (word,) = parse(f"nbd:socket:export={quote(name)}")
    assert word.options == {"export": name}


@pytest.mark.parametrize(("path", "kind"), [("./root.qcow2", "qcow2"), ("./disk.img", "file"), ("/disk", "file")])
def test_a_bare_path_is_told_by_its_name(path: str, kind: str) -> None:
    (word,) = words_of(path)
    assert (word.name, word.values) == (kind, (path,))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("file:a,crpyt:key=@k", "what is 'crpyt'?"),
        ("file:a,crypt:kye=@k", "in 'crypt:kye=@k' of the disk 'file:a,crypt:kye=@k': crypt has no option 'kye'"),
        ("file:a,crypt:key=secret", "a key comes from a file"),
        ("file:a,crypt", "in 'crypt' .* needs a key"),
        ("file:a,cow:b:c", "what is 'c'?"),
        ("file:a,,cow", "empty word"),
        ("", "a disk has no name"),
        ("cow", "cow needs a layer below it"),
        ("qcow2", "qcow2 needs a layer below it"),
        ("file:a,file:b", "in 'file:b' .* it can only be the first word"),
        ("file:a,cache:size=1M:size=2M", "'size' is given twice"),
        ("memory:1M,cache:size=lots", "in 'cache:size=lots' .* 'lots' is not a value for size"),
        ("memory:1M,throttle", "how many bytes or requests"),
        ("memory:1M,checkpoint", "where are the checkpoints to be"),
        ("memory:1M,faulty:error=EWHAT", "'EWHAT' is not an errno"),
        ("memory:huge", "how large is it to be"),
        ("file:nowhere/disk", "cannot open nowhere/disk: No such file"),
        ("nbd:nowhere/socket", "cannot reach an NBD server at nowhere/socket"),
    ],
)
def test_complaints_point_at_the_word(
    text: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a").write_bytes(bytes(1024))
    with pytest.raises(ConfigError, match=complaint):
        open_stack(text)


def test_what_is_below_an_overlay_is_only_read(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(b"below" * 1024)
    with open_stack(f"file:{tmp_path}/disk,cow") as first, open_stack(f"file:{tmp_path}/disk,cow") as second:
        assert isinstance(first, Overlay)
        first.pwrite(b"above", 0)
        assert second.pread(0, 5) == b"below"
    assert (tmp_path / "disk").read_bytes() == b"below" * 1024


def test_a_file_that_is_written_to_is_in_use(tmp_path: Path) -> None:
    create_stack(f"file:{tmp_path}/disk", 4096)
    with open_stack(f"file:{tmp_path}/disk"):
        for text in (f"file:{tmp_path}/disk", f"file:{tmp_path}/disk:ro"):
            with pytest.raises(ConfigError, match="is in use"):
                open_stack(text)


def test_a_file_that_exists_is_not_made_again(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(b"precious")
    with pytest.raises(ConfigError, match="there is a file"):
        create_stack(f"file:{tmp_path}/disk", 4096)
    assert (tmp_path / "disk").read_bytes() == b"precious"
    create_stack(f"file:{tmp_path}/disk", 4096, replace=True)
    assert (tmp_path / "disk").read_bytes() == bytes(4096)


def test_a_stack_that_cannot_be_opened_leaves_nothing_open(tmp_path: Path) -> None:
    create_stack(f"file:{tmp_path}/disk", 4096)
    with pytest.raises(ConfigError, match="is not a qcow2 image"):
        open_stack(f"file:{tmp_path}/disk,qcow2")
    with open_stack(f"file:{tmp_path}/disk"):
        pass  # it is not in use


def test_the_top_of_an_encrypted_disk_has_the_size_that_was_asked_for(tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="needs the Python package cryptography")
    (tmp_path / "key").write_bytes(b"key")
    text = f"file:{tmp_path}/disk,crypt:key=@{tmp_path}/key:kdf=pbkdf2"
    create_stack(text, 1 << 20)
    with open_stack(text) as top:
        assert top.size == 1 << 20


def test_memory_is_a_disk() -> None:
    with open_stack("memory:1M") as disk:
        assert isinstance(disk, Memory) and disk.size == 1 << 20


@pytest.mark.parametrize(
    ("text", "rooted"),
    [
        ("./root.img", "file:/here/root.img"),
        ("../a\\,b.qcow2,cow", "qcow2:/a\\,b.qcow2,cow"),
        ("file:a:ro,crypt:key=@k:plain,cow:o", "file:/here/a:ro,crypt:plain:key=@/here/k,cow:/here/o"),
        ("nbd:/s:export=x,cache:size=1M", "nbd:/s:export=x,cache:size=1M"),
        ("memory:64M,checkpoint:c", "memory:64M,checkpoint:/here/c"),
        ("qcow2:clone.qcow2:base=base.img", "qcow2:/here/clone.qcow2:base=base.img"),  # that is relative to the image
    ],
)
def test_a_stack_can_be_named_from_the_root(text: str, rooted: str) -> None:
    assert absolute(text, Path("/here")) == rooted
    assert absolute(rooted, Path("/there")) == rooted
