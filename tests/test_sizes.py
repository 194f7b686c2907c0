"""How long a source file may be, and a function of the package."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "xenia"
LONGEST_FILE = 450
MEDIAN_FILE = 120
LONGEST_FUNCTION = 60
LONGEST_LINE = 120

# Who may be longer, and why.
LONG_FUNCTIONS = {
    "cpu/decode.pyx:decode": "an instruction, in the order of its bytes: what comes first decides how the rest is read",
    "cpu/engines/emulated/interpose.c:__wrap_x86_cpu_tlb_fill_x86_64": "the whole page walk, on the hottest path",
    "domain/build/start_of_day.py:plan": "the guest's memory, in the order that public/xen.h gives it",
    "domain/build/start_of_day.py:build": "the same order once more, written out",
    "hypercalls/table.pyx:fill": "a table: a row for each hypercall",
}
# Assembly in a macro, one string for each line of it.
LONG_LINES = {"registers.c", "selectors.c", "stress.c", "kit.h"}


class Function(NamedTuple):
    """A function, and how many lines it has with its head and docstring."""

    file: Path
    name: str
    lines: int

    @property
    def key(self) -> str:
        return f"{self.file.relative_to(PACKAGE)}:{self.name}"


def sources(*suffixes: str) -> list[Path]:
    """Ours, but for what a script writes from another."""
    found = [path for path in sorted(PACKAGE.rglob("*")) if path.suffix in suffixes and path.stat().st_size]
    return [path for path in found if "Written by scripts/abi.py" not in path.read_text()]


def functions(path: Path) -> Iterator[Function]:
    lines = path.read_text().splitlines()
    if path.suffix == ".py":
        for node in ast.walk(ast.parse("\n".join(lines))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
                yield Function(path, node.name, node.end_lineno - node.lineno + 1)
        return
    if path.suffix in (".c", ".h"):
        for found in re.finditer(r"^(?![\s#/])[\w *]+?(\w+)\([^;{}]*\)[^;{}]*\{.*?^\}", "\n".join(lines), re.M | re.S):
            yield Function(path, found[1], found[0].count("\n") + 1)
        return
    for start, line in enumerate(lines):
        if not (head := re.match(r"( *)(?:cdef|cpdef|def)\b(?! class)[^(]*?(\w+)\(", line)):
            continue
        end = start + 1
        while end < len(lines) and "\n".join(lines[start:end]).count("(") > "\n".join(lines[start:end]).count(")"):
            end += 1
        last = end
        while end < len(lines) and (not lines[end].strip() or lines[end].startswith(head[1] + " ")):
            end += 1
            last = end if lines[end - 1].strip() else last
        yield Function(path, head[2], last - start)


SUFFIXES = (".py", ".pyx", ".pxd", ".c", ".h", ".sh")


def test_no_source_file_is_long() -> None:
    guests = [path for path in (ROOT / "guests").rglob("*") if path.suffix in SUFFIXES]
    beside = [path for folder in ("bench", "scripts") for path in (ROOT / folder).glob("*.*")]
    paths = [*sources(*SUFFIXES), *guests, *beside, ROOT / "setup.py"]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in paths}
    long = {name: length for name, length in lengths.items() if length > LONGEST_FILE}
    assert not long


def test_half_of_the_source_files_are_short() -> None:
    assert median(len(path.read_text().splitlines()) for path in sources(".py", ".pyx", ".c")) < MEDIAN_FILE


def test_no_function_is_long() -> None:
    found = [each for path in sources(".py", ".pyx", ".pxd", ".c", ".h") for each in functions(path)]
    assert len(found) > 2000
    long = {each.key: each.lines for each in found if each.lines > LONGEST_FUNCTION}
    assert not {key: lines for key, lines in long.items() if key not in LONG_FUNCTIONS}


@pytest.mark.parametrize("folder", ["src", "guests", "tests", "bench"])
def test_no_line_of_c_is_long(folder: str) -> None:
    """But for a row of a table in a comment."""
    found = [path for path in (ROOT / folder).rglob("*") if path.suffix in (".c", ".h", ".S")]
    found = [path for path in found if path.name not in LONG_LINES]
    long = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in found
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(line) > LONGEST_LINE and not re.match(r" \* {3,}\S", line)
    ]
    assert not long


def test_functions_are_found_with_their_lengths(tmp_path: Path) -> None:
    cython = "cdef int f(int a,\n           int b) noexcept:\n    return 1\n\n\n# of g\ndef g():\n    x\n\n    y\n"
    c = "static int f(int a)\n{\n    return 1;\n}\nint declared(int);\n\nint g(void) {\n    x;\n\n}\n"
    (tmp_path / "one.pyx").write_text(cython)
    (tmp_path / "two.c").write_text(c)
    assert [(each.name, each.lines) for each in functions(tmp_path / "one.pyx")] == [("f", 3), ("g", 4)]
    assert [(each.name, each.lines) for each in functions(tmp_path / "two.c")] == [("f", 4), ("g", 4)]
