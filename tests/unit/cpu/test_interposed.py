"""Which functions of Unicorn's the engine takes the place of is read from what it is linked of."""

import shutil
import subprocess
from pathlib import Path

import pytest

from xenia.cpu.engines.emulated.interposed import NothingToWrap, interposed

pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("as", "ar", "nm")), reason="needs binutils: as, ar and nm"
)

UNICORN = {  # two files of a library
    "translate": ".globl translate, within; translate: call flush; call page_walk; call within; ret; within: ret",
    "memory": ".globl flush, page_walk; flush: ret; page_walk: ret",
}


def assemble(folder: Path, name: str, source: str) -> str:
    target = folder / f"{name}.o"
    subprocess.run(["as", "-o", target, "-"], input=source.replace("; ", "\n") + "\n", text=True, check=True)
    return str(target)


def wrapper(name: str) -> str:
    return f".globl __wrap_{name}; __wrap_{name}: ret"


@pytest.fixture
def library(tmp_path: Path) -> str:
    objects = [assemble(tmp_path, name, source) for name, source in UNICORN.items()]
    subprocess.run(["ar", "rcs", tmp_path / "lib.a", *objects], check=True)
    return str(tmp_path / "lib.a")


def test_every_wrapper_that_is_written_is_linked(tmp_path: Path, library: str) -> None:
    ours = [
        assemble(tmp_path, "ours", wrapper("flush")),
        assemble(tmp_path, "more", f"{wrapper('page_walk')}; call __real_page_walk; call translate"),
    ]
    assert interposed(ours, library) == ["flush", "page_walk"]


def test_a_wrapper_may_be_for_what_the_engine_calls_itself(tmp_path: Path, library: str) -> None:
    ours = [assemble(tmp_path, "ours", wrapper("helper")), assemble(tmp_path, "more", "call helper")]
    assert interposed(ours, library) == ["helper"]


@pytest.mark.parametrize("name", ["not_there", "translate", "within"])
def test_a_wrapper_of_what_nobody_calls_is_refused(name: str, tmp_path: Path, library: str) -> None:
    with pytest.raises(NothingToWrap, match=f"__wrap_{name}$"):
        interposed([assemble(tmp_path, "ours", f"{wrapper('flush')}; {wrapper(name)}")], library)
