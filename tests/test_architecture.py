"""Holds ARCHITECTURE.md against the code."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

import xenia
from xenia.machine.lock import NAMES

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "xenia"
FOR_ALL = {"errors", "abi"}

# Cython's forms: `from xenia.a.b cimport c`, `cimport xenia.a.b`, and the Python ones.
CYTHON_FROM = re.compile(r"^\s*from\s+(xenia[\w.]*)\s+c?import\s+\(?\s*([\w, \t*]*)", re.MULTILINE)
CYTHON_IMPORT = re.compile(r"^\s*c?import\s+(xenia[\w.]*)", re.MULTILINE)


class Import(NamedTuple):
    file: Path
    target: str  # dotted, beginning with "xenia"
    for_types: bool = False  # under `if TYPE_CHECKING`: never executed


@cache
def sources() -> list[Path]:
    return sorted(path for suffix in ("py", "pyi", "pyx", "pxd", "pxi") for path in PACKAGE.rglob(f"*.{suffix}"))


def python_imports(file: Path) -> Iterator[Import]:
    tree = ast.parse(file.read_text())
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        for_types = id(node) in guarded
        if isinstance(node, ast.Import):
            yield from (Import(file, alias.name, for_types) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = file.relative_to(PACKAGE.parent).parent.parts
                base = ".".join([*package[: len(package) - node.level + 1], *base.split(".")]).rstrip(".")
            yield from (Import(file, f"{base}.{alias.name}", for_types) for alias in node.names)


def cython_imports(file: Path) -> Iterator[Import]:
    text = file.read_text()
    for match in CYTHON_FROM.finditer(text):
        for name in re.split(r"[,\s]+", match[2].strip()) or [""]:
            yield Import(file, f"{match[1]}.{name}".rstrip("."))
    for match in CYTHON_IMPORT.finditer(text):
        yield Import(file, match[1])


@cache
def imports() -> tuple[Import, ...]:
    found: list[Import] = []
    for file in sources():
        found += (python_imports if file.suffix in (".py", ".pyi") else cython_imports)(file)
    return tuple(one for one in found if one.target.split(".")[0] == "xenia")


def part(path: Path) -> str:
    """The row that a source file belongs to: its own, or that of the nearest folder that has one."""
    name = str(path.relative_to(PACKAGE).with_suffix(""))
    while name not in table() and "/" in name:
        name = name.rpartition("/")[0]
    return name


@cache
def parts() -> set[str]:
    """Every row that has code, and every file and folder that needs one: those directly under the package, and under a
    folder of which another part has a row of its own."""
    found = {part(path) for path in sources() if path.stat().st_size}
    divided = {name.rpartition("/")[0] for name in table() if "/" in name}
    folders = {str(path.parent.relative_to(PACKAGE)) for path in sources() if path.stat().st_size}
    return found | {name for name in folders if name.rpartition("/")[0] in divided}


def target_part(target: str) -> str:
    """The row of what is imported, a module or a name in one."""
    names = target.split(".")[1:]
    while names and "/".join(names) not in table():
        names.pop()
    return "/".join(names) or "__init__"


@cache
def table() -> dict[str, set[str]]:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    body = text.split("<!-- import table -->")[1].split("<!-- /import table -->")[0]
    rows: dict[str, set[str]] = {}
    for line in body.strip().splitlines()[2:]:
        name, allowed, what = (cell.strip() for cell in line.strip("|").split("|"))
        assert what, f"{name} is not described"
        rows[name.strip("`")] = set(re.findall(r"`([\w/]+)`", allowed))
    return rows


def test_every_part_of_the_package_has_a_row_and_every_row_has_code() -> None:
    assert set(table()) == parts()


@pytest.mark.parametrize("name", sorted(parts()))
def test_imports_go_only_where_the_table_says(name: str) -> None:
    allowed = table()[name] | FOR_ALL | {name}
    wrong = [
        f"{found.file.relative_to(ROOT)} imports {found.target} of {target_part(found.target)}"
        for found in imports()
        if part(found.file) == name and target_part(found.target) not in allowed
    ]
    assert not wrong, "\n".join(wrong)


def test_every_arrow_of_the_table_is_used() -> None:
    used: dict[str, set[str]] = {}
    for found in imports():
        used.setdefault(part(found.file), set()).add(target_part(found.target))
    idle = {name: sorted(allowed - used.get(name, set())) for name, allowed in table().items()}
    assert not {name: arrows for name, arrows in idle.items() if arrows}


def test_the_table_lists_from_top_to_bottom_and_arrows_only_go_down() -> None:
    order = list(table())
    for name, allowed in table().items():
        upwards = {other for other in allowed if order.index(other) <= order.index(name)}
        assert not upwards, f"{name} may import {upwards}, which stand above it"


def test_nothing_above_the_processor_boundary_names_an_engine() -> None:
    engines = {name for name in table() if name.startswith("cpu/engines/")}
    assert engines
    above = {name: allowed for name, allowed in table().items() if name not in engines}
    assert not {name: allowed & engines for name, allowed in above.items() if allowed & engines}
    outside = [file for file in sources() if file.relative_to(PACKAGE).parts[0] != "cpu"]
    named = re.compile(r"cpu\.engines|Unicorn|emulated engine", re.IGNORECASE)
    assert not [str(file) for file in outside if named.search(file.read_text())]


def test_nothing_compiled_and_so_nothing_that_a_guest_waits_for_is_in_the_toolstack() -> None:
    assert [file for file in sources() if file.suffix == ".pyx"]
    assert not list(PACKAGE.glob("toolstack/**/*.pyx"))


def test_no_two_python_modules_import_each_other() -> None:
    modules = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in sources()}
    modules |= {name.removesuffix(".__init__") for name in modules}
    graph: dict[str, set[str]] = {}
    for found in imports():
        if found.file.suffix != ".py" or found.for_types:
            continue  # names for types and for Cython's structures may go round in a circle
        source = ".".join(found.file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        target = found.target if found.target in modules else found.target.rpartition(".")[0]
        if target != source:
            graph.setdefault(source, set()).add(target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as cycle:
        pytest.fail(f"import cycle: {' -> '.join(cycle.args[1])}")


def test_every_folder_of_the_repository_is_described() -> None:
    section = (ROOT / "ARCHITECTURE.md").read_text().split("## The repository")[1].split("\n## ")[0]
    described = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    ours = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name[0] not in "._"}
    built = {"build", "dist"} | {path.name for path in ROOT.glob("*.egg-info")}
    assert ours - built <= described


def test_every_file_that_the_boot_steps_name_exists() -> None:
    steps = (ROOT / "ARCHITECTURE.md").read_text().split("## A boot")[1].split("\n## ")[0]
    named = re.findall(r"`([\w/]+(?:\.pyx?|/))`", steps) + re.findall(r"`(\w+/\w+)`", steps)
    assert len(named) > 10
    missing = [name for name in named if not (PACKAGE / name).exists()]
    assert not missing


def test_everything_public_says_what_it_is() -> None:
    assert xenia.__all__
    for name in xenia.__all__:
        thing = getattr(xenia, name)
        assert thing.__doc__, f"xenia.{name} has no docstring"
        if isinstance(thing, type):
            bare = [
                f"{name}.{member}"
                for member, value in vars(thing).items()
                if not member.startswith("_") and callable(value) and not value.__doc__
            ]
            assert not bare, f"without a docstring: {bare}"


def test_the_order_of_locks_is_the_one_that_is_checked() -> None:
    table = (ROOT / "ARCHITECTURE.md").read_text().split("<!-- lock order -->")[1].split("<!-- /lock order -->")[0]
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", table, re.MULTILINE)
    assert [name for name, _ in rows] == sorted(NAMES, key=NAMES.__getitem__)
    assert all((PACKAGE / place).is_file() for _, place in rows)
    tree = (PACKAGE / "machine" / "lock.pxd").read_text().split("from libc")[0]
    assert [name for name in re.findall(r"^# {3,}(\w+)  ", tree, re.MULTILINE) if name in NAMES] == [n for n, _ in rows]


DEFINITION = re.compile(r"^(?:cdef )?(class|struct) (\w+)\b(?!\s*$)", re.MULTILINE)


def names() -> list[list[set[str]]]:
    """The rows of the table of names: C structs, Cython classes, Python classes."""
    table = (ROOT / "ARCHITECTURE.md").read_text().split("<!-- names -->")[1].split("<!-- /names -->")[0]
    rows = [row.split("|")[2:5] for row in table.strip().splitlines()[2:]]
    return [[set(re.findall(r"`(\w+)`", cell)) for cell in row] for row in rows]


@cache
def definitions() -> dict[str, set[tuple[str, str]]]:
    """Where each struct and class of the package is defined: (kind, module)."""
    found: dict[str, set[tuple[str, str]]] = {}
    for file in sources():
        if file.suffix == ".pyi":
            continue
        for kind, name in DEFINITION.findall(file.read_text()):
            kind = "python" if kind == "class" and file.suffix == ".py" else {"class": "cython"}.get(kind, kind)
            found.setdefault(name, set()).add((kind, str(file.with_suffix("").relative_to(PACKAGE))))
    return found


def test_each_name_of_the_table_is_of_the_kind_that_it_says() -> None:
    for row in names():
        for kind, cell in zip(("struct", "cython", "python"), row, strict=True):
            for name in cell:
                assert kind in {found for found, _ in definitions().get(name, set())}, f"there is no {kind} {name}"


def test_a_name_of_the_table_means_its_row_and_nothing_else() -> None:
    meant: dict[str, set[str]] = {}
    for row in names():
        for kind, cell in zip(("struct", "cython", "python"), row, strict=True):
            for name in cell:
                meant.setdefault(name, set()).add(kind)
    for name, kinds in meant.items():
        bodies = sorted(definitions()[name])
        assert [kind for kind, _ in bodies] == sorted(kinds), f"{name} is more than one thing: {bodies}"


def test_nothing_is_renamed_on_its_way_into_another_file() -> None:
    known = {name for row in names() for cell in row for name in cell}
    for file in sources():
        for old, new in re.findall(
            r"\b(\w+) as (\w+)\b",
            "\n".join(
                line for line in file.read_text().splitlines() if re.match(r"\s*(from|cimport|import|    \w)", line)
            ),
        ):
            assert old not in known or old == new, f"{file.relative_to(PACKAGE)} calls {old} {new}"
