"""Writes each .pyi from its .pyx: `python scripts/stubs.py`; with --check it only says which are not current.

A stub holds what Python may see of a compiled module, with its docstrings, and nothing that is not in the .pyx, or, of
a class that others cimport, in the .pxd.  What Cython cannot be told in an annotation is told in a type comment:
`cdef readonly list frames  # type: list[int]`.  A name that begins with an underscore is nobody's.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from Cython.Compiler.Errors import CompileError, init_thread
from Cython.Compiler.TreeFragment import StringParseContext, parse_from_strings

ROOT = Path(__file__).parent.parent
SOURCES = ROOT / "src"
RUFF = str(Path(sys.executable).with_name("ruff"))
INTEGERS = re.compile(r"(unsigned|char|short|int|long|size_t|Py_ssize_t|u?int\d+_t)$")
BUILTIN = {"object": "Any", "bint": "bool", "double": "float", "bytes": "bytes", "str": "str", "list": "list[Any]",
           "dict": "dict[Any, Any]", "set": "set[Any]", "tuple": "tuple[Any, ...]"}  # fmt: skip
# Cython's names of special methods, and what Python's typing calls them.
SPECIAL = {"__cinit__": "__init__"}
UNSEEN = {"__dealloc__", "__releasebuffer__"}
BUFFER = "def __buffer__(self, flags: int, /) -> memoryview: ..."


class Unannotated(Exception):
    """What has to be annotated in the source, one line each."""


class Stub:
    """The stub of one .pyx."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.text = source.read_text()
        self.lines = self.text.splitlines()
        self.missing: list[str] = []
        self.used: set[str] = set()
        self.declared = self._declared()

    def write(self) -> str:
        """The text of the .pyi.  Raises Unannotated."""
        body = "\n".join(self._module())
        if self.missing:
            raise Unannotated("\n".join(self.missing))
        head = f'"""{self._docstring()}"""\n' if self._docstring() else ""
        stub = f"{head}\n{self._imports()}\n{body}\n"
        formatted = [RUFF, "format", "--quiet", "--stdin-filename", "stub.pyi", "-"]
        return subprocess.run(formatted, input=stub, capture_output=True, text=True, check=True, cwd=ROOT).stdout

    def _docstring(self) -> str:
        return str(parsed(self.source).doc or "")

    def _module(self) -> Iterator[str]:
        for node in statements(parsed(self.source)):
            kind = type(node).__name__
            if kind == "SingleAssignmentNode":
                yield from self._constants(node.lhs, node.rhs)
            elif kind == "DefNode":
                yield from self._function(node, "")
            elif kind == "PyClassDefNode":
                yield from self._python_class(node)
            elif kind == "CClassDefNode" and node.body is not None:
                yield from self._class(node)

    def _constants(self, left: Any, right: Any) -> Iterator[str]:
        if type(left).__name__ == "TupleNode" and type(right).__name__ == "TupleNode":
            for each, value in zip(left.args, right.args, strict=True):
                yield from self._constants(each, value)
        elif type(left).__name__ == "NameNode" and str(left.name).isupper():
            kinds = {"UnicodeNode": "str", "BytesNode": "bytes", "DictNode": "dict[Any, Any]"}
            annotation = kinds.get(type(right).__name__, "int")
            if left.annotation is not None:
                annotation = str(left.annotation.string.value)
            yield f"{left.name}: {self._used(annotation)}"

    def _python_class(self, node: Any) -> Iterator[str]:
        if str(node.name).startswith("_"):
            return
        bases = [dotted(base) for base in node.bases.args] if node.bases else []
        self._used(*bases)
        yield f"class {node.name}" + (f"({', '.join(bases)})" if bases else "") + ":"
        yield from quoted(node.doc, "    ")
        yield "    ..."
        for member in statements(node.body):
            if type(member).__name__ == "DefNode":
                yield from self._function(member, "    ")
            elif type(member).__name__ == "ExprStatNode" and getattr(member.expr, "annotation", None) is not None:
                yield f"    {member.expr.name}: {self._used(str(member.expr.annotation.string.value))}"

    def _used(self, *annotations: str) -> str:
        """Note the names in them; the first one."""
        for annotation in annotations:
            self.used.update(re.findall(r"[A-Za-z_]\w*", annotation))
        return annotations[0] if annotations else ""

    def _class(self, node: Any) -> Iterator[str]:
        if str(node.class_name).startswith("_") and not re.search(rf"\({node.class_name}\)", self.text):
            return
        bases = [str(base.name) for base in node.bases.args] if node.bases else []
        self._used(*bases)
        yield f"class {node.class_name}" + (f"({', '.join(bases)})" if bases else "") + ":"
        yield from quoted(node.doc, "    ")
        written = set()
        declared = list(statements(self.declared.get(str(node.class_name))))
        members = [*declared, *statements(node.body)]
        for member in members:
            kind = type(member).__name__
            if kind == "CVarDefNode" and member.visibility in ("readonly", "public"):
                source = self.source.with_suffix(".pxd") if member in declared else self.source
                yield from self._attribute(member, source.read_text().splitlines()[member.pos[1] - 1])
            elif kind == "DefNode":
                if member.name == "__cinit__" and any(getattr(other, "name", "") == "__init__" for other in members):
                    continue
                written.add(str(member.name))
                yield from self._function(member, "    ")
        if not written:
            yield "    ..."

    def _attribute(self, node: Any, line: str) -> Iterator[str]:
        comment = re.search(r"# type: (\S.*?)\s*$", line)
        annotation = self._used(comment[1] if comment else self._type(node.base_type))
        for declarator in node.declarators:
            if node.visibility == "public":
                yield f"    {declarator.name}: {annotation}"
            else:
                yield f"    @property\n    def {declarator.name}(self) -> {annotation}: ..."

    def _function(self, node: Any, indent: str) -> Iterator[str]:
        name = SPECIAL.get(str(node.name), str(node.name))
        if name in UNSEEN or (name.startswith("_") and not name.endswith("__")):
            return
        if name == "__getbuffer__":
            yield indent + BUFFER
            return
        for decorator in node.decorators or []:
            yield f"{indent}@{dotted(decorator.decorator)}"
        if node.return_type_annotation is not None:
            returned = self._used(str(node.return_type_annotation.string.value))
        else:
            returned = "None"
            if name not in ("__init__", "__setitem__"):
                self._lacks(node, f"what {name} returns")
        yield f"{indent}def {name}({', '.join(self._arguments(node))}) -> {returned}:"
        yield from quoted(node.doc, f"{indent}    ")
        yield f"{indent}    ..."

    def _arguments(self, node: Any) -> Iterator[str]:
        named_only = False
        for index, argument in enumerate(node.args):
            name = str(argument.declarator.name)
            if index == 0 and name == "self":
                yield name
                continue
            if argument.kw_only and not named_only:
                named_only = True
                yield f"*{node.star_arg.name}: {self._annotation(node.star_arg)}" if node.star_arg else "*"
            text = f"{name}: {self._parameter(argument, name)}"
            yield text + (f" = {self._default(argument.default)}" if argument.default is not None else "")
        if node.star_arg and not named_only:
            yield f"*{node.star_arg.name}: {self._annotation(node.star_arg)}"
        if node.starstar_arg:
            yield f"**{node.starstar_arg.name}: {self._annotation(node.starstar_arg)}"

    def _annotation(self, argument: Any) -> str:
        if argument.annotation is None:
            self._lacks(argument, str(argument.name))
            return "Any"
        return self._used(str(argument.annotation.string.value))

    def _parameter(self, argument: Any, name: str) -> str:
        if argument.annotation is not None:
            return self._used(str(argument.annotation.string.value))
        if getattr(argument.base_type, "name", "") is None:
            self._lacks(argument, name)
            return "Any"
        annotation = self._used(self._type(argument.base_type))
        is_none = argument.default is not None and type(argument.default).__name__ == "NoneNode"
        return f"{annotation} | None" if is_none else annotation

    def _type(self, node: Any) -> str:
        if type(node).__name__ == "MemoryViewSliceTypeNode":
            return "Buffer"
        if hasattr(node, "base_type"):  # const, volatile
            return self._type(node.base_type)
        name = str(node.name)
        if (node.is_basic_c_type and name not in BUILTIN) or INTEGERS.match(name):
            return "float" if name == "double" else "int"
        return BUILTIN.get(name, name)

    def _default(self, node: Any) -> str:
        kind = type(node).__name__
        if kind == "NoneNode":
            return "None"
        if kind == "BoolNode":
            return str(bool(node.value))
        if kind == "IntNode":
            return str(node.value)
        if kind in ("UnicodeNode", "BytesNode"):
            return repr(bytes(str(node.value), "latin-1")) if kind == "BytesNode" else repr(str(node.value))
        return "..."

    def _lacks(self, node: Any, what: str) -> None:
        self.missing.append(f"{os.path.relpath(self.source, ROOT)}:{node.pos[1]}: {what} is not annotated")

    def _declared(self) -> dict[str, Any]:
        """The classes that the .pxd declares, by name: their attributes are written there."""
        declarations = self.source.with_suffix(".pxd")
        if not declarations.exists():
            return {}
        nodes = statements(parsed(declarations))
        return {str(node.class_name): node.body for node in nodes if type(node).__name__ == "CClassDefNode"}

    def _imports(self) -> str:
        """Those of the .pyx and the .pxd that the stub uses, and what the mapping of C types wants."""
        lines = []
        sources = [self.source, self.source.with_suffix(".pxd")]
        text = "\n".join(path.read_text() for path in sources if path.exists())
        found: dict[str, set[str]] = {}
        for module, names in re.findall(r"^from (\S+) c?import (\([^)]*\)|[^(\n]+)$", text, re.MULTILINE):
            if module.startswith(("libc", "cpython", "posix")):
                continue
            for name in re.sub(r"#.*|[()]", "", names).replace("\n", " ").split(","):
                if name.strip() in self.used and not name.strip().startswith("_"):
                    found.setdefault(module, set()).add(name.strip())
        if "Any" in self.used:
            found.setdefault("typing", set()).add("Any")
        if "Buffer" in self.used and not any("Buffer" in names for names in found.values()):
            found.setdefault("typing_extensions", set()).add("Buffer")
        third = [name for name in found if name.startswith("typing_extensions")]
        ours = [name for name in found if name.startswith("xenia")]
        for group in (found.keys() - {*third, *ours}, third, ours):
            for name in sorted(group):
                lines.append(f"from {name} import {', '.join(sorted(found[name], key=import_order))}")
            lines.append("")
        return "\n".join(lines)


def import_order(name: str) -> tuple[int, str]:
    """Constants, classes, functions: as ruff sorts them."""
    return (0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2, name)


def dotted(node: Any) -> str:
    """`property`, `shutdown.setter`."""
    return f"{dotted(node.obj)}.{node.attribute}" if hasattr(node, "attribute") else str(node.name)


def quoted(doc: Any, indent: str) -> Iterator[str]:
    """A docstring."""
    if doc:
        yield f'{indent}"""{doc}"""'


def statements(node: Any) -> Iterator[Any]:
    """The statements of a module or a class, one after the other."""
    if node is None:
        return
    if type(node).__name__ == "ModuleNode":
        yield from statements(node.body)
    elif hasattr(node, "stats"):
        for each in node.stats:
            yield from statements(each)
    else:
        yield node


PARSED: dict[Path, Any] = {}


def parsed(path: Path) -> Any:
    """Cython's tree of a source file."""
    if path not in PARSED:
        init_thread()  # type: ignore[no-untyped-call]
        context: Any = StringParseContext(path.stem)  # type: ignore[no-untyped-call]
        context.set_language_level(3)
        level = "module_pxd" if path.suffix == ".pxd" else None
        try:
            PARSED[path] = parse_from_strings(  # type: ignore[no-untyped-call]
                path.stem, path.read_text(), level=level, context=context
            )
        except CompileError as error:
            raise SystemExit(f"{path}: {error}") from None
    return PARSED[path]


# A function, a class, or a class of C's with a method or a field for Python.
SEEN = re.compile(
    r"^(?:def|class) \w|^cdef class .*\n(?:(?:[ \t].*)?\n)*?    (?:def (?!__(?:cinit|dealloc)__)|cdef readonly)",
    re.MULTILINE,
)


def is_seen(source: Path) -> bool:
    """Whether Python uses anything of it: a stub is written where there is something to write."""
    return source.with_suffix(".pyi").exists() or bool(SEEN.search(source.read_text()))


def outdated() -> Iterator[tuple[Path, str]]:
    """Each stub that is not what it should be, and that.  Raises Unannotated."""
    for source in sorted(SOURCES.rglob("*.pyx")):
        if is_seen(source):
            stub, text = source.with_suffix(".pyi"), Stub(source).write()
            if not stub.exists() or stub.read_text() != text:
                yield stub, text


def main() -> None:
    """Write, or compare."""
    try:
        stubs = list(outdated())
    except Unannotated as error:
        raise SystemExit(str(error)) from None
    if "--check" not in sys.argv[1:]:
        for stub, text in stubs:
            stub.write_text(text)
    elif stubs:
        names = "\n".join(str(stub.relative_to(ROOT)) for stub, _ in stubs)
        raise SystemExit(f"not what their .pyx say (run python scripts/stubs.py):\n{names}")


if __name__ == "__main__":
    main()
