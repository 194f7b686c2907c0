"""What net/nat/slirp.pxd says of libslirp's structures against its header, by the compiler."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from xenia.errors import ConfigError
from xenia.toolstack.provision.cache import Cache
from xenia.toolstack.provision.deb import read_deb
from xenia.toolstack.provision.packages import PackageClient

DECLARED = Path(__file__).parents[2] / "src" / "xenia" / "net" / "nat" / "slirp.pxd"

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


@pytest.fixture(scope="module")
def headers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with libslirp's headers, of the host or of its package."""
    if Path("/usr/include/slirp/libslirp.h").exists():
        return Path("/usr/include/slirp")
    folder = tmp_path_factory.mktemp("libslirp-dev")
    client = PackageClient(Cache(folder / "cache"))
    try:
        package = client.download(client.find(["libslirp-dev"]), folder)
    except ConfigError as error:
        pytest.skip(f"libslirp's header cannot be had here: {error}")
    for member, contents in read_deb(package):
        if contents is not None and member.name.endswith(".h"):
            (folder / Path(member.name).name).write_bytes(contents.read())
    return folder


def declared(name: str) -> list[tuple[str, str]]:
    """The fields of a structure as they are declared, each as its C declaration and its name."""
    body = re.search(rf"^cdef struct {name}:\n((?:    .*\n)+)", DECLARED.read_text(), re.MULTILINE)
    assert body is not None
    fields = []
    for line in body[1].splitlines():
        code = line.split("#")[0].strip()
        pointer = re.match(r".*\(\*(\w+)\)\(", code)
        field = pointer[1] if pointer else code.split()[-1].strip("*")
        kind = (
            f"void (*{field})(void)" if pointer else re.sub(r"^(in_addr|in6_addr|sockaddr_in6?)\b", r"struct \1", code)
        )
        fields.append((kind, field))
    return fields


@pytest.mark.parametrize("name", ["SlirpConfig", "SlirpCb"])
def test_a_structure_is_laid_out_as_in_the_header(headers: Path, tmp_path: Path, name: str) -> None:
    fields = declared(name)
    lines = [
        "#include <stddef.h>",
        '#include "libslirp.h"',
        "struct ours {",
        *(f"    {kind};" for kind, _ in fields),
        "};",
    ]
    for _, field in fields:
        there, here = f"(({name} *)0)->{field}", f"((struct ours *)0)->{field}"
        lines.append(f'_Static_assert(offsetof({name}, {field}) == offsetof(struct ours, {field}), "{field}");')
        lines.append(f'_Static_assert(sizeof({there}) == sizeof({here}), "{field}");')
    source = tmp_path / "probe.c"
    source.write_text("\n".join(lines) + f'\n_Static_assert(sizeof({name}) >= sizeof(struct ours), "whole");\n')
    told = subprocess.run(
        ["cc", "-fsyntax-only", f"-I{headers}", str(source)], capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    assert len(fields) > 8


def test_numbers_are_those_of_the_header(headers: Path, tmp_path: Path) -> None:
    source = tmp_path / "probe.c"
    numbers = {"POLL_IN": 1, "POLL_OUT": 2, "POLL_PRI": 4, "POLL_ERR": 8, "POLL_HUP": 16, "HOSTFWD_UDP": 1}
    asserts = [f'_Static_assert(SLIRP_{name} == {number}, "{name}");' for name, number in numbers.items()]
    asserts.append('_Static_assert(SLIRP_CONFIG_VERSION_MAX >= 4, "version");')
    source.write_text("\n".join(['#include "libslirp.h"', *asserts]) + "\n")
    subprocess.run(["cc", "-fsyntax-only", f"-I{headers}", str(source)], check=True)
    text = DECLARED.read_text()
    for name, number in numbers.items():
        ours = name if name.startswith("HOSTFWD") else f"SLIRP_{name.removeprefix('POLL_')}"
        assert re.search(rf"^    {ours} = {number}\b", text, re.MULTILINE), ours
