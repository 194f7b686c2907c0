"""What an operator names as a kernel or a RAM disk is read whole, or refused in one line."""

import os
from pathlib import Path

import pytest

from xenia.domain.build.image_file import read_image
from xenia.errors import ConfigError


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(bytes(5000))
    assert read_image(path, 5000) == bytes(5000)


def test_a_pipe_is_read_to_its_end() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"kernel")
    os.close(writer)
    assert read_image(Path(f"/proc/self/fd/{reader}"), 5000) == b"kernel"
    os.close(reader)


def test_a_file_that_is_too_large_is_not_read_at_all(tmp_path: Path) -> None:
    path = tmp_path / "image"
    with path.open("wb") as file:
        file.truncate(1 << 42)
    with pytest.raises(ConfigError, match="image: larger than 3 MB"):
        read_image(path, 3 << 20)


def test_a_device_without_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="/dev/zero: larger than 3 MB"):
        read_image(Path("/dev/zero"), 3 << 20)


@pytest.mark.parametrize(("name", "complaint"), [("nothing", "No such file"), (".", "Is a directory")])
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        read_image(tmp_path / name, 5000)
