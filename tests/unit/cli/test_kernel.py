"""`xenia kernel` on a host without a package client: what is in the cache is all there is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xenia.cli.main import command
from xenia.toolstack.provision.modules import GUEST_MODULES

RELEASE = "6.12.3+deb12-amd64"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with one kernel."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    directory = tmp_path / "xenia" / "kernels" / RELEASE
    (directory / "modules").mkdir(parents=True)
    (directory / "vmlinuz").write_bytes(b"kernel")
    (directory / "package").write_text("6.12.3-1")
    (directory / "wanted-modules").write_text("\n".join(GUEST_MODULES))
    return tmp_path / "xenia"


def test_the_cached_kernels_are_listed_and_whoever_cannot_tell_of_others_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(["kernel", "list"]) == 0
    said = capsys.readouterr()
    assert [line.split()[:2] for line in said.out.splitlines()] == [["RELEASE", "PACKAGE"], [RELEASE, "6.12.3-1"]]
    assert said.err == (
        "xenia: no package client (apt-get) on this host to look for packages with: only what is in the cache is "
        "listed\n"
    )


def test_the_list_in_json_has_sizes_in_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["kernel", "list", "--cached", "--json"]) == 0
    said = capsys.readouterr()
    (row,) = json.loads(said.out)
    assert row.pop("disk_bytes") >= 6
    assert row == {
        "release": RELEASE, "flavour": "amd64", "package": "6.12.3-1", "cached": True, "usual": False,
        "download_bytes": 0,
    }  # fmt: skip
    assert said.err == ""


def test_a_removed_kernel_is_gone_and_another_one_is_refused_in_one_line(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["kernel", "rm", "6.12"]) == 0
    assert capsys.readouterr().out.startswith(f"{RELEASE}: removed, ")
    assert not (cache / "kernels" / RELEASE).exists()
    assert command(["kernel", "rm", "6.12"]) == 2
    assert capsys.readouterr().err == "xenia: no kernel 6.12 in the cache; there are none in it\n"
    assert command(["kernel", "list", "--cached"]) == 0
    assert capsys.readouterr().out == "no kernels ('xenia kernel fetch' fetches one)\n"


@pytest.mark.parametrize("words", [["kernel", "fetch", "vmlinuz"], ["kernel", "rm", "../kernels"]])
def test_what_is_no_version_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command(words) == 2
    assert f"'{words[-1]}' is no version of a kernel" in capsys.readouterr().err


def test_a_version_that_cannot_be_had_ends_a_run_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["run", "--kernel", "6.6", "--", "true"]) == 2
    assert capsys.readouterr().err == ("xenia: no package client (apt-get) on this host to look for packages with\n")
